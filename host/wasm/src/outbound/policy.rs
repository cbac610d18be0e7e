//! Who may be reached: the one place where this is decided.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kind::{Kind, kind};
use nephometer_config::{Grant, Reach};
use nephometer_telemetry::events;

/// Addresses that are remembered with the name that led to them.
const NAMES: usize = 64;
/// Refusals that are told; more different ones help nobody.
const TOLD: usize = 64;

/// What one publisher may reach. Its memory is locked by a standard mutex: guests of one publisher
/// run one at a time, and nothing waits or panics under the lock.
#[derive(Debug)]
pub(crate) struct Policy {
    component: Arc<str>,
    /// What the URL names; nothing if no port is known.
    url: Vec<Grant>,
    grants: Vec<Grant>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Sockets are connected by address; what counts is the name that it was looked up by.
    names: VecDeque<(IpAddr, String)>,
    told: Vec<String>,
}

/// Why something is not reached, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What was to be reached.
    pub(crate) target: String,
    /// Why not.
    pub(crate) reason: String,
    /// An entry for `grants.connect`.
    pub(crate) grant: String,
}

impl Policy {
    /// `url` is what the publisher's own URL grants.
    pub(crate) fn new(component: &Arc<str>, url: Vec<Grant>, grants: &[Grant]) -> Self {
        let (component, grants) = (Arc::clone(component), grants.to_vec());
        Self { component, url, grants, memory: Mutex::default() }
    }

    fn all(&self) -> impl Iterator<Item = &Grant> + Clone {
        self.url.iter().chain(&self.grants)
    }

    /// Whether a name may be looked up at all: asking for a name already tells it to others. One
    /// that is not granted itself may lead to addresses that are.
    pub(super) fn lookup(&self, name: &str, port: Option<u16>) -> Result<(), Refusal> {
        let fits = |grant: &Grant| port.is_none_or(|port| grant.port == port);
        let named = self.all().filter(|grant| fits(grant)).any(|grant| is_host(grant, name));
        let range = |grant: &Grant| matches!(grant.to, Reach::Range(_));
        if named || self.grants.iter().any(|grant| fits(grant) && range(grant)) {
            return Ok(());
        }
        let port = port.map_or("PORT".to_owned(), |port| port.to_string());
        let target = format!("{name}:{port}");
        let reason = "it is not granted".to_owned();
        Err(Refusal { grant: target.clone(), target, reason })
    }

    /// Whether `to` may be reached, which `name` led to if there is one.
    pub(super) fn connect(&self, name: Option<&str>, to: SocketAddr) -> Result<(), Refusal> {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let mut here = self.all().filter(|grant| grant.port == port);
        if here.clone().any(|grant| grant.to.holds(address)) {
            return Ok(());
        }
        let grant = Grant { to: Reach::Range(address.into()), port };
        let grant = grant.to_string();
        let Some(name) = name else {
            let reason = "it is not granted".to_owned();
            return Err(Refusal { target: grant.clone(), reason, grant });
        };
        let target = format!("{name}:{port} ({address})");
        if !here.any(|grant| is_host(grant, name)) {
            let (reason, grant) = ("it is not granted".to_owned(), format!("{name}:{port}"));
            return Err(Refusal { target, reason, grant });
        }
        // A private address is what a name within one's own network stands for. What else a name
        // leads to is in the hands of whoever answers for it.
        match kind(address) {
            Kind::Public | Kind::Private => Ok(()),
            Kind::Loopback if is_localhost(name) => Ok(()),
            other => {
                let reason = format!("the name leads to {}", other.as_str());
                Err(Refusal { target, reason, grant })
            }
        }
    }

