//! What sort of place an address is: where a name must not lead to unasked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// By the registries of special addresses (RFC 6890 and those after it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anyone's.
    Public,
    /// A network of one's own, also that of a carrier.
    Private,
    /// This machine.
    Loopback,
    /// This link; cloud platforms give out credentials there.
    LinkLocal,
    Multicast,
    /// No address, which systems take for this machine.
    Unspecified,
    /// For protocols and tests, or for nothing yet.
    Reserved,
}

impl Kind {
    /// With its article, for a sentence.
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

/// An IPv6 address that only wraps an IPv4 one is as what it wraps.
pub(super) fn kind(address: IpAddr) -> Kind {
    match address.to_canonical() {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [0, ..] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [169, 254, ..] => Kind::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Kind::Private,
        [192, 0, 0, _] | [198, 18..=19, ..] => Kind::Reserved,
        [224..=239, ..] => Kind::Multicast,
        [240..=255, ..] => Kind::Reserved,
        _ => Kind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Kind {
    let [a, b, c, .., y, z] = address.segments();
    let wrapped =
        |high: u16, low: u16| of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        // Compatible with IPv4, long out of use; NAT64; 6to4.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => wrapped(y, z),
        [0x2002, ..] => wrapped(b, c),
        // NAT64 of one's own network; IPv4 that is translated; Teredo.
        [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x2001, 0, ..] => Kind::Reserved,
        [0x100, 0, 0, 0, ..] => Kind::Reserved,
        _ if a & 0xfe00 == 0xfc00 => Kind::Private,
        _ if a & 0xffc0 == 0xfe80 => Kind::LinkLocal,
        // Once for sites.
        _ if a & 0xffc0 == 0xfec0 => Kind::Private,
        _ if a & 0xff00 == 0xff00 => Kind::Multicast,
        _ => Kind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_kind() {
        use Kind::{LinkLocal, Loopback, Multicast, Private, Public, Reserved, Unspecified};
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
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }
}
