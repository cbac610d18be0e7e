//! The broker in a `ceilometer.conf`, as oslo.messaging of every release finds it: one URL with
//! options in its query, or, up to Ceilometer 9, an option for each part of the address.
//!
//! Options are collected while the file is read; [`Rabbit::keys`] turns them into keys of
//! `nephometer.yaml`.

use super::location::Location;
use super::oslo::{DEFAULT, is_switch, is_true, truth};
use super::url::{self, Parts};

/// A key of `nephometer.yaml`, its values, and the origin of the values.
pub(super) type Key = (&'static [&'static str], Vec<String>, String);

/// The section with the options of the driver.
pub(super) const RABBIT: &str = "oslo_messaging_rabbit";
/// The section with the broker of notifications, which include samples.
const NOTIFICATIONS: &str = "oslo_messaging_notifications";

const URL: &[&str] = &["amqp", "url"];
const QUEUES: &[&str] = &["amqp", "queues"];
const TLS: &[&str] = &["amqp", "tls", "enabled"];

/// RabbitMQ's port for oslo.messaging, with TLS as well.
const PORT: &str = "5672";

/// An option of the driver. Its value in the URL overrides that of its section, which overrides
/// that of its earlier names, which override those in `[DEFAULT]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RabbitSetting {
    Tls,
    Ca,
    Certificate,
    Key,
    VerifyHostname,
    Durable,
    Quorum,
    Host,
    Hosts,
    Port,
    User,
    Password,
    VirtualHost,
    Login,
}

/// All names of the settings. The first is the current one.
const NAMES: [(RabbitSetting, &[&str]); 14] = [
    (RabbitSetting::Tls, &["ssl", "rabbit_use_ssl"]),
    (RabbitSetting::Ca, &["ssl_ca_file", "kombu_ssl_ca_certs"]),
    (RabbitSetting::Certificate, &["ssl_cert_file", "kombu_ssl_certfile"]),
    (RabbitSetting::Key, &["ssl_key_file", "kombu_ssl_keyfile"]),
    (RabbitSetting::VerifyHostname, &["ssl_enforce_hostname_verification"]),
    (RabbitSetting::Durable, &["amqp_durable_queues", "rabbit_durable_queues"]),
    (RabbitSetting::Quorum, &["rabbit_quorum_queue"]),
    (RabbitSetting::Host, &["rabbit_host"]),
    (RabbitSetting::Hosts, &["rabbit_hosts"]),
    (RabbitSetting::Port, &["rabbit_port"]),
    (RabbitSetting::User, &["rabbit_userid"]),
    (RabbitSetting::Password, &["rabbit_password"]),
    (RabbitSetting::VirtualHost, &["rabbit_virtual_host"]),
    (RabbitSetting::Login, &["rabbit_login_method"]),
];

/// The parts of an address, which count only without hosts in the URL.
const ADDRESS: [RabbitSetting; 5] = [
    RabbitSetting::Host,
    RabbitSetting::Hosts,
    RabbitSetting::Port,
    RabbitSetting::User,
    RabbitSetting::Password,
];

/// Options of the driver that concern neither the broker's address nor its protocol: how
/// oslo.messaging waits and reconnects, how many messages a consumer prefetches, and queues for
/// remote calls and replies, of which this agent has none. The agent uses TLS 1.2 or 1.3, whatever
/// version is set.
const IMMATERIAL: [&str; 34] = [
    "amqp_auto_delete",
    "conn_pool_min_size",
    "conn_pool_ttl",
    "direct_mandatory_flag",
    "enable_cancel_on_failover",
    "heartbeat_in_pthread",
    "heartbeat_rate",
    "heartbeat_timeout_threshold",
    "hostname",
    "kombu_compression",
    "kombu_failover_strategy",
    "kombu_missing_consumer_retry_timeout",
    "kombu_reconnect_delay",
    "kombu_reconnect_splay",
    "kombu_reconnect_timeout",
    "kombu_ssl_version",
    "processname",
    "rabbit_ha_queues",
    "rabbit_interval_max",
    "rabbit_max_retries",
    "rabbit_qos_prefetch_count",
    "rabbit_quorum_delivery_limit",
    "rabbit_quorum_max_memory_bytes",
    "rabbit_quorum_max_memory_length",
    "rabbit_retry_backoff",
    "rabbit_retry_interval",
    "rabbit_stream_fanout",
    "rabbit_transient_queues_ttl",
    "rabbit_transient_quorum_queue",
    "rpc_conn_pool_size",
    "send_single_reply",
    "ssl_enforce_fips_mode",
    "ssl_version",
    "use_queue_manager",
];

