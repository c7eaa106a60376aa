//! ErrorResponse and NoticeResponse: reading what a server sent, building what pgweir says.
//!
//! Fields as in `protocol-error-fields.html`.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use super::read::Reader;

/// A SQLSTATE (`errcodes-appendix.html`): five digits or upper-case letters. The constants are those
/// that pgweir itself raises.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// `sqlclient_unable_to_establish_sqlconnection`
    pub const CANNOT_CONNECT: Self = Self(*b"08001");
    /// `connection_failure`
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// `protocol_violation`
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// `feature_not_supported`
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// `invalid_authorization_specification`
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// `invalid_password`
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// `idle_in_transaction_session_timeout`
    pub const IDLE_IN_TRANSACTION: Self = Self(*b"25P03");
    /// `invalid_catalog_name`
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    /// `duplicate_prepared_statement`
    pub const DUPLICATE_STATEMENT: Self = Self(*b"42P05");
    /// `too_many_connections`
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// `configuration_limit_exceeded`
    pub const CONFIGURATION_LIMIT: Self = Self(*b"53400");
    /// `program_limit_exceeded`
    pub const PROGRAM_LIMIT: Self = Self(*b"54000");
    /// `query_canceled`
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// `admin_shutdown`
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// `cannot_connect_now`
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// `idle_session_timeout`
    pub const IDLE_SESSION: Self = Self(*b"57P05");
    /// `internal_error`
    pub const INTERNAL: Self = Self(*b"XX000");

    /// One that has no constant here.
    pub const fn new(code: [u8; 5]) -> Self {
        Self(code)
    }

    /// A code as a server sent it, if it is one.
    pub fn read(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        let is_one = code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        is_one.then_some(Self(code))
    }

    /// Its characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as text.
    pub fn text(&self) -> &str {
        // It is ASCII: the constants are, and what was read is checked.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl std::fmt::Debug for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The session goes on.
    Error,
    /// The connection is closed after it.
    Fatal,
    /// A NoticeResponse.
    Notice,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
        }
    }
}

/// A message of pgweir's own to a client, or a server's passed on by it. Carries no F or L field, which name PostgreSQL's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Severity.
    pub severity: Severity,
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
    /// R: where it stands in for PostgreSQL's own, by which drivers know it.
    pub routine: Option<&'static str>,
}

impl Report {
    /// An ERROR: the session goes on.
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            routine: None,
        }
    }

    /// A FATAL: the connection is closed after it.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(code, message) }
    }

    /// A notice: nothing has failed (`successful_completion`).
    pub fn notice(message: impl Into<String>) -> Self {
        let code = SqlState::new(*b"00000");
        Self { severity: Severity::Notice, ..Self::error(code, message) }
    }

    /// What a server said, under a severity of ours; `None` if it has no proper SQLSTATE.
    pub fn quoting(severity: Severity, fields: &ErrorFields<'_>) -> Option<Self> {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let optional = |field: &[u8]| (!field.is_empty()).then(|| text(field));
        Some(Self {
            severity,
            code: SqlState::read(fields.code)?,
            message: text(fields.message),
            detail: optional(fields.detail),
            hint: optional(fields.hint),
            routine: None,
        })
    }

    /// Adds a DETAIL.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// Adds a HINT.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Appends the ErrorResponse or NoticeResponse.
    pub fn encode(&self, out: &mut BytesMut) {
        let severity = self.severity.text();
        let texts = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(self.code.text())),
            (b'M', Some(self.message.as_str())),
            (b'D', self.detail.as_deref()),
            (b'H', self.hint.as_deref()),
            (b'R', self.routine),
        ];
        let fields =
            texts.into_iter().filter_map(|(f, text)| Some((f, until_nul(text?)))).collect();
        // It fails only beyond a gigabyte, and then nothing was written.
        let _ = match self.severity {
            Severity::Notice => NoticeResponse::new(fields).encode(out),
            Severity::Error | Severity::Fatal => ErrorResponse::new(fields).encode(out),
        };
    }
}

/// The fields of an ErrorResponse or NoticeResponse from a server. Any of them may be missing: a
/// hostile server need not send what the manual promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// `V`, or `S` where the server sent no `V`.
    pub severity: &'a [u8],
    /// SQLSTATE, empty if missing.
    pub code: &'a [u8],
    /// Primary message, empty if missing.
    pub message: &'a [u8],
    /// DETAIL, empty if missing.
    pub detail: &'a [u8],
    /// HINT, empty if missing.
    pub hint: &'a [u8],
    /// `P`: where in the text, empty if that is not known.
    pub position: &'a [u8],
    /// `W`: which code ran into it.
    pub context: &'a [u8],
    /// `R`: the routine that reported it.
    pub routine: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Reads what can be read of a body, or of the first part of a long one.
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Self::default();
        let mut reader = Reader::new(body);
        let mut localized: &[u8] = b"";
        while let Ok(field) = reader.u8() {
            if field == 0 {
                break;
            }
            let Ok(text) = reader.cstr() else { break };
            match field {
                b'V' => fields.severity = text,
                b'S' => localized = text,
                b'C' => fields.code = text,
                b'M' => fields.message = text,
                b'D' => fields.detail = text,
                b'H' => fields.hint = text,
                b'P' => fields.position = text,
                b'W' => fields.context = text,
                b'R' => fields.routine = text,
                _ => {}
            }
        }
        if fields.severity.is_empty() {
            fields.severity = localized;
        }
        fields
    }

    /// The server ends the connection after this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }

    /// Text for a log line: printable, at most `MAX_LOGGED` characters.
    pub fn for_log(&self) -> String {
        let text = String::from_utf8_lossy(self.message);
        let code = String::from_utf8_lossy(self.code);
        let line = format!("{code} {text}");
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_LOGGED).collect()
    }
}

