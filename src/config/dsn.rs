//! Connection strings: `postgres://user:password@host:port/dbname?sslmode=..&sslrootcert=..`
//! (libpq-connect.html#LIBPQ-CONNSTRING-URIS).

use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as PlainError, StrDeserializer};

use super::model::{ChannelBindingMode, ServerTlsMode};
use super::secret::Password;
use super::trusted::is_system;

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Option<Password>,
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the database; the user's when the string has none, as in libpq.
    pub dbname: String,
    /// `sslmode`.
    pub tls: Option<ServerTlsMode>,
    /// `sslrootcert`.
    pub ca: Option<PathBuf>,
    /// `channel_binding`.
    pub channel_binding: Option<ChannelBindingMode>,
    /// Parameters that mean nothing to a pool of servers and were passed over.
    pub ignored: Vec<String>,
}

/// Why a connection string cannot be used. No variant holds a piece of it that could be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// Another scheme, or none.
    #[error("not a PostgreSQL URI; expected postgres://user:password@host:port/dbname")]
    Scheme,
    /// A name that may not be empty.
    #[error("no user in it; expected postgres://user:password@host:port/dbname")]
    NoUser,
    /// More than one host.
    #[error("several hosts in it; expected one host")]
    SeveralHosts,
    /// The host is cut off or empty.
    #[error("the host cannot be read; expected a name, an address, or an IPv6 address in [ ]")]
    Host,
    /// The port.
    #[error(
        "the port is no number from 1 to 65535 (in a password, / : ? # and @ are written as %2F \
         %3A %3F %23 and %40)"
    )]
    Port,
    /// `%` without two hexadecimal digits, no UTF-8, or a zero byte.
    #[error("the {part} is not well encoded; expected UTF-8 with % only before two hex digits")]
    Encoding {
        /// Which part.
        part: &'static str,
    },
    /// A parameter that is not taken.
    #[error(
        "the parameter {name:?} is not taken; expected host, port, user, password, dbname, sslmode or sslrootcert"
    )]
    Parameter {
        /// Its name.
        name: String,
    },
    /// What stands behind the first `?` is no list of parameters, and may be the rest of a password.
    #[error(
        "what follows its ? are no parameters; expected such as ?sslmode=require (in a password, / : ? # \
         and @ are written as %2F %3A %3F %23 and %40)"
    )]
    Query,
    /// A parameter with a value that cannot be.
    #[error("the value of {name} cannot be used; expected {expected}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What would be right.
        expected: &'static str,
    },
}

/// libpq's parameters for one connection of one application: a pool decides these by itself.
const IGNORED: [&str; 13] = [
    "application_name",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
];

impl Dsn {
    /// Reads a connection string.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.trim().strip_prefix(scheme))
            .ok_or(DsnError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut parts = Parts { dbname: some(decode("dbname", path)?), ..Parts::default() };
        parts.authority(authority)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parts.parameter(&decode("parameter", name)?, value).map_err(|error| match error {
                DsnError::Parameter { name } if query.contains('@') || !is_plain(&name) => {
                    DsnError::Query
                }
                error => error,
            })?;
        }
        parts.finish()
    }
}

/// Whether it looks like the name of a parameter.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// A connection string half read.
#[derive(Default)]
struct Parts {
    user: Option<String>,
    password: Option<Password>,
    host: Option<String>,
    port: Option<u16>,
    dbname: Option<String>,
    tls: Option<ServerTlsMode>,
    ca: Option<PathBuf>,
    channel_binding: Option<ChannelBindingMode>,
    ignored: Vec<String>,
}

impl Parts {
    fn authority(&mut self, authority: &str) -> Result<(), DsnError> {
        // The last @: an unescaped one in the password is a common slip with one meaning only.
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        self.user = some(decode("user", user)?);
        self.password = some(decode("password", password)?).map(Password::new);
        self.place(place)
    }