/// What [`Rabbit::take`] did with an option.
pub(super) enum Taken {
    /// It is a setting of the broker.
    Yes,
    /// It is known, and has no effect here.
    Immaterial,
    /// It is not an option of the broker, or its value is not supported.
    No,
}

/// One value.
struct Found {
    setting: RabbitSetting,
    value: String,
    /// The lowest counts.
    rank: usize,
    location: Location,
}

impl Found {
    /// Shown as the origin of the key.
    fn origin(&self) -> String {
        let place = if self.rank == IN_URL { ", transport_url" } else { "" };
        format!("{}{place}", origin(&self.location))
    }
}

/// The ranks of the current name of an option in the URL, in its section, and in `[DEFAULT]`. Its
/// earlier name follows directly.
const IN_URL: usize = 0;
const IN_SECTION: usize = 1;
const IN_DEFAULT: usize = 3;

/// The options about the broker.
#[derive(Default)]
pub(super) struct Rabbit {
    found: Vec<Found>,
    /// The URL of `[oslo_messaging_notifications]`, and that of `[DEFAULT]`.
    notifications: Option<(String, Location)>,
    transport: Option<(String, Location)>,
    /// `rpc_backend`, if it is not RabbitMQ. A URL overrides it.
    backend: Option<Location>,
}

impl Rabbit {
    /// Takes an option, if it is one of the broker.
    pub(super) fn take(
        &mut self,
        (section, key): (&str, &str),
        value: &str,
        location: &Location,
    ) -> Taken {
        let url = || Some((value.to_owned(), location.clone())).filter(|_| !value.is_empty());
        match (section, key) {
            (NOTIFICATIONS, "transport_url") => self.notifications = url(),
            // Its earlier name.
            (DEFAULT, "notification_transport_url") => {
                self.notifications = self.notifications.take().or_else(url);
            }
            (DEFAULT, "transport_url") => self.transport = url(),
            (DEFAULT, "rpc_backend") if value.is_empty() || value.ends_with("kombu") => {}
            (DEFAULT, "rpc_backend") if value == "rabbit" => {}
            (DEFAULT, "rpc_backend") => self.backend = Some(location.clone()),
            (RABBIT | DEFAULT, _) => {
                let rank = if section == DEFAULT { IN_DEFAULT } else { IN_SECTION };
                return self.setting((key, value), rank, location);
            }
            _ => return Taken::No,
        }
        Taken::Yes
    }

    fn setting(&mut self, (key, value): (&str, &str), rank: usize, location: &Location) -> Taken {
        let named = NAMES.iter().find_map(|(setting, names)| {
            Some((*setting, names.iter().position(|name| *name == key)?))
        });
        let Some((setting, earlier)) = named else {
            return if IMMATERIAL.contains(&key) { Taken::Immaterial } else { Taken::No };
        };
        let switches = [
            RabbitSetting::Tls,
            RabbitSetting::VerifyHostname,
            RabbitSetting::Durable,
            RabbitSetting::Quorum,
        ];
        let good = match setting {
            _ if value.is_empty() => true,
            setting if switches.contains(&setting) => is_switch(value),
            RabbitSetting::Port => value.parse::<u16>().is_ok(),
            RabbitSetting::Host | RabbitSetting::Hosts => !value.contains(['/', '?', '#', '@']),
            _ => true,
        };
        if !good {
            return Taken::No;
        }
        // Both send user and password, as this agent does.
        if setting == RabbitSetting::Login {
            return if matches!(value, "PLAIN" | "AMQPLAIN") { Taken::Yes } else { Taken::No };
        }
        if !value.is_empty() {
            let rank = if rank == IN_URL { rank } else { rank + earlier };
            let (value, location) = (value.to_owned(), location.clone());
            self.found.push(Found { setting, value, rank, location });
        }
        Taken::Yes
    }

