//! Which proxy a request goes through: the variables of the environment that curl and Go read.

use std::net::IpAddr;

use ::url::{Host, Url};
use ipnet::IpNet;

use nephometer_model::Secret;

/// The proxies of the environment. `Debug` prints no password.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    https: Option<Secret>,
    http: Option<Secret>,
    none: Vec<String>,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, and the same in lower case, which
    /// come first.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let both = [name.to_lowercase(), name.to_owned()];
            both.iter().find_map(|name| get(name)).filter(|value| !value.is_empty())
        };
        let of = |name: &str| read(name).or_else(|| read("ALL_PROXY")).map(Secret::new);
        let none = read("NO_PROXY").unwrap_or_default();
        let none = none.split(',').map(|one| one.trim().to_lowercase());
        Self {
            https: of("HTTPS_PROXY"),
            http: of("HTTP_PROXY"),
            none: none.filter(|one| !one.is_empty()).collect(),
        }
    }

    /// The proxy for a URL, as text. This machine is always reached directly.
    pub fn for_url(&self, url: &Url) -> Option<&Secret> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        let host = url.host()?;
        let is_direct = match &host {
            Host::Ipv4(address) => self.excludes_address((*address).into()),
            Host::Ipv6(address) => self.excludes_address((*address).into()),
            Host::Domain(name) => *name == "localhost" || self.excludes_name(name),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let with_port = format!("{host}:{port}");
        (!is_direct && !self.none.contains(&with_port)).then_some(proxy)
    }

    fn excludes_address(&self, address: IpAddr) -> bool {
        let covers = |entry: &String| {
            entry == "*"
                || entry.parse::<IpAddr>().is_ok_and(|one| one == address)
                || entry.parse::<IpNet>().is_ok_and(|range| range.contains(&address))
        };
        address.is_loopback() || self.none.iter().any(covers)
    }

    /// `example.org` and `.example.org` both cover the names below them.
    fn excludes_name(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.none.iter().any(|entry| {
            let suffix = entry.trim_start_matches("*.").trim_start_matches('.');
            entry == "*" || name == suffix || name.ends_with(&format!(".{suffix}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_for_each_url() {
        let set = |name: &str| match name {
            "https_proxy" => Some("http://u:p@proxy.example:3128".to_owned()),
            "HTTPS_PROXY" => Some("http://other.example".to_owned()),
            "ALL_PROXY" => Some("http://all.example:8080".to_owned()),
            "no_proxy" => Some("lan.example, .dev.example,10.0.0.0/8,own.example:5000".to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_variables(set);
        assert!(!format!("{proxies:?}").contains("u:p"));
        let proxy = |url: &str| {
            proxies.for_url(&Url::parse(url).unwrap()).map(|proxy| proxy.reveal().to_owned())
        };
        assert_eq!(proxy("https://r.example/v2/").unwrap(), "http://u:p@proxy.example:3128");
        assert_eq!(proxy("http://r.example/v2/").unwrap(), "http://all.example:8080");
        for direct in [
            "https://lan.example/",
            "https://r.lan.example/",
            "https://a.dev.example/",
            "https://10.1.2.3:5000/",
            "https://own.example:5000/",
            "https://localhost:5000/",
            "https://127.0.0.1/",
            "https://[::1]:5000/",
        ] {
            assert_eq!(proxy(direct), None, "{direct}");
        }
        for proxied in ["https://own.example/", "https://notlan.example/", "https://11.0.0.1/"] {
            assert!(proxy(proxied).is_some(), "{proxied}");
        }
        let none = Proxies::from_variables(|_| None);
        assert!(none.for_url(&Url::parse("https://r.example/").unwrap()).is_none());
    }
}
