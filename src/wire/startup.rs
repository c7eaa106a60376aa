//! The first packet of a connection: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.
//!
//! Obeys `protocol-flow.html#PROTOCOL-FLOW-START-UP` and `protocol-message-formats.html`.

use std::collections::HashSet;

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::build::put_cstr;
use super::read::Reader;

/// Shortest and longest packet, length word included (`MAX_STARTUP_PACKET_LENGTH` plus the word).
pub const MIN_PACKET: u32 = 8;
/// See [`MIN_PACKET`].
pub const MAX_PACKET: u32 = 10_004;

/// Names longer than this are cut, as PostgreSQL cuts them (`NAMEDATALEN` - 1).
pub const NAME_LIMIT: usize = 63;

/// Longest cancel key of protocol 3.2.
pub const MAX_CANCEL_KEY: usize = 256;

/// Code of an SSLRequest.
pub const SSL_REQUEST: u32 = 80_877_103;
/// Code of a GSSENCRequest.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// Code of a CancelRequest.
pub const CANCEL_REQUEST: u32 = 80_877_102;

/// The newest minor version that pgweir speaks to clients.
const NEWEST_MINOR: u16 = 2;

/// What a connection opens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// The client asks for TLS.
    Ssl,
    /// The client asks for GSSAPI encryption.
    Gss,
    /// The client wants a query cancelled.
    Cancel(CancelKey),
    /// The client wants a session.
    Startup(Box<Startup>),
}

/// What names a session to cancel.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelKey {
    /// The pid field.
    pub pid: u32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelKey {{ pid: {}, .. }}", self.pid)
    }
}

/// A StartupMessage of protocol 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Minor version that both sides will speak: 0 or 2.
    pub minor: u16,
    /// A NegotiateProtocolVersion is due.
    pub negotiate: bool,
    /// `_pq_.` options that pgweir does not know.
    pub unknown_options: Vec<String>,
    /// User, cut to 63 bytes.
    pub user: String,
    /// Database, cut to 63 bytes; the user's name if absent.
    pub database: String,
    /// Settings: `options` first, then parameters in order; the later of two wins; names in lower case.
    pub settings: Vec<(String, String)>,
    /// The `replication` parameter asks for a replication connection.
    pub replication: bool,
}

/// A first packet that cannot be served.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum BadStartup {
    /// Length word out of range; PostgreSQL closes without a word.
    #[error("invalid length of startup packet")]
    Length,
    /// Not protocol 3.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.{NEWEST_MINOR}")]
    Version(u16, u16),
    /// The list of parameters does not end where the packet does.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// No user.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A name or value that is not UTF-8.
    #[error("invalid byte sequence in startup packet")]
    NotUtf8,
    /// A switch in `options` other than `-c` and `--`.
    #[error("unsupported startup option \"{0}\"")]
    Switch(String),
}

/// Checks the length word of a first packet.
pub fn check_length(len: u32) -> Result<usize, BadStartup> {
    if (MIN_PACKET..=MAX_PACKET).contains(&len) {
        Ok(len as usize)
    } else {
        Err(BadStartup::Length)
    }
}

/// Reads a first packet; `body` is what follows the length word.
pub fn read(body: &[u8]) -> Result<Opening, BadStartup> {
    let mut reader = Reader::new(body);
    let code = reader.i32().map_err(|_| BadStartup::Length)? as u32;
    match code {
        SSL_REQUEST => Ok(Opening::Ssl),
        GSSENC_REQUEST => Ok(Opening::Gss),
        CANCEL_REQUEST => read_cancel(reader),
        _ => read_startup(code, reader.rest()).map(|s| Opening::Startup(Box::new(s))),
    }
}

/// What [`read`] says of an SSLRequest or GSSENCRequest that comes a second time: PostgreSQL takes
/// its code for a version.
pub fn repeated_request(code: u32) -> BadStartup {
    BadStartup::Version((code >> 16) as u16, code as u16)
}

