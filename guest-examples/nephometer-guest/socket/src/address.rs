//! Converts between the addresses of `wasi:sockets` and of the standard library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bindings::wasi::sockets::network::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};

pub(crate) fn family(address: IpAddr) -> IpAddressFamily {
    match address {
        IpAddr::V4(_) => IpAddressFamily::Ipv4,
        IpAddr::V6(_) => IpAddressFamily::Ipv6,
    }
}

/// The unspecified address of the same family with port 0, to bind to.
pub(crate) fn unspecified_like(address: IpAddr) -> IpSocketAddress {
    match address {
        IpAddr::V4(_) => with_port(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        IpAddr::V6(_) => with_port(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

pub(crate) fn with_port(address: IpAddr, port: u16) -> IpSocketAddress {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) })
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port,
                flow_info: 0,
                address: (a, b, c, d, e, f, g, h),
                scope_id: 0,
            })
        }
    }
}

pub(crate) fn to_std(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in ["127.0.0.1", "192.0.2.7", "::1", "2001:db8::1:2"] {
            let address: IpAddr = text.parse().unwrap();
            let back = match with_port(address, 8125) {
                IpSocketAddress::Ipv4(one) => {
                    assert_eq!(one.port, 8125);
                    IpAddress::Ipv4(one.address)
                }
                IpSocketAddress::Ipv6(one) => IpAddress::Ipv6(one.address),
            };
            assert_eq!(to_std(back), address);
        }
    }
}