    fn place(&mut self, place: &str) -> Result<(), DsnError> {
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(DsnError::Host)?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        if !port.is_empty() {
            let number = port.strip_prefix(':').ok_or(DsnError::Host)?;
            self.port = some(number.to_owned()).map(|n| parse_port(&n)).transpose()?;
        }
        self.set_host(decode("host", host)?)
    }

    fn set_host(&mut self, host: String) -> Result<(), DsnError> {
        if host.contains(',') {
            return Err(DsnError::SeveralHosts);
        }
        self.host = some(host).or(self.host.take());
        Ok(())
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), DsnError> {
        match name {
            "host" => self.set_host(decode("host", value)?)?,
            "port" => self.port = Some(parse_port(value)?),
            "user" => self.user = some(decode("user", value)?),
            "password" => self.password = some(decode("password", value)?).map(Password::new),
            "dbname" => self.dbname = some(decode("dbname", value)?),
            "sslmode" => self.tls = Some(parse_mode(value)?),
            "sslrootcert" => self.ca = Some(decode("sslrootcert", value)?.into()),
            "channel_binding" => {
                self.channel_binding = match value {
                    "require" => Some(ChannelBindingMode::Require),
                    "prefer" => Some(ChannelBindingMode::Prefer),
                    // It costs nothing where both sides can.
                    "disable" => None,
                    _ => {
                        return Err(DsnError::Value {
                            name: "channel_binding",
                            expected: "disable, prefer or require",
                        });
                    }
                };
            }
            name if IGNORED.contains(&name) => self.ignored.push(name.to_owned()),
            name => {
                return Err(DsnError::Parameter { name: name.to_owned() });
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Dsn, DsnError> {
        let user = self.user.ok_or(DsnError::NoUser)?;
        let by_system = self.ca.as_deref().is_some_and(is_system);
        let tls = self.tls.or(by_system.then_some(ServerTlsMode::VerifyFull));
        if by_system && tls != Some(ServerTlsMode::VerifyFull) {
            return Err(DsnError::Value {
                name: "sslmode",
                expected: "verify-full, which sslrootcert=system needs",
            });
        }
        Ok(Dsn {
            password: self.password,
            host: self.host.unwrap_or_else(|| "localhost".to_owned()),
            port: self.port.unwrap_or(5432),
            dbname: self.dbname.unwrap_or_else(|| user.clone()),
            tls,
            ca: self.ca,
            channel_binding: self.channel_binding,
            ignored: self.ignored,
            user,
        })
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn decode(part: &'static str, text: &str) -> Result<String, DsnError> {
    let bad = || DsnError::Encoding { part };
    let is_hex = |text: &str| {
        let digits = text.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_hex) {
        return Err(bad());
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| bad())?;
    // A zero byte would end the name early in every message it is put into.
    if decoded.contains('\0') {
        return Err(bad());
    }
    Ok(Cow::into_owned(decoded))
}

fn parse_port(text: &str) -> Result<u16, DsnError> {
    let port = text.parse().map_err(|_| DsnError::Port)?;
    if port == 0 { Err(DsnError::Port) } else { Ok(port) }
}

fn parse_mode(text: &str) -> Result<ServerTlsMode, DsnError> {
    let text: StrDeserializer<'_, PlainError> = text.into_deserializer();
    ServerTlsMode::deserialize(text).map_err(|_| DsnError::Value {
        name: "sslmode",
        expected: "disable, prefer, require, verify-ca or verify-full",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dsn(text: &str) -> Dsn {
        Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let dsn = dsn(
            "postgres://ap%40p:s%2Fec%3Aret@db.example:6543/my%20db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        );
        assert_eq!(dsn.user, "ap@p");
        assert_eq!(dsn.password, Some(Password::new("s/ec:ret")));
        assert_eq!((dsn.host.as_str(), dsn.port), ("db.example", 6543));
        assert_eq!(dsn.dbname, "my db");
        assert_eq!(dsn.tls, Some(ServerTlsMode::VerifyFull));
        assert_eq!(dsn.ca, Some(PathBuf::from("/etc/ca.pem")));
    }

    #[test]
    fn what_is_left_out_is_filled_in_as_libpq_does() {
        let dsn = dsn("postgresql://app@db");
        assert_eq!((dsn.dbname.as_str(), dsn.port, dsn.tls), ("app", 5432, None));
        assert_eq!(dsn.password, None);
    }

    #[test]
    fn hosts_of_every_form() {
        let cases = [
            ("postgres://u@[::1]:6000/d", "::1", 6000),
            ("postgres://u@[fe80::1]/d", "fe80::1", 5432),
            ("postgres://u@/d?host=/run/postgresql", "/run/postgresql", 5432),
            ("postgres://u@%2Frun%2Fpg:6000/d", "/run/pg", 6000),
            ("postgres:///d?user=u&host=h&port=1", "h", 1),
            ("postgres://u@/d", "localhost", 5432),
            ("postgres://u:p@ss@h/d", "h", 5432),
        ];
        for (text, host, port) in cases {
            let dsn = dsn(text);
            assert_eq!((dsn.host.as_str(), dsn.port), (host, port), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_cause() {
        let parameter = |name: &str| DsnError::Parameter { name: name.to_owned() };
        let cases = [
            ("mysql://u@h/d", DsnError::Scheme),
            ("host=h user=u", DsnError::Scheme),
            ("postgres://h/d", DsnError::NoUser),
            ("postgres://u@h:0/d", DsnError::Port),
            ("postgres://u:pa/ss@h/d", DsnError::Port),
            ("postgres://u@a,b/d", DsnError::SeveralHosts),
            ("postgres://u@[::1/d", DsnError::Host),
            ("postgres://u:%zz@h/d", DsnError::Encoding { part: "password" }),
            ("postgres://u:%0@h/d", DsnError::Encoding { part: "password" }),
            ("postgres://u:%00@h/d", DsnError::Encoding { part: "password" }),
            ("postgres://u%ff@h/d", DsnError::Encoding { part: "user" }),
            ("postgres://u@h/d?options=-csearch_path", parameter("options")),
        ];
        for (text, error) in cases {
            assert_eq!(Dsn::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_a_system_trusts_is_for_the_right_host_only() {
        let read = |text: &str| (dsn(text).tls, dsn(text).channel_binding);
        let verified = (Some(ServerTlsMode::VerifyFull), Some(ChannelBindingMode::Require));
        let text = "postgres://u@h/d?sslrootcert=system&channel_binding=require&keepalives=1";
        assert_eq!(read(text), verified);
        assert_eq!(dsn(text).ignored, ["keepalives"]);
        assert_eq!(read("postgres://u@h/d?sslrootcert=/a.pem"), (None, None));
        for (parameters, expected) in [
            ("channel_binding=requires", "prefer"),
            ("sslrootcert=system&sslmode=require", "verify-full"),
        ] {
            let error = Dsn::parse(&format!("postgres://u@h/d?{parameters}")).expect_err("a slip");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_sslmode_names_the_known_ones() {
        let error = Dsn::parse("postgres://u@h/d?sslmode=allow").expect_err("not taken");
        assert!(error.to_string().contains("sslmode"), "{error}");
        assert!(error.to_string().contains("verify-full"), "{error}");
    }

    #[test]
    fn no_error_repeats_the_password() {
        for text in [
            "postgres://u:hunter2/x@h/d",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:?hunter2@h/d",
            "postgres://u:12?hunter2@h/d",
            "postgres://u:p@ss?hunter2@h/d?sslmode=require",
            "postgres://u:1?hunter2=x@h/d",
            "postgres://u:1?x=1&hunter2",
            "postgres://h/d?hunter2",
        ] {
            let error = Dsn::parse(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