fn read_cancel(mut reader: Reader<'_>) -> Result<Opening, BadStartup> {
    let pid = reader.i32().map_err(|_| BadStartup::Length)? as u32;
    let secret = reader.rest();
    if !(4..=MAX_CANCEL_KEY).contains(&secret.len()) {
        return Err(BadStartup::Length);
    }
    Ok(Opening::Cancel(CancelKey { pid, secret: secret.to_vec() }))
}

fn read_startup(code: u32, body: &[u8]) -> Result<Startup, BadStartup> {
    let (major, minor) = ((code >> 16) as u16, code as u16);
    if major != 3 {
        return Err(BadStartup::Version(major, minor));
    }
    let mut draft = Draft::default();
    for (name, value) in read_parameters(body)? {
        draft.take(name, value)?;
    }
    let speaks = if minor >= NEWEST_MINOR { NEWEST_MINOR } else { 0 };
    draft.finish(speaks, minor != speaks)
}

fn read_parameters(body: &[u8]) -> Result<Vec<(&str, &str)>, BadStartup> {
    let mut reader = Reader::new(body);
    let mut parameters = Vec::new();
    loop {
        let name = reader.cstr().map_err(|_| BadStartup::Layout)?;
        if name.is_empty() {
            break;
        }
        let value = reader.cstr().map_err(|_| BadStartup::Layout)?;
        let text = |b| std::str::from_utf8(b).map_err(|_| BadStartup::NotUtf8);
        parameters.push((text(name)?, text(value)?));
    }
    reader.finish().map_err(|_| BadStartup::Layout)?;
    Ok(parameters)
}

#[derive(Default)]
struct Draft {
    user: String,
    database: String,
    replication: bool,
    unknown_options: Vec<String>,
    from_options: Vec<(String, String)>,
    from_parameters: Vec<(String, String)>,
}

impl Draft {
    fn take(&mut self, name: &str, value: &str) -> Result<(), BadStartup> {
        match name {
            "user" => self.user = cut(value),
            "database" => self.database = cut(value),
            "replication" => self.replication = wants_replication(value),
            "options" => self.from_options = split_options(value)?,
            _ if name.starts_with("_pq_.") => self.unknown_options.push(name.to_owned()),
            _ => self.from_parameters.push((name.to_ascii_lowercase(), value.to_owned())),
        }
        Ok(())
    }

    fn finish(self, minor: u16, downgraded: bool) -> Result<Startup, BadStartup> {
        if self.user.is_empty() {
            return Err(BadStartup::NoUser);
        }
        // The last one of a name holds, and stands where it is.
        let mut settings: Vec<_> =
            self.from_options.into_iter().chain(self.from_parameters).collect();
        let mut seen = HashSet::with_capacity(settings.len());
        let is_last: Vec<_> =
            settings.iter().rev().map(|(name, _)| seen.insert(name.clone())).collect();
        let mut is_last = is_last.into_iter().rev();
        settings.retain(|_| is_last.next() == Some(true));
        Ok(Startup {
            minor,
            negotiate: downgraded || !self.unknown_options.is_empty(),
            unknown_options: self.unknown_options,
            database: if self.database.is_empty() { self.user.clone() } else { self.database },
            user: self.user,
            settings,
            replication: self.replication,
        })
    }
}

fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_LIMIT)].to_owned()
}

fn wants_replication(value: &str) -> bool {
    let off = ["", "0", "f", "false", "n", "no", "of", "off"];
    !off.iter().any(|o| value.eq_ignore_ascii_case(o))
}

/// Splits `options` as `pg_split_opts` does and keeps the settings: `-c k=v`, `-ck=v`, `--k=v`.
fn split_options(text: &str) -> Result<Vec<(String, String)>, BadStartup> {
    let mut words = split_words(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(BadStartup::Switch(word));
        };
        match assignment.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_").to_ascii_lowercase(), value.to_owned()));
            }
            _ => return Err(BadStartup::Switch(word)),
        }
    }
    Ok(settings)
}

/// White space separates words; a backslash takes the next character as it is.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        if chars.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
            word.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        words.push(word);
    }
}

