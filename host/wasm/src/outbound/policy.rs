//! Decides which destinations a publisher may reach. No other module does.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kind::{AddressKind, address_kind};
use nephometer_config::{ConnectTarget, Grant};
use nephometer_telemetry::events;

/// Resolved addresses that are remembered with their names.
const MAX_NAMES: usize = 64;
/// Refusals that are logged per publisher.
const MAX_REPORTED: usize = 64;

/// The destinations that one publisher may reach. A standard mutex is enough: guests of one
/// publisher run one at a time, and nothing waits or panics while it is locked.
#[derive(Debug)]
pub(crate) struct Policy {
    component: Arc<str>,
    /// Grants of the URL; empty if it has no known port.
    url: Vec<Grant>,
    grants: Vec<Grant>,
    memory: Mutex<PolicyMemory>,
}

#[derive(Debug, Default)]
struct PolicyMemory {
    /// Addresses and the names that resolved to them: sockets connect by address.
    names: VecDeque<(IpAddr, String)>,
    reported: Vec<String>,
}

/// A refused destination, the reason, and the grant that would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The destination.
    pub(crate) target: String,
    /// The reason.
    pub(crate) reason: String,
    /// An entry for `grants.check_address`.
    pub(crate) grant: String,
}

impl Policy {
    /// `url` are the grants of the publisher's own URL.
    pub(crate) fn new(component: &Arc<str>, url: Vec<Grant>, grants: &[Grant]) -> Self {
        let (component, grants) = (Arc::clone(component), grants.to_vec());
        Self { component, url, grants, memory: Mutex::default() }
    }

    fn all(&self) -> impl Iterator<Item = &Grant> + Clone {
        self.url.iter().chain(&self.grants)
    }

    /// Whether a name may be looked up: a query already discloses it to others. A name without its
    /// own grant may resolve to addresses in a granted range.
    pub(super) fn check_name(&self, name: &str, port: Option<u16>) -> Result<(), Refusal> {
        let fits = |grant: &Grant| port.is_none_or(|port| grant.port == port);
        let named = self.all().filter(|grant| fits(grant)).any(|grant| is_host(grant, name));
        let range = |grant: &Grant| matches!(grant.to, ConnectTarget::Range(_));
        if named || self.grants.iter().any(|grant| fits(grant) && range(grant)) {
            return Ok(());
        }
        let port = port.map_or("PORT".to_owned(), |port| port.to_string());
        let target = format!("{name}:{port}");
        let reason = "not granted".to_owned();
        Err(Refusal { grant: target.clone(), target, reason })
    }

    /// Whether `to` may be reached. `name` is the name that resolved to it, if any.
    pub(super) fn check_address(&self, name: Option<&str>, to: SocketAddr) -> Result<(), Refusal> {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let mut port_grants = self.all().filter(|grant| grant.port == port);
        if port_grants.clone().any(|grant| grant.to.contains(address)) {
            return Ok(());
        }
        let grant = Grant { to: ConnectTarget::Range(address.into()), port };
        let grant = grant.to_string();
        let Some(name) = name else {
            let reason = "not granted".to_owned();
            return Err(Refusal { target: grant.clone(), reason, grant });
        };
        let target = format!("{name}:{port} ({address})");
        if !port_grants.any(|grant| is_host(grant, name)) {
            let (reason, grant) = ("not granted".to_owned(), format!("{name}:{port}"));
            return Err(Refusal { target, reason, grant });
        }
        // Names of one's own network resolve to private addresses. All other special addresses are
        // in the control of whoever serves the name.
        match address_kind(address) {
            AddressKind::Public | AddressKind::Private => Ok(()),
            AddressKind::Loopback if is_localhost(name) => Ok(()),
            other => {
                let reason = format!("name resolves to {}", other.as_str());
                Err(Refusal { target, reason, grant })
            }
        }
    }

