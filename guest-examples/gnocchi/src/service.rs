//! Addresses of services: `http://HOST[:PORT][/PATH]`.

use nephometer_guest_http::authority;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Whether to use TLS.
    pub tls: bool,
    /// `HOST:PORT`.
    pub authority: String,
    /// The path of the service, without a slash at its end.
    pub path: String,
}

impl Service {
    /// Parses an address.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let expected = || format!("{url:?} is not an address; expected http://HOST[:PORT][/PATH]");
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(expected()),
        };
        let (address, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let bad = |one: char| one.is_control() || one == ' ' || one == '?' || one == '#';
        if address.is_empty() || address.contains('@') || rest.contains(bad) {
            return Err(expected());
        }
        let has_port = address.rfind(':').is_some_and(|colon| !address[colon..].contains(']'));
        let authority = match address {
            whole if has_port => whole.to_owned(),
            host => authority(host.trim_matches(['[', ']']), if tls { 443 } else { 80 }),
        };
        Ok(Self { tls, authority, path: path.trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        for (url, tls, authority, path) in [
            ("http://g:8041", false, "g:8041", ""),
            ("https://g/metric/", true, "g:443", "/metric"),
            ("http://[::1]/", false, "[::1]:80", ""),
            ("http://[::1]:8041/v1", false, "[::1]:8041", "/v1"),
        ] {
            let wanted = Service { tls, authority: authority.to_owned(), path: path.to_owned() };
            assert_eq!(Service::parse(url), Ok(wanted));
        }
        for bad in ["g:8041", "ftp://g", "http://", "http://u@g", "http://g/a b", "http:///x"] {
            assert!(Service::parse(bad).is_err(), "{bad}");
        }
    }
}
