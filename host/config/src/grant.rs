//! Connection grants of components: one host or range of addresses, and one port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// One entry of `grants.connect`, or the implicit grant of a publisher's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The granted targets.
    pub to: ConnectTarget,
    /// The granted port.
    pub port: u16,
}

/// A host name or a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectTarget {
    /// A host name, in lower case and without a trailing dot.
    Host(String),
    /// A range of addresses; the bits after the prefix are zero. IPv4-mapped IPv6 addresses are
    /// stored as IPv4.
    Range(IpNet),
}

impl ConnectTarget {
    /// Parses the host of a URL: a name, an address, or an IPv6 address in brackets. `None` for
    /// anything else.
    pub fn host(text: &str) -> Option<Self> {
        let unbracketed =
            text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = unbracketed.parse::<IpAddr>() {
            return Some(Self::Range(address.to_canonical().into()));
        }
        // Also parses forms that other programs accept as an address, such as 0x7f.1.
        match ::url::Host::parse(text).ok()? {
            ::url::Host::Domain(name) if !name.is_empty() => {
                Some(Self::Host(name.trim_end_matches('.').to_owned()))
            }
            ::url::Host::Domain(_) => None,
            ::url::Host::Ipv4(address) => Some(Self::Range(IpAddr::V4(address).into())),
            ::url::Host::Ipv6(address) => Self::host(&address.to_string()),
        }
    }

    /// Whether the range contains this address; false for names.
    pub fn contains(&self, address: IpAddr) -> bool {
        matches!(self, Self::Range(range) if range.contains(&address.to_canonical()))
    }
}

impl FromStr for Grant {
    type Err = String;

    /// `HOST:PORT`, `ADDRESS:PORT`, `ADDRESS/BITS:PORT`; IPv6 in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, port) = text
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'))
            .ok_or("it has no port")?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("its port is not a number from 1 to 65535")?;
        let unbracketed = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if unbracketed.is_none() && address.contains(':') {
            return Err("an IPv6 address needs square brackets".to_owned());
        }
        let to = match unbracketed.unwrap_or(address).split_once('/') {
            Some((address, prefix)) => range(address, prefix)?,
            None => {
                ConnectTarget::host(address).ok_or("its host is neither a name nor an address")?
            }
        };
        Ok(Self { to, port })
    }
}

fn range(address: &str, prefix: &str) -> Result<ConnectTarget, String> {
    let address: IpAddr =
        address.parse().map_err(|_| "its range does not begin with an address")?;
    let wrong = |most| format!("its prefix length is not a number up to {most}");
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.parse().map_err(|_| wrong(most))?;
    let range = IpNet::new(address, prefix).map_err(|_| wrong(most))?;
    // IPv4-mapped IPv6 ranges become IPv4 ranges.
    let range = match (address.to_canonical(), prefix) {
        (canonical, _) if canonical == address => range,
        (canonical, 96..) => IpNet::new(canonical, prefix - 96).map_err(|_| wrong(most))?,
        _ => return Err("its range contains more than IPv4-mapped addresses".to_owned()),
    };
    if range.trunc() != range {
        return Err(format!("its range begins at {}", range.network()));
    }
    Ok(ConnectTarget::Range(range))
}

/// The form of `grants.connect`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.to {
            ConnectTarget::Host(name) => write!(f, "{name}:{port}"),
            ConnectTarget::Range(range) if range.prefix_len() == range.max_prefix_len() => {
                SocketAddr::new(range.addr(), port).fmt(f)
            }
            ConnectTarget::Range(range @ IpNet::V4(_)) => write!(f, "{range}:{port}"),
            ConnectTarget::Range(range) => write!(f, "[{range}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_written_alike() {
        for text in [
            "influx.lan:8086",
            "10.0.0.0/8:8086",
            "192.0.2.1:80",
            "[2001:db8::1]:443",
            "[2001:db8::/32]:443",
            "0.0.0.0/0:53",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        let same = |text: &str| text.parse::<Grant>().unwrap().to_string();
        assert_eq!(same("Influx.LAN.:1"), "influx.lan:1");
        assert_eq!(same("[::ffff:127.0.0.1]:1"), "127.0.0.1:1");
        assert_eq!(same("[::ffff:10.0.0.0/104]:1"), "10.0.0.0/8:1");
        assert_eq!(same("0x7f.1:1"), "127.0.0.1:1");
    }

    #[test]
    fn invalid_grants_are_rejected_with_a_reason() {
        for (text, word) in [
            ("influx.lan", "no port"),
            ("influx.lan:0", "1 to 65535"),
            ("influx.lan:http", "1 to 65535"),
            ("2001:db8::1:443", "square brackets"),
            ("[2001:db8::1]", "no port"),
            ("10.0.0.1/8:80", "begins at 10.0.0.0"),
            ("10.0.0.0/33:80", "up to 32"),
            ("lan/8:80", "begin with an address"),
            (":80", "neither a name"),
            ("a b:80", "neither a name"),
            ("[::ffff:0:0/90]:80", "more than IPv4-mapped"),
        ] {
            let error = text.parse::<Grant>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn ranges_hold_their_addresses_in_every_form() {
        let range = "10.0.0.0/8:1".parse::<Grant>().unwrap().to;
        for (address, inside) in
            [("10.9.8.7", true), ("::ffff:10.9.8.7", true), ("11.0.0.0", false), ("::", false)]
        {
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!("0.0.0.0/0:1".parse::<Grant>().unwrap().to.contains("1.2.3.4".parse().unwrap()));
        assert!(!ConnectTarget::host("localhost").unwrap().contains("127.0.0.1".parse().unwrap()));
    }
}