    /// The location of the URL that is used, if it contains a password.
    pub(super) fn secret(&self) -> Option<&Location> {
        let (url, location) = self.url()?;
        url::has_password(url).then_some(location)
    }

    /// The URL for what is published: that of notifications, if there is one.
    fn url(&self) -> Option<&(String, Location)> {
        self.notifications.as_ref().or(self.transport.as_ref())
    }

    /// The settings as keys of `nephometer.yaml`. The second result are the options in the URL that
    /// are not supported.
    pub(super) fn keys(&mut self) -> (Vec<Key>, Vec<(Location, String)>) {
        let mut unread = Vec::new();
        let url = self.url().cloned().map(|(url, location)| {
            let (url, options) = url::without_options(&url, is_option);
            for (name, value) in options {
                if let Taken::No = self.setting((&name, &value), IN_URL, &location) {
                    let name = format!("{} of transport_url", url::option_name(&name));
                    unread.push((location.clone(), name));
                }
            }
            (url, location)
        });
        if let (None, Some(location)) = (&url, &self.backend) {
            unread.push((location.clone(), "[DEFAULT] rpc_backend".to_owned()));
        }
        let mut keys: Vec<Key> = self.address(url).into_iter().collect();
        keys.extend(self.tls());
        // Quorum queues are durable, too, so they win.
        let queues = [(RabbitSetting::Quorum, "quorum"), (RabbitSetting::Durable, "durable")];
        keys.extend(queues.into_iter().find_map(|(setting, name)| {
            let found = self.any(setting).filter(|found| is_true(&found.value))?;
            Some((QUEUES, vec![name.to_owned()], found.origin()))
        }));
        (keys, unread)
    }

    /// The location of the first option for a part of the address, if the URL has hosts, so that
    /// these options have no effect.
    pub(super) fn unused_address(&self) -> Option<&Location> {
        let (url, _) = self.url()?;
        let found = self.found.iter().find(|found| ADDRESS.contains(&found.setting))?;
        has_hosts(url).then_some(&found.location)
    }

