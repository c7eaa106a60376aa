//! Rows as messages, by pgwire's types.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `text`.
    Text(String),
    /// `int8`.
    Int(i64),
    /// `float8`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// Nothing, whatever the type of its column.
    Null,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `text`.
    Text,
    /// `int8`.
    Int,
    /// `float8`.
    Float,
    /// `bool`.
    Bool,
}

/// A column: its name and type.
pub type Column = (&'static str, Type);

/// One row.
pub type Row = Vec<Value>;

/// How columns are sent: what Bind has asked for (`protocol-overview.html#PROTOCOL-FORMAT-CODES`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formats(Vec<bool>);

impl Formats {
    /// Text for all.
    pub const TEXT: Self = Self(Vec::new());

    /// As a Bind says, which names none, one for all columns, or one for each; true is binary.
    pub fn new(binary: Vec<bool>) -> Self {
        Self(binary)
    }

    /// Whether they fit this number of columns.
    pub fn fit(&self, columns: usize) -> bool {
        self.0.len() < 2 || self.0.len() == columns
    }

    fn is_binary(&self, column: usize) -> bool {
        match &self.0[..] {
            [] => false,
            [all] => *all,
            each => each.get(column).copied().unwrap_or_default(),
        }
    }
}

impl Value {
    /// As a value of JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Int(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Bool(is) => (*is).into(),
            Self::Null => serde_json::Value::Null,
        }
    }
}

impl Type {
    /// OID and size (`pg_type.dat`).
    fn description(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int => (20, 8),
            Self::Float => (701, 8),
            Self::Bool => (16, 1),
        }
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// RowDescription.
pub fn row_description(columns: &[Column], formats: &Formats, out: &mut BytesMut) {
    let field = |(at, (name, kind)): (usize, &Column)| {
        let (oid, size) = kind.description();
        let format = i16::from(formats.is_binary(at));
        FieldDescription::new((*name).to_owned(), 0, 0, oid, size, -1, format)
    };
    let fields = columns.iter().enumerate().map(field).collect();
    send(&RowDescription::new(fields), out);
}

/// DataRow.
pub fn data_row(row: &[Value], formats: &Formats, out: &mut BytesMut) {
    let mut data = BytesMut::new();
    for (at, value) in row.iter().enumerate() {
        match (value, formats.is_binary(at)) {
            (Value::Text(text), _) => put(text.as_bytes(), &mut data),
            (Value::Int(number), true) => put(&number.to_be_bytes(), &mut data),
            (Value::Int(number), false) => put(number.to_string().as_bytes(), &mut data),
            (Value::Float(number), true) => put(&number.to_be_bytes(), &mut data),
            (Value::Float(number), false) => put(number.to_string().as_bytes(), &mut data),
            (Value::Bool(is), true) => put(&[u8::from(*is)], &mut data),
            (Value::Bool(is), false) => put(if *is { b"t" } else { b"f" }, &mut data),
            (Value::Null, _) => data.put_i32(-1),
        }
    }
    send(&DataRow::new(data, row.len() as i16), out);
}

/// Appends a message that pgwire builds.
pub fn send(message: &impl Message, out: &mut BytesMut) {
    // It fails only beyond a gigabyte, and nothing here comes near that.
    let _ = message.encode(out);
}

fn put(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sent_in_either_format() {
        let row = [Value::from("a"), Value::from(7_usize), Value::Float(0.5)];
        let mut out = BytesMut::new();
        data_row(&row, &Formats::TEXT, &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x17\0\x03\0\0\0\x01a\0\0\0\x017\0\0\0\x030.5");
        out.clear();
        data_row(&row[1..], &Formats::new(vec![true]), &mut out);
        let expected = [
            b"D\0\0\0\x1e\0\x02\0\0\0\x08".as_slice(),
            &7_i64.to_be_bytes(),
            b"\0\0\0\x08",
            &0.5_f64.to_be_bytes(),
        ];
        assert_eq!(&out[..], expected.concat());
        out.clear();
        data_row(&[Value::from(true), Value::from(false)], &Formats::TEXT, &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x10\0\x02\0\0\0\x01t\0\0\0\x01f");
        out.clear();
        data_row(&[Value::from(true)], &Formats::new(vec![true]), &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x0b\0\x01\0\0\0\x01\x01");
        out.clear();
        data_row(&[Value::from(None::<&str>)], &Formats::TEXT, &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff");
    }
}