/// Whether a body is all there: of a long one, only the beginning is read. Two NULs stand side by side at its end alone.
pub fn is_whole(body: &[u8]) -> bool {
    body.ends_with(&[0, 0])
}

/// Appends an ErrorResponse with every field of `body`, under another severity. The field in which it is cut off ends
/// there, and is the last.
pub fn with_severity(out: &mut BytesMut, body: &[u8], severity: &str) {
    super::build::message(out, b'E', |out| {
        let mut reader = Reader::new(body);
        while let Ok(field) = reader.u8() {
            if field == 0 {
                break;
            }
            let text = reader.cstr().unwrap_or_else(|_| whole_characters(reader.rest()));
            out.put_u8(field);
            out.put_slice(if matches!(field, b'S' | b'V') { severity.as_bytes() } else { text });
            out.put_u8(0);
        }
        out.put_u8(0);
    });
}

/// Without the part of a character at its end.
fn whole_characters(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => {
            text.get(..error.valid_up_to()).unwrap_or(text)
        }
        _ => text,
    }
}

/// Appends an ErrorResponse with every field of `body`, which [is whole](is_whole), and with `from` in its message
/// replaced.
pub fn rewrite_message(out: &mut BytesMut, body: &[u8], from: &[u8], to: &[u8]) {
    super::build::message(out, b'E', |out| {
        let mut reader = Reader::new(body);
        while let Ok(field) = reader.u8() {
            let Ok(text) = reader.cstr() else { break };
            out.put_u8(field);
            match (field, text.windows(from.len().max(1)).position(|w| w == from)) {
                (b'M', Some(at)) => {
                    out.put_slice(&text[..at]);
                    out.put_slice(to);
                    out.put_slice(&text[at + from.len()..]);
                }
                _ => out.put_slice(text),
            }
            out.put_u8(0);
        }
        out.put_u8(0);
    });
}

/// Appends an ErrorResponse with every field of `body`, which [is whole](is_whole), with what `moved` makes of its
/// position, and with a hint besides.
pub fn explained(
    out: &mut BytesMut,
    body: &[u8],
    hint: Option<&str>,
    moved: impl Fn(usize) -> usize,
) {
    super::build::message(out, b'E', |out| {
        let mut reader = Reader::new(body);
        while let Ok(field) = reader.u8() {
            let Ok(text) = reader.cstr() else { break };
            out.put_u8(field);
            let position = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            match position.filter(|_| field == b'P') {
                Some(position) => out.put_slice(moved(position).to_string().as_bytes()),
                None => out.put_slice(text),
            }
            out.put_u8(0);
        }
        if let Some(hint) = hint {
            out.put_u8(b'H');
            super::build::put_cstr(out, hint.as_bytes());
        }
        out.put_u8(0);
    });
}

/// A field is a C string: a NUL would end it, and begin another field.
fn until_nul(text: &str) -> String {
    text.split('\0').next().unwrap_or_default().to_owned()
}

const MAX_LOGGED: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let mut out = BytesMut::new();
        Report::fatal(SqlState::PROTOCOL_VIOLATION, "no\0pe").hint("do").encode(&mut out);
        assert_eq!(out[0], b'E');
        let fields = ErrorFields::read(&out[5..]);
        assert_eq!((fields.code, fields.message), (&b"08P01"[..], &b"no"[..]));
        assert!(fields.is_fatal());
    }

    #[test]
    fn a_servers_error_is_quoted_with_all_its_texts() {
        let body = b"SFATAL\0VFATAL\0C0AXYZ\0Mno\0Ddetail\0Hhint\0Fpostinit.c\0\0";
        let report = Report::quoting(Severity::Error, &ErrorFields::read(body)).unwrap();
        let mut out = BytesMut::new();
        report.encode(&mut out);
        assert_eq!(&out[5..], b"SERROR\0VERROR\0C0AXYZ\0Mno\0Ddetail\0Hhint\0\0");
        for odd in [&b""[..], b"42P0", b"42p01", b"42P011", b"\xff\xff\xff\xff\xff"] {
            assert_eq!(SqlState::read(odd), None);
        }
    }

    #[test]
    fn a_name_in_the_message_is_replaced_and_nothing_else() {
        let mut out = BytesMut::new();
        rewrite_message(&mut out, b"SERROR\0C26000\0Mno \"__x\" here\0Rf__x\0\0", b"__x", b"mine");
        assert_eq!(&out[5..], b"SERROR\0C26000\0Mno \"mine\" here\0Rf__x\0\0");
    }

    #[test]
    fn hostile_errors_read_as_far_as_they_go() {
        for body in [&b""[..], b"\0", b"S", b"SFATAL", b"Mx\0", b"C\0\0", b"\xff\xff\0\0"] {
            let _ = ErrorFields::read(body).for_log();
        }
    }
}
