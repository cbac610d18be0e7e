//! Classifies addresses: names must not resolve to some kinds unless granted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of addresses, from the special-purpose registries (RFC 6890 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressKind {
    /// A public address.
    Public,
    /// A private network, carrier-grade NAT included.
    Private,
    /// This machine.
    Loopback,
    /// This link. Cloud platforms serve credentials there.
    LinkLocal,
    /// A multicast group.
    Multicast,
    /// The unspecified address, which systems treat as this machine.
    Unspecified,
    /// For protocols, tests or future use.
    Reserved,
}

impl AddressKind {
    /// The kind with its article, for error texts.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Unspecified => "the unspecified address",
            Self::Reserved => "a reserved address",
        }
    }
}

/// The kind of an address. An IPv6 address that embeds an IPv4 one has the kind of that.
pub(super) fn address_kind(address: IpAddr) -> AddressKind {
    match address.to_canonical() {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [0, ..] => AddressKind::Unspecified,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressKind::Private
        }
        [192, 0, 0, _] | [198, 18..=19, ..] => AddressKind::Reserved,
        [224..=239, ..] => AddressKind::Multicast,
        [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    let [a, b, c, .., y, z] = address.segments();
    let embedded =
        |high: u16, low: u16| of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        // IPv4-compatible (deprecated), NAT64, 6to4.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embedded(y, z),
        [0x2002, ..] => embedded(b, c),
        // Local-use NAT64, IPv4-translated, Teredo.
        [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x2001, 0, ..] => {
            AddressKind::Reserved
        }
        [0x100, 0, 0, 0, ..] => AddressKind::Reserved,
        _ if a & 0xfe00 == 0xfc00 => AddressKind::Private,
        _ if a & 0xffc0 == 0xfe80 => AddressKind::LinkLocal,
        // Site-local (deprecated).
        _ if a & 0xffc0 == 0xfec0 => AddressKind::Private,
        _ if a & 0xff00 == 0xff00 => AddressKind::Multicast,
        _ => AddressKind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_classified() {
        use AddressKind::{LinkLocal, Loopback, Multicast, Private, Public, Reserved, Unspecified};
        for (address, expected) in [
            ("8.8.8.8", Public),
            ("100.63.255.255", Public),
            ("172.32.0.1", Public),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("169.254.169.254", LinkLocal),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("224.0.0.1", Multicast),
            ("239.255.255.250", Multicast),
            ("255.255.255.255", Reserved),
            ("240.0.0.1", Reserved),
            ("198.19.0.1", Reserved),
            ("192.0.0.170", Reserved),
            ("2606:4700::1111", Public),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", LinkLocal),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::7f00:1", Loopback),
            ("64:ff9b::a9fe:a9fe", LinkLocal),
            ("64:ff9b:1::1", Reserved),
            ("::ffff:0:7f00:1", Reserved),
            ("2002:7f00:1::", Loopback),
            ("2002:a00:1::1", Private),
            ("2001::1", Reserved),
            ("100::1", Reserved),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("fe80::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
        ] {
            assert_eq!(address_kind(address.parse().unwrap()), expected, "{address}");
        }
    }
}
