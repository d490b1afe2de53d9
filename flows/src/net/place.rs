//! Which addresses may be asked: public ones, and what the deployment allows beside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An entry of `http.allow` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place: write a network (\"10.0.0.0/8\"), an address or a name, each with a port or without (\"mlflow:5000\")"
)]
pub struct PlaceError(String);

/// Places that are not public and may be asked all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Net { base: IpAddr, bits: u8 },
    Name(String),
}

impl Places {
    /// Reads `http.allow`.
    pub fn parse(texts: &[String]) -> Result<Self, PlaceError> {
        texts
            .iter()
            .map(|text| Place::parse(text))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a connection to `addr` is allowed that was asked for as `host` and `port`.
    pub fn permit(&self, (host, port): (&str, u16), addr: IpAddr) -> bool {
        let addr = plain(addr);
        is_public(addr) || self.0.iter().any(|place| place.covers((host, port), addr))
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, PlaceError> {
        let wrong = || PlaceError(text.to_owned());
        let text_given = text.trim();
        let (host, port) = split_port(text_given).ok_or_else(wrong)?;
        let what = match host.split_once('/') {
            Some((base, bits)) => What::net(base, bits).ok_or_else(wrong)?,
            None => match host.parse::<IpAddr>() {
                Ok(addr) => What::Net {
                    base: plain(addr),
                    bits: width(plain(addr)),
                },
                Err(_) => What::name(host).ok_or_else(wrong)?,
            },
        };
        Ok(Self { what, port })
    }

    fn covers(&self, (host, port): (&str, u16), addr: IpAddr) -> bool {
        let here = match &self.what {
            What::Net { base, bits } => shares(*base, addr, *bits),
            What::Name(name) => name.eq_ignore_ascii_case(host.trim_end_matches('.')),
        };
        here && self.port.is_none_or(|own| own == port)
    }
}

impl What {
    fn net(base: &str, bits: &str) -> Option<Self> {
        let base = plain(base.parse().ok()?);
        let bits = bits.parse().ok().filter(|bits| *bits <= width(base))?;
        Some(Self::Net { base, bits })
    }

    fn name(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!text.is_empty() && text.chars().all(fits))
            .then(|| Self::Name(text.trim_end_matches('.').to_owned()))
    }
}

/// `[::1]:80`, `::1`, `10.0.0.0/8`, `name:80`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => tail.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port.parse().ok()?))),
        _ => Some((text, None)),
    }
}

/// An IPv4 address that hides in an IPv6 one, as itself.
fn plain(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(addr, IpAddr::V4),
        IpAddr::V4(_) => addr,
    }
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn shares(base: IpAddr, addr: IpAddr, bits: u8) -> bool {
    let number = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    base.is_ipv4() == addr.is_ipv4() && number(base) & mask == number(addr) & mask
}

fn is_public(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Not this machine, not its network, not a cloud's metadata, not many, not reserved (IANA's special-purpose registry).
fn is_public_v4(addr: Ipv4Addr) -> bool {
    const NOT: [([u8; 4], u32); 14] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 3),
    ];
    let inside = |(base, bits): &([u8; 4], u32)| {
        let mask = u32::MAX << (32 - bits);
        addr.to_bits() & mask == u32::from_be_bytes(*base) & mask
    };
    !NOT.iter().any(inside)
}

/// Global unicast; what carries an IPv4 address within is judged by that.
fn is_public_v6(addr: Ipv6Addr) -> bool {
    let parts = addr.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo and the rest of the special-purpose block, and documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(allow: &[&str], host: &str, addr: &str) -> bool {
        let texts: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
        let addr: IpAddr = addr.parse().unwrap();
        Places::parse(&texts).unwrap().permit((host, 80), addr)
    }

    #[test]
    fn what_only_this_machine_reaches_is_denied_in_every_disguise() {
        for inner in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!permit(&[], "name", inner), "{inner}");
        }
        for public in [
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::5db8:d822",
        ] {
            assert!(permit(&[], "name", public), "{public}");
        }
    }

    #[test]
    fn what_the_deployment_allows_is_a_network_an_address_or_a_name_with_a_port_or_without() {
        assert!(permit(&["10.0.0.0/8"], "x", "10.9.8.7"));
        assert!(!permit(&["10.0.0.0/16"], "x", "10.9.8.7"));
        assert!(permit(&["127.0.0.1:80"], "x", "127.0.0.1"));
        assert!(permit(&["127.0.0.1"], "x", "::ffff:127.0.0.1"));
        assert!(!permit(&["127.0.0.1:81"], "x", "127.0.0.1"));
        assert!(permit(&["mlflow.internal:80"], "MLflow.internal.", "10.0.0.1"));
        assert!(!permit(&["mlflow.internal"], "evil.internal", "10.0.0.1"));
        assert!(permit(&["[::1]:80"], "x", "::1") && permit(&["fd00::/8"], "x", "fd12::1"));
        assert!(!permit(&["0.0.0.0/0"], "x", "::1"), "the two families are apart");
    }

    #[test]
    fn an_entry_that_says_nothing_is_refused() {
        for wrong in ["", "10.0.0.0/33", "http://x", "x:y", "a b", "[::1", "::1/200"] {
            let refused = Places::parse(&[wrong.to_owned()]);
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
    }
}
