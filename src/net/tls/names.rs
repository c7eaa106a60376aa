//! Whether a certificate is for a host, as libpq decides it (`libpq-ssl.html#LIBQ-SSL-CERTIFICATES`).

use std::net::IpAddr;

use rustls::pki_types::ServerName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::cert::printable;
use super::refusal::Refusal;

/// Refuses a certificate that is for other hosts.
///
/// The subjectAltNames decide. The common name counts only if none of them is of the host's kind:
/// dNSName for a name, iPAddress for an address. An address may stand in a dNSName too.
pub(super) fn check(cert: &X509Certificate<'_>, host: &ServerName<'_>) -> Result<(), Refusal> {
    let text = host.to_str();
    let address = text.parse::<IpAddr>().ok();
    // Two subjectAltName extensions, or a damaged one: nothing in it is believed.
    let Ok(alternatives) = cert.subject_alternative_name() else {
        return Err(Refusal::Unreadable);
    };
    let alternatives: &[GeneralName<'_>] =
        alternatives.as_ref().map_or(&[], |extension| &extension.value.general_names);

    let common_name = common_name(cert).filter(|_| {
        !alternatives.iter().any(|name| match name {
            GeneralName::DNSName(_) => address.is_none(),
            GeneralName::IPAddress(_) => address.is_some(),
            _ => false,
        })
    });
    let named = alternatives.iter().any(|name| match name {
        GeneralName::DNSName(pattern) => matches(pattern, &text, address),
        GeneralName::IPAddress(octets) => address.is_some_and(|ip| octets_of(ip) == *octets),
        _ => false,
    });
    if named || common_name.is_some_and(|pattern| matches(pattern, &text, address)) {
        return Ok(());
    }
    Err(Refusal::WrongHost { host: printable(&text), names: shown(alternatives, common_name) })
}

/// Whether a name with perhaps a wildcard stands for the host. `*` is one whole label, the leftmost
/// one, of a name and never of an address.
fn matches(pattern: &str, host: &str, address: Option<IpAddr>) -> bool {
    // An inner NUL would end the name for a reader in C: such a certificate was made to deceive.
    if pattern.contains('\0') {
        return false;
    }
    match (address, pattern.strip_prefix("*.")) {
        (Some(ip), _) => pattern.parse::<IpAddr>() == Ok(ip),
        (None, None) => pattern.eq_ignore_ascii_case(host),
        (None, Some(parent)) => host.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && !parent.is_empty() && rest.eq_ignore_ascii_case(parent)
        }),
    }
}

fn common_name<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a str> {
    cert.subject().iter_common_name().next()?.as_str().ok()
}

fn octets_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn shown(alternatives: &[GeneralName<'_>], common_name: Option<&str>) -> Vec<String> {
    let alternatives = alternatives.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(octets) => address_of(octets).map(|ip| ip.to_string()),
        _ => None,
    });
    common_name.map(printable).into_iter().chain(alternatives).take(MAX_NAMES).collect()
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// As many as an error text names.
const MAX_NAMES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_hosts_as_in_libpq() {
        for (pattern, host, expected) in [
            ("db.example.com", "db.example.com", true),
            ("DB.Example.com", "db.eXample.com", true),
            ("db.example.com", "db.example.co", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "DB.EXAMPLE.COM", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.db.example.com", false),
            ("*.com", "example.com", true),
            ("d*.example.com", "db.example.com", false),
            ("db.*.com", "db.example.com", false),
            ("*", "localhost", false),
            ("*.", "localhost", false),
            ("", "localhost", false),
            ("db.example.com\0.evil.com", "db.example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("*.0.0.1", "127.0.0.1", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
        ] {
            let address = host.parse().ok();
            assert_eq!(matches(pattern, host, address), expected, "{pattern} for {host}");
        }
    }
}