    /// The same for sockets, which know only the address. Any name that led to it counts.
    pub(super) fn connect_found(&self, to: SocketAddr) -> Result<(), Refusal> {
        let address = to.ip().to_canonical();
        let names: Vec<String> = {
            let memory = self.memory();
            let led_here = memory.names.iter().filter(|(found, _)| *found == address);
            led_here.map(|(_, name)| name.clone()).collect()
        };
        let mut last = match self.connect(None, to) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        for name in names {
            match self.connect(Some(&name), to) {
                Ok(()) => return Ok(()),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    /// Takes note of what a name led to, if it may be reached at any port at all.
    pub(super) fn found_some(&self, name: &str, address: IpAddr) -> Result<(), Refusal> {
        let mut last = Err(Refusal {
            target: format!("{name} ({address})"),
            reason: "it is not granted".to_owned(),
            grant: format!("{name}:PORT"),
        });
        for grant in self.all() {
            last = self.connect(Some(name), SocketAddr::new(address, grant.port));
            if last.is_ok() {
                self.found(name, address);
                break;
            }
        }
        last
    }

    /// Remembers what a name led to.
    fn found(&self, name: &str, address: IpAddr) {
        let entry = (address.to_canonical(), normal(name));
        let mut memory = self.memory();
        memory.names.retain(|known| *known != entry);
        if memory.names.len() == NAMES {
            memory.names.pop_front();
        }
        memory.names.push_back(entry);
    }

    /// Tells the operator, once for each target.
    pub(super) fn tell(&self, refusal: &Refusal) {
        let Refusal { target, reason, grant } = refusal;
        {
            let mut memory = self.memory();
            if memory.told.len() >= TOLD || memory.told.contains(target) {
                return;
            }
            memory.told.push(target.clone());
        }
        events::outbound::connection_denied(&self.component, target, reason, grant);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn normal(name: &str) -> String {
    match Reach::host(name) {
        Some(Reach::Host(name)) => name,
        _ => name.to_ascii_lowercase(),
    }
}

fn is_host(grant: &Grant, name: &str) -> bool {
    matches!(&grant.to, Reach::Host(host) if *host == normal(name))
}

/// RFC 6761: it never leads elsewhere.
fn is_localhost(name: &str) -> bool {
    let name = normal(name);
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
        policy.connect(name, to.parse().unwrap()).is_ok()
    }

    #[test]
    fn the_url_grants_its_host_and_port_and_nothing_else() {
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
    fn a_granted_name_may_lead_to_some_kinds_of_addresses() {
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
    fn a_range_allows_what_is_in_it_by_any_name() {
        let ranges = policy("db:1", &["127.0.0.0/8:8086", "169.254.169.254:80"]);
        assert!(allowed(&ranges, Some("db"), "127.9.9.9:8086"));
        assert!(allowed(&ranges, Some("other"), "127.9.9.9:8086"));
        assert!(allowed(&ranges, None, "169.254.169.254:80"));
        assert!(!allowed(&ranges, None, "169.254.169.254:81"));
        assert!(!allowed(&ranges, None, "169.254.169.253:80"));
    }

    #[test]
    fn names_are_asked_for_only_if_that_can_help() {
        let strict = policy("127.0.0.1:80", &["db:1"]);
        assert!(strict.lookup("DB", Some(1)).is_ok());
        assert!(strict.lookup("db", Some(2)).is_err());
        assert!(strict.lookup("db", None).is_ok());
        let refusal = strict.lookup("secret.example", Some(80)).unwrap_err();
        assert_eq!(refusal.grant, "secret.example:80");
        assert!(policy("", &["10.0.0.0/8:80"]).lookup("any", Some(80)).is_ok());
    }

    #[test]
    fn sockets_are_judged_by_the_name_that_was_looked_up() {
        let policy = policy("db.example:8125", &[]);
        let to = "10.0.0.7:8125".parse().unwrap();
        assert_eq!(policy.connect_found(to).unwrap_err().grant, "10.0.0.7:8125");
        policy.found("db.example", to.ip());
        assert!(policy.connect_found(to).is_ok());
        assert!(policy.connect_found("10.0.0.7:8126".parse().unwrap()).is_err());
        for last in 0..=255 {
            policy.found("other.example", IpAddr::from([10, 1, 0, last]));
        }
        assert!(policy.connect_found(to).is_err(), "old names are forgotten");
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        let policy = policy("db.example:80", &[]);
        let metadata = "169.254.169.254:80".parse().unwrap();
        let refusal = policy.connect(Some("db.example"), metadata).unwrap_err();
        assert_eq!(refusal.grant, "169.254.169.254:80");
        assert_eq!(refusal.reason, "the name leads to a link-local address");
        let refusal = policy.connect(Some("o.example"), metadata).unwrap_err();
        assert_eq!(refusal.grant, "o.example:80");
    }
}
