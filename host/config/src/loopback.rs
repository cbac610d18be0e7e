//! Names of this machine.

use std::net::IpAddr;

/// Whether a host name or address is that of the same machine.
pub(super) fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_several_names() {
        for (name, expected) in [
            ("localhost", true),
            ("127.0.0.53", true),
            ("::1", true),
            ("a.localhost", true),
            ("localhost.lan", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(name), expected, "{name}");
        }
    }
}