    /// The same for sockets, which have only an address: any name that resolved to it counts.
    pub(super) fn check_socket(&self, to: SocketAddr) -> Result<(), Refusal> {
        let address = to.ip().to_canonical();
        let names: Vec<String> = {
            let memory = self.memory();
            let matching = memory.names.iter().filter(|(known, _)| *known == address);
            matching.map(|(_, name)| name.clone()).collect()
        };
        let mut last = match self.check_address(None, to) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        for name in names {
            match self.check_address(Some(&name), to) {
                Ok(()) => return Ok(()),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    /// Records a resolved address, if it may be reached at any port.
    pub(super) fn record_if_allowed(&self, name: &str, address: IpAddr) -> Result<(), Refusal> {
        let mut last = Err(Refusal {
            target: format!("{name} ({address})"),
            reason: "not granted".to_owned(),
            grant: format!("{name}:PORT"),
        });
        for grant in self.all() {
            last = self.check_address(Some(name), SocketAddr::new(address, grant.port));
            if last.is_ok() {
                self.record(name, address);
                break;
            }
        }
        last
    }

    /// Records a resolved address.
    fn record(&self, name: &str, address: IpAddr) {
        let entry = (address.to_canonical(), normalized(name));
        let mut memory = self.memory();
        memory.names.retain(|known| *known != entry);
        if memory.names.len() == MAX_NAMES {
            memory.names.pop_front();
        }
        memory.names.push_back(entry);
    }

    /// Logs a refusal, once per target.
    pub(super) fn report(&self, refusal: &Refusal) {
        let Refusal { target, reason, grant } = refusal;
        {
            let mut memory = self.memory();
            if memory.reported.len() >= MAX_REPORTED || memory.reported.contains(target) {
                return;
            }
            memory.reported.push(target.clone());
        }
        events::outbound::connection_denied(&self.component, target, reason, grant);
    }

    fn memory(&self) -> MutexGuard<'_, PolicyMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn normalized(name: &str) -> String {
    match ConnectTarget::host(name) {
        Some(ConnectTarget::Host(name)) => name,
        _ => name.to_ascii_lowercase(),
    }
}

fn is_host(grant: &Grant, name: &str) -> bool {
    matches!(&grant.to, ConnectTarget::Host(host) if *host == normalized(name))
}

/// RFC 6761: always resolves to loopback addresses.
fn is_localhost(name: &str) -> bool {
    let name = normalized(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(url: &str, grants: &[&str]) -> Policy {
        let grants: Vec<Grant> = grants.iter().map(|text| text.parse().unwrap()).collect();
        Policy::new(&Arc::from("c"), url.parse().into_iter().collect(), &grants)
    }

    fn allowed(policy: &Policy, name: Option<&str>, to: &str) -> bool {
        policy.check_address(name, to.parse().unwrap()).is_ok()
    }

    #[test]
    fn url_grants_only_its_host_and_port() {
        let by_address = policy("127.0.0.1:8086", &[]);
        for (to, expected) in [
            ("127.0.0.1:8086", true),
            ("[::ffff:127.0.0.1]:8086", true),
            ("127.0.0.1:8087", false),
            ("127.0.0.2:8086", false),
            ("[::1]:8086", false),
            ("[::127.0.0.1]:8086", false),
            ("0.0.0.0:8086", false),
            ("169.254.169.254:80", false),
            ("[::ffff:169.254.169.254]:80", false),
            ("8.8.8.8:8086", false),
        ] {
            assert_eq!(allowed(&by_address, None, to), expected, "{to}");
        }
        assert!(!allowed(&policy("", &[]), None, "8.8.8.8:80"));
    }

    #[test]
    fn granted_name_may_resolve_to_public_and_private_addresses() {
        let by_name = policy("db.example:8086", &[]);
        for (to, expected) in [
            ("8.8.8.8:8086", true),
            ("10.1.2.3:8086", true),
            ("[fd00::1]:8086", true),
            ("10.1.2.3:8087", false),
            ("127.0.0.1:8086", false),
            ("[::1]:8086", false),
            ("[::ffff:127.0.0.1]:8086", false),
            ("169.254.169.254:8086", false),
            ("[fe80::1]:8086", false),
            ("224.0.0.1:8086", false),
            ("0.0.0.0:8086", false),
            ("255.255.255.255:8086", false),
            ("[64:ff9b::7f00:1]:8086", false),
        ] {
            assert_eq!(allowed(&by_name, Some("DB.example."), to), expected, "{to}");
            assert!(!allowed(&by_name, Some("other.example"), to), "{to}");
            assert!(!allowed(&by_name, None, to), "{to}");
        }
        let local = policy("localhost:1", &[]);
        assert!(allowed(&local, Some("localhost"), "127.0.0.1:1"));
        assert!(allowed(&local, Some("localhost"), "[::1]:1"));
        assert!(!allowed(&local, Some("localhost"), "169.254.169.254:1"));
    }

    #[test]
    fn granted_range_is_reachable_by_any_name() {
        let ranges = policy("db:1", &["127.0.0.0/8:8086", "169.254.169.254:80"]);
        assert!(allowed(&ranges, Some("db"), "127.9.9.9:8086"));
        assert!(allowed(&ranges, Some("other"), "127.9.9.9:8086"));
        assert!(allowed(&ranges, None, "169.254.169.254:80"));
        assert!(!allowed(&ranges, None, "169.254.169.254:81"));
        assert!(!allowed(&ranges, None, "169.254.169.253:80"));
    }

    #[test]
    fn names_are_looked_up_only_if_granted_or_a_range_is() {
        let strict = policy("127.0.0.1:80", &["db:1"]);
        assert!(strict.check_name("DB", Some(1)).is_ok());
        assert!(strict.check_name("db", Some(2)).is_err());
        assert!(strict.check_name("db", None).is_ok());
        let refusal = strict.check_name("secret.example", Some(80)).unwrap_err();
        assert_eq!(refusal.grant, "secret.example:80");
        assert!(policy("", &["10.0.0.0/8:80"]).check_name("any", Some(80)).is_ok());
    }

    #[test]
    fn sockets_are_checked_by_the_names_of_their_address() {
        let policy = policy("db.example:8125", &[]);
        let to = "10.0.0.7:8125".parse().unwrap();
        assert_eq!(policy.check_socket(to).unwrap_err().grant, "10.0.0.7:8125");
        policy.record("db.example", to.ip());
        assert!(policy.check_socket(to).is_ok());
        assert!(policy.check_socket("10.0.0.7:8126".parse().unwrap()).is_err());
        for last in 0..=255 {
            policy.record("other.example", IpAddr::from([10, 1, 0, last]));
        }
        assert!(policy.check_socket(to).is_err(), "old names are forgotten");
    }

    #[test]
    fn refusal_names_the_missing_grant() {
        let policy = policy("db.example:80", &[]);
        let metadata = "169.254.169.254:80".parse().unwrap();
        let refusal = policy.check_address(Some("db.example"), metadata).unwrap_err();
        assert_eq!(refusal.grant, "169.254.169.254:80");
        assert_eq!(refusal.reason, "name resolves to a link-local address");
        let refusal = policy.check_address(Some("o.example"), metadata).unwrap_err();
        assert_eq!(refusal.grant, "o.example:80");
    }
}