    fn tls(&self) -> Vec<Key> {
        let keys: [(RabbitSetting, &'static [&'static str]); 4] = [
            (RabbitSetting::Ca, &["amqp", "tls", "ca"]),
            (RabbitSetting::Certificate, &["amqp", "tls", "certificate"]),
            (RabbitSetting::Key, &["amqp", "tls", "key"]),
            (RabbitSetting::VerifyHostname, &["amqp", "tls", "verify_hostname"]),
        ];
        let mut tls: Vec<Key> = Vec::new();
        if let Some(found) = self.any(RabbitSetting::Tls) {
            tls.push((TLS, vec![truth(found.value.clone())], found.origin()));
        }
        for (setting, path) in keys {
            if let Some(found) = self.first(setting) {
                let value = match setting {
                    RabbitSetting::VerifyHostname => truth(found.value.clone()),
                    _ => found.value.clone(),
                };
                tls.push((path, vec![value], found.origin()));
            }
        }
        tls
    }

    /// The value that counts.
    fn first(&self, setting: RabbitSetting) -> Option<&Found> {
        self.found.iter().filter(|found| found.setting == setting).min_by_key(|found| found.rank)
    }

    /// The value of a switch: that of the URL, else a true one. Releases know different names, and
    /// TLS that one of them asks for is never left out.
    fn any(&self, setting: RabbitSetting) -> Option<&Found> {
        let all = || self.found.iter().filter(move |found| found.setting == setting);
        let first = self.first(setting)?;
        if first.rank == IN_URL {
            return Some(first);
        }
        all().find(|found| is_true(&found.value)).or(Some(first))
    }

    /// `amqp.url`, with the hosts of the URL or of the options.
    fn address(&self, url: Option<(String, Location)>) -> Option<Key> {
        let Some((url, location)) = url else {
            let origin = self.found.iter().find(|found| is_address(found.setting))?.origin();
            return Some((URL, vec![self.built_of_parts(None)], origin));
        };
        if !url::is_sound(&url) {
            return Some((URL, vec![url], origin(&location)));
        }
        let address =
            if has_hosts(&url) { self.completed(&url) } else { self.built_of_parts(Some(&url)) };
        Some((URL, vec![address], origin(&location)))
    }

    /// The URL with the port of each host, and with the virtual host, that oslo.messaging adds.
    fn completed(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (hosts, rest) = rest.split_at(end);
        let hosts: Vec<String> = hosts
            .split(',')
            .filter(|host| !host.is_empty())
            .map(|host| with_port(host, PORT))
            .collect();
        let path = match rest.starts_with('/') {
            true => String::new(),
            false => self.virtual_host(),
        };
        format!("{scheme}://{}{path}{rest}", hosts.join(","))
    }

    /// A URL from the options of releases without a URL, and the path and query of a URL without
    /// hosts.
    fn built_of_parts(&self, url: Option<&str>) -> String {
        let text = |setting, default: &str| {
            self.first(setting).map_or_else(|| default.to_owned(), |found| found.value.clone())
        };
        let port = text(RabbitSetting::Port, PORT);
        let credentials = [(RabbitSetting::User, "guest"), (RabbitSetting::Password, "guest")]
            .map(|(setting, default)| url::encoded(&text(setting, default)));
        let hosts = text(RabbitSetting::Hosts, &text(RabbitSetting::Host, "localhost"));
        let hosts: Vec<String> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(|host| format!("{}@{}", credentials.join(":"), with_port(host, &port)))
            .collect();
        let rest = url.and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
        let rest = rest.find(['/', '?']).map_or("", |at| rest.split_at(at).1);
        let path = if rest.starts_with('/') { String::new() } else { self.virtual_host() };
        format!("rabbit://{}{path}{rest}", hosts.join(","))
    }

    /// `rabbit_virtual_host` as a path.
    fn virtual_host(&self) -> String {
        self.first(RabbitSetting::VirtualHost)
            .map_or_else(String::new, |found| format!("/{}", url::encoded(&found.value)))
    }
}

/// Whether an option of a URL is one of the driver, and not one of this agent's client.
fn is_option(name: &str) -> bool {
    name.starts_with("ssl")
        || IMMATERIAL.contains(&name)
        || NAMES.iter().any(|(_, names)| names.contains(&name))
}

fn is_address(setting: RabbitSetting) -> bool {
    ADDRESS.contains(&setting) || setting == RabbitSetting::VirtualHost
}

fn has_hosts(url: &str) -> bool {
    Parts::split(url).is_some_and(|parts| !parts.authority.trim_matches(',').is_empty())
}

fn with_port(host: &str, port: &str) -> String {
    let address = host.rsplit_once('@').map_or(host, |(_, address)| address);
    match address.rsplit_once(':') {
        Some((_, "")) => format!("{host}{port}"),
        Some((_, after)) if !after.contains(']') => host.to_owned(),
        _ => format!("{host}:{port}"),
    }
}

fn origin(location: &Location) -> String {
    format!("{}:{}", location.file, location.line)
}
