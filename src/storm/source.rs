//! Addresses that functions come from.

use std::net::{IpAddr, Ipv4Addr};

/// Reads a list of addresses, ranges (`127.0.0.2-127.0.0.9`) and networks (`127.0.1.0/24`), with
/// `+` or spaces between; `None` if it is none, or too long.
pub(super) fn parse(text: &str) -> Option<Vec<IpAddr>> {
    let mut found = Vec::new();
    for part in text.split(['+', ' ', ',']).filter(|part| !part.is_empty()) {
        found.extend(some(part)?);
        if found.len() > MAX_SOURCES {
            return None;
        }
    }
    (!found.is_empty()).then_some(found)
}

fn some(part: &str) -> Option<Vec<IpAddr>> {
    if let Some((first, last)) = part.split_once('-') {
        return range(first.parse().ok()?, last.parse().ok()?);
    }
    if let Some((address, bits)) = part.split_once('/') {
        return network(address.parse().ok()?, bits.parse().ok()?);
    }
    Some(vec![part.parse().ok()?])
}

fn range(first: Ipv4Addr, last: Ipv4Addr) -> Option<Vec<IpAddr>> {
    let (first, last) = (u32::from(first), u32::from(last));
    let fits = first <= last && ((last - first) as usize) < MAX_SOURCES;
    fits.then(|| (first..=last).map(|number| Ipv4Addr::from(number).into()).collect())
}

/// The hosts of a network: without its own address and the one for all, where it has these.
fn network(address: Ipv4Addr, bits: u32) -> Option<Vec<IpAddr>> {
    let size = 1_u32.checked_shl(32_u32.checked_sub(bits)?)?;
    let first = u32::from(address) & !(size - 1);
    let last = first + (size - 1);
    let (first, last) = if size > 2 { (first + 1, last - 1) } else { (first, last) };
    range(first.into(), last.into())
}

/// A network of 16 bits.
const MAX_SOURCES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ranges_and_networks_are_read() {
        let cases = [
            ("127.0.0.1", 1, Some(("127.0.0.1", "127.0.0.1"))),
            ("127.0.0.1 + ::1", 2, Some(("127.0.0.1", "::1"))),
            ("127.0.0.2-127.0.0.9", 8, Some(("127.0.0.2", "127.0.0.9"))),
            ("127.0.0.77/24", 254, Some(("127.0.0.1", "127.0.0.254"))),
            ("127.0.0.4/32,10.0.0.0/31", 3, Some(("127.0.0.4", "10.0.0.1"))),
            ("127.0.0.0/16", 65_534, Some(("127.0.0.1", "127.0.255.254"))),
            ("127.0.0.0/15", 0, None),
            ("127.0.0.0/0", 0, None),
            ("127.0.0.0/33", 0, None),
            ("255.255.255.255/31", 2, Some(("255.255.255.254", "255.255.255.255"))),
            ("127.0.0.9-127.0.0.2", 0, None),
            ("localhost", 0, None),
            ("", 0, None),
        ];
        for (text, count, ends) in cases {
            let found = parse(text).unwrap_or_default();
            let seen = found.first().zip(found.last());
            let ends = ends.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
            assert_eq!((found.len(), seen.map(|(a, b)| (*a, *b))), (count, ends), "{text}");
        }
    }
}
