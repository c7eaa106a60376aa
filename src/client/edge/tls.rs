//! What a client is told when pgweir refuses to speak to PostgreSQL for its TLS: the cause, and what
//! helps. The log has the rest: addresses, files, and the names in certificates.

use crate::net::ConnectError;
use crate::net::tls::{Refusal, TlsError};
use crate::wire::Report;

/// Cause and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    cause: &'static str,
    remedy: &'static str,
}

impl Refused {
    /// Adds both to a report.
    pub(super) fn told(self, report: Report) -> Report {
        let message = format!("{}: {}", report.message, self.cause);
        Report { message, ..report }.hint(self.remedy)
    }
}

/// A connection that was given up for its TLS; `None` if something else was wrong.
pub(super) fn connection_refused(error: &ConnectError) -> Option<Refused> {
    let (cause, remedy) = match error {
        ConnectError::Tls { source, .. } => return refused(source),
        ConnectError::TlsNotOffered { .. } => (
            "it does not offer TLS, which the proxy demands",
            "Switch `ssl` on in PostgreSQL, or set databases.ALIAS.tls to prefer.",
        ),
        ConnectError::PlaintextBeforeTls { .. } => (
            "it sent unencrypted bytes before the TLS handshake",
            "Look for somebody who tampers with the connection between the proxy and PostgreSQL.",
        ),
        ConnectError::Resolve { .. }
        | ConnectError::Connect { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::NotAnAnswer { .. }
        | ConnectError::Lost { .. } => return None,
    };
    Some(Refused { cause, remedy })
}

/// A handshake that was given up; `None` if the connection was lost.
pub(super) fn refused(error: &TlsError) -> Option<Refused> {
    let (cause, remedy) = match error {
        TlsError::Refused(refusal) => certificate(refusal),
        TlsError::Protocol(_) => (
            "the TLS handshake failed",
            "Let PostgreSQL speak TLS 1.2 or later (`ssl_min_protocol_version`); the proxy's log says more.",
        ),
        TlsError::NotAHostName => (
            "a certificate cannot be checked against its address",
            "Set databases.ALIAS.host to a name or an address, or databases.ALIAS.tls to verify-ca.",
        ),
        TlsError::Lost(_) | TlsError::Disabled => return None,
    };
    Some(Refused { cause, remedy })
}

fn certificate(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::UnknownIssuer { .. } => (
            "the issuer of its certificate is not trusted",
            "If it is the right server, add its issuer's certificate to the file that databases.ALIAS.ca names.",
        ),
        Refusal::SelfSigned { .. } => (
            "its certificate is self-signed and not trusted",
            "If it is the right server, add its certificate to the file that databases.ALIAS.ca names.",
        ),
        Refusal::Expired { .. } => ("its certificate has expired", "Renew the certificate."),
        Refusal::NotYetValid { .. } => (
            "its certificate is not valid yet",
            "Check the clock of the machine that the proxy runs on.",
        ),
        Refusal::WrongHost { .. } => (
            "its certificate is for another host",
            "Set databases.ALIAS.host to a name that the certificate has, have one issued for this host, or set \
             databases.ALIAS.tls to verify-ca.",
        ),
        Refusal::WrongPurpose { .. } => (
            "its certificate is not meant for a server",
            "Have a certificate issued for a TLS server.",
        ),
        Refusal::Unreadable | Refusal::Invalid(_) => (
            "its certificate cannot be trusted",
            "Have it issued anew; the proxy's log says what is wrong with it.",
        ),
    }
}
