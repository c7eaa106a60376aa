//! What a raw client sees, and how it is written down in expectations.

use std::fmt;

/// One thing seen on a connection.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(char, Vec<u8>),
    /// The peer closed.
    Eof,
    /// Nothing more came in time.
    Silence,
}

impl Event {
    /// Whether this is a message of one type.
    pub fn is(&self, wanted: char) -> bool {
        matches!(self, Self::Message(letter, _) if *letter == wanted)
    }

    /// One field of an error or notice; empty if it is not there.
    pub fn field(&self, code: char) -> String {
        let Self::Message('E' | 'N', body) = self else {
            return String::new();
        };
        let mut fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let found = fields.find(|field| field[0] == code as u8);
        found.map(|field| text(&field[1..])).unwrap_or_default()
    }

    /// The columns of a data row.
    pub fn row(&self) -> Option<Vec<Option<String>>> {
        let Self::Message('D', body) = self else {
            return None;
        };
        let mut rest = &body[2..];
        let mut columns = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = i32::from_be_bytes(*len);
            let (column, after) = after.split_at(usize::try_from(len).unwrap_or(0));
            columns.push((len >= 0).then(|| text(column)));
            rest = after;
        }
        Some(columns)
    }

    /// With the text of errors, for cases where that must be PostgreSQL's own.
    pub fn detail(&self) -> String {
        match self {
            Self::Message('E' | 'N', _) => {
                let brief = self.to_string();
                format!("{} {}]", brief.trim_end_matches(']'), self.field('M'))
            }
            _ => self.to_string(),
        }
    }
}

/// `1 2 D(a,NULL) C[SELECT 1] Z[I] E[ERROR 57014]`: everything but the text of errors.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Message(letter, body) = self else {
            return f.write_str(if *self == Self::Eof { "EOF" } else { "SILENCE" });
        };
        write!(f, "{letter}")?;
        match letter {
            'E' | 'N' => write!(f, "[{} {}]", self.field('V'), self.field('C')),
            'Z' => write!(f, "[{}]", text(body)),
            'C' => write!(f, "[{}]", text(body.strip_suffix(&[0]).unwrap_or(body))),
            'S' => {
                let mut parts = body.split(|byte| *byte == 0).map(text);
                let (name, value) = (parts.next(), parts.next());
                write!(f, "[{}={}]", name.unwrap_or_default(), value.unwrap_or_default())
            }
            'A' => {
                let mut parts = body[4..].split(|byte| *byte == 0).map(text);
                let (channel, payload) = (parts.next(), parts.next());
                write!(f, "[{} {}]", channel.unwrap_or_default(), payload.unwrap_or_default())
            }
            'v' => {
                let version = u32::from_be_bytes(body[..4].try_into().unwrap_or_default());
                let names = body[8..].split(|byte| *byte == 0).map(text).collect::<Vec<_>>();
                let names = names.join(" ");
                write!(f, "[{}.{} {}]", version >> 16, version & 0xffff, names.trim_end())
            }
            'R' => write!(f, "[{}]", u32::from_be_bytes(body[..4].try_into().unwrap_or_default())),
            'D' => {
                let row = self.row().unwrap_or_default();
                let columns = row.into_iter().map(|column| column.unwrap_or("NULL".into()));
                let row = columns.collect::<Vec<_>>().join(",");
                write!(f, "({})", row.chars().take(LONGEST_ROW).collect::<String>())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

/// The events in one line.
pub fn line(events: &[Event]) -> String {
    events.iter().map(Event::to_string).collect::<Vec<_>>().join(" ")
}

/// The events in one line, with the text of errors.
pub fn detailed(events: &[Event]) -> String {
    events.iter().map(Event::detail).collect::<Vec<_>>().join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const LONGEST_ROW: usize = 100;