/// Appends a StartupMessage of protocol 3.0 for a server.
///
/// Values come from a client's login; a NUL in one would start another parameter, and was cut off
/// by [`read`].
pub fn build(out: &mut BytesMut, parameters: &[(&str, &str)]) {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(3 << 16);
    for (name, value) in parameters {
        put_cstr(out, name.as_bytes());
        put_cstr(out, value.as_bytes());
    }
    out.put_u8(0);
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends an SSLRequest.
pub fn build_ssl_request(out: &mut BytesMut) {
    out.put_u32(8);
    out.put_u32(SSL_REQUEST);
}

/// Appends a CancelRequest.
pub fn build_cancel(out: &mut BytesMut, key: &CancelKey) {
    out.put_u32(12 + key.secret.len() as u32);
    out.put_u32(CANCEL_REQUEST);
    out.put_u32(key.pid);
    out.put_slice(&key.secret);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = code.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
        }
        body.push(0);
        body
    }

    fn startup(code: u32, parameters: &[(&str, &str)]) -> Result<Startup, BadStartup> {
        match read(&packet(code, parameters))? {
            Opening::Startup(startup) => Ok(*startup),
            other => panic!("{other:?}"),
        }
    }

    const V3: u32 = 3 << 16;

    #[test]
    fn versions() {
        let user = [("user", "u")];
        for (code, minor, negotiate) in
            [(V3, 0, false), (V3 + 1, 0, true), (V3 + 2, 2, false), (V3 + 9999, 2, true)]
        {
            let s = startup(code, &user).unwrap();
            assert_eq!((s.minor, s.negotiate), (minor, negotiate), "{code}");
        }
        assert_eq!(startup(4 << 16, &user), Err(BadStartup::Version(4, 0)));
        assert_eq!(startup(2 << 16, &user), Err(BadStartup::Version(2, 0)));
        assert!(startup(V3, &[("user", "u"), ("_pq_.x", "1")]).unwrap().negotiate);
        let again = repeated_request(SSL_REQUEST).to_string();
        assert!(again.starts_with("unsupported frontend protocol 1234.5679"), "{again}");
    }

    #[test]
    fn layout() {
        let good = packet(V3, &[("user", "u")]);
        let cut_off = &good[..good.len() - 1];
        assert_eq!(read(cut_off), Err(BadStartup::Layout));
        let mut long = good.clone();
        long.extend(b"junk");
        assert_eq!(read(&long), Err(BadStartup::Layout));
        assert_eq!(startup(V3, &[("database", "d")]), Err(BadStartup::NoUser));
        assert_eq!(startup(V3, &[("user", "")]), Err(BadStartup::NoUser));
        assert_eq!(startup(V3, &[("user", "u")]).unwrap().database, "u");
        let long = "x".repeat(70);
        assert_eq!(startup(V3, &[("user", &long)]).unwrap().user.len(), 63);
        assert_eq!(check_length(7), Err(BadStartup::Length));
        assert_eq!(check_length(10_005), Err(BadStartup::Length));
        assert_eq!(check_length(8), Ok(8));
    }

    #[test]
    fn options_come_first_and_later_wins() {
        let s = startup(
            V3,
            &[
                ("user", "u"),
                ("WORK_MEM", "7MB"),
                ("options", r"-c work_mem=9MB --statement-timeout=5s -cgeqo=off  -c a.b=x\ y"),
            ],
        )
        .unwrap();
        let expected =
            [("statement_timeout", "5s"), ("geqo", "off"), ("a.b", "x y"), ("work_mem", "7MB")];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(s.settings, expected);
        assert_eq!(
            startup(V3, &[("user", "u"), ("options", "-fs")]),
            Err(BadStartup::Switch("-fs".into()))
        );
    }

    #[test]
    fn cancel_keys_have_bounds() {
        let cancel = |n: usize| {
            let mut body = CANCEL_REQUEST.to_be_bytes().to_vec();
            body.extend(7u32.to_be_bytes());
            body.extend(vec![9; n]);
            read(&body)
        };
        for n in [4, 32, 256] {
            assert!(
                matches!(cancel(n), Ok(Opening::Cancel(k)) if k.pid == 7 && k.secret.len() == n)
            );
        }
        assert_eq!(cancel(3), Err(BadStartup::Length));
        assert_eq!(cancel(257), Err(BadStartup::Length));
    }
}
