//! Reads `ceilometer.conf`, a layer below `nephometer.yaml`. Options without effect are reported,
//! not ignored. Options that may concern the broker's address or protocol are errors unless they
//! are supported.

use std::path::{Path, PathBuf};

use super::caution::is_secret;
use super::error::Report;
use super::exporter;
use super::location::Location;
use super::oslo::{DEFAULT, Key, OsloFile, OsloOption, truth};
use super::url;

/// The settings of the file.
#[derive(Default)]
pub(super) struct CeilometerConf {
    /// Keys of `nephometer.yaml` with their values and origins. The first entry of a key wins.
    pub(super) keys: Vec<Key>,
    /// `pipeline_cfg_file`, or a `pipeline.yaml` in the same folder.
    pub(super) pipeline: Option<PathBuf>,
    /// `[polling] cfg_file`, or a `polling.yaml` in the same folder.
    pub(super) polling: Option<PathBuf>,
    /// Unsupported options that concern the broker: location and name.
    unread: Vec<(Location, String)>,
    /// The location of the first option that contains a secret.
    pub(super) secret: Option<Location>,
}

const RABBIT: &str = "oslo_messaging_rabbit";
const QUEUES: &[&str] = &["amqp", "queues"];
const TLS: &[&str] = &["amqp", "tls", "enabled"];
const CA: &[&str] = &["amqp", "tls", "ca"];
const CERTIFICATE: &[&str] = &["amqp", "tls", "certificate"];
const KEY: &[&str] = &["amqp", "tls", "key"];

/// Substrings in the names of options about the broker.
const BROKER: [&str; 4] = ["ssl", "tls", "rabbit_", "transport_url"];

/// Options with such names that concern neither the broker's address nor its protocol: when
/// oslo.messaging reconnects, how many messages a consumer prefetches, and queues for remote calls
/// and replies, of which this agent has none. The agent uses TLS 1.2 or 1.3, whatever version is
/// set.
const IMMATERIAL: [&str; 14] = [
    "kombu_ssl_version",
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
    "ssl_version",
];

/// Sections of other Ceilometer services, and of libraries that this agent does not use.
const ELSEWHERE: [&str; 11] = [
    "alarm",
    "api",
    "collector",
    "coordination",
    "database",
    "event",
    "keystone_authtoken",
    "notification",
    "oslo_concurrency",
    "service_credentials",
    "service_types",
];

/// Options of [DEFAULT] for Ceilometer's logs.
const LOGGING: [&str; 10] = [
    "debug",
    "default_log_levels",
    "log_config_append",
    "log_dir",
    "log_file",
    "logging_context_format_string",
    "logging_default_format_string",
    "use_stderr",
    "use_syslog",
    "verbose",
];

/// Options for data from Nova's API, which this agent never calls.
const NOVA: [&str; 7] = [
    "fetch_extra_metadata",
    "reserved_metadata_keys",
    "reserved_metadata_length",
    "reserved_metadata_namespace",
    "resource_cache_expiry",
    "resource_update_interval",
    "workload_partitioning",
];

impl CeilometerConf {
    /// Parses the text of the file.
    pub(super) fn read(path: &Path, text: &str, report: &mut Report) -> Self {
        let file = OsloFile::read(&path.display().to_string(), text, report);
        let mut conf = Self::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut elsewhere: Vec<&str> = Vec::new();
        for option in file.options() {
            if is_secret(&option.key) && !option.is_empty() && conf.secret.is_none() {
                conf.secret = Some(file.location(option));
            }
            if ELSEWHERE.contains(&option.section.as_str()) && !concerns_broker(&option.key) {
                if !elsewhere.contains(&option.section.as_str()) {
                    elsewhere.push(&option.section);
                    let what = format!("the section [{}] has no effect here", option.section);
                    report.warn(&file.location(option), what, "no action needed");
                }
                continue;
            }
            if let Some(value) = file.value(option, report) {
                conf.take((&file, option), value, folder, report);
            }
        }
        conf.keys.extend(exporter::keys(&file, report));
        // Quorum queues are durable, too, so they win. TLS is used if any option enables it.
        for (key, wins) in [(QUEUES, "quorum"), (TLS, "true")] {
            if conf.keys.iter().any(|(path, value, _)| *path == key && value == wins) {
                conf.keys.retain(|(path, value, _)| *path != key || value == wins);
            }
        }
        // The options of the URL override those of the section, as with oslo.messaging.
        conf.keys.sort_by_key(|(_, _, origin)| !origin.ends_with(IN_URL));
        let beside = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        conf.pipeline = conf.pipeline.or_else(|| beside("pipeline.yaml"));
        conf.polling = conf.polling.or_else(|| beside("polling.yaml"));
        conf
    }

    /// Reports unsupported options about the broker. They are errors unless `nephometer.yaml` or
    /// the environment names the broker: an option without effect must not lead to a connection
    /// without TLS, or to another broker.
    pub(super) fn unread(&self, broker_is_named: bool, report: &mut Report) {
        for (location, name) in &self.unread {
            if broker_is_named {
                let what = format!("{name} has no effect: amqp.url is set and counts alone");
                report.warn(location, what, "no action needed");
            } else {
                report.fault(
                    location,
                    format!("{name} is not read, and may change how the broker is reached"),
                    "set amqp.url in nephometer.yaml, with amqps:// and amqp.tls for TLS; this \
                     option then has no effect",
                );
            }
        }
    }

    fn take(
        &mut self,
        (file, option): (&OsloFile, &OsloOption),
        value: String,
        folder: &Path,
        report: &mut Report,
    ) {
        let location = file.location(option);
        let mut set = |path: &'static [&'static str], value: String| {
            self.keys.push((path, value, format!("{}:{}", location.file, location.line)));
        };
        let mut warn = |what: String, remedy: &str| report.warn(&location, what, remedy);
        let name = option.name();
        match (option.section.as_str(), option.key.as_str()) {
            (DEFAULT, "host") => set(&["host"], value),
            (DEFAULT, "sample_source") => set(&["message", "sample_source"], value),
            (DEFAULT, "transport_url") => self.transport_url(&location, &value),
            // Empty TLS options count as not set.
            (RABBIT | DEFAULT, key) if tls(key).is_some() && value.is_empty() => {}
            (RABBIT, "ssl" | "ssl_ca_file" | "ssl_cert_file" | "ssl_key_file")
            // The names up to Ceilometer 7, which later releases still accept.
            | (
                RABBIT | DEFAULT,
                "rabbit_use_ssl" | "kombu_ssl_ca_certs" | "kombu_ssl_certfile"
                | "kombu_ssl_keyfile",
            ) => {
                let path = tls(&option.key).unwrap_or(TLS);
                set(path, if path == TLS { truth(value) } else { value });
            }
            (RABBIT, "rabbit_quorum_queue") if is_true(&value) => {
                set(QUEUES, "quorum".to_owned());
            }
            (RABBIT, "amqp_durable_queues") if is_true(&value) => {
                set(QUEUES, "durable".to_owned());
            }
            (RABBIT, "rabbit_quorum_queue" | "amqp_durable_queues") => {}
            ("publisher", "telemetry_secret")
            // Name and sections up to Ceilometer 5.
            | ("publisher" | "publisher_rpc" | DEFAULT, "metering_secret") => {
                set(&["message", "telemetry_secret"], value);
            }
            ("polling", key) if exporter::OPTIONS.contains(&key) => {}
            // Ceilometer's polling agent then only serves its exporter.
            ("polling", "enable_notifications") if truth(value.clone()) == "false" => {
                set(&["mode"], "polling".to_owned());
                set(&["polling", "notifications"], "false".to_owned());
            }
            ("polling", "batch_size") => set(&["polling", "batch_size"], value),
            ("compute", "report_stopped_instance_metrics") => {
                set(&["libvirt", "report_stopped_instance_metrics"], truth(value));
            }
            (DEFAULT | "libvirt" | "compute", "libvirt_uri") if value.is_empty() => {}
            (DEFAULT | "libvirt" | "compute", "libvirt_uri") => set(&["libvirt", "uri"], value),
            (DEFAULT | "libvirt" | "compute", "libvirt_type") => {
                // A URI is more specific.
                let uri = file.options().any(|one| one.key == "libvirt_uri" && !one.is_empty());
                match uri_of(&value) {
                    Some(_) if uri => {}
                    Some(uri) => set(&["libvirt", "uri"], uri.to_owned()),
                    None => {
                        warn(format!("{name} is {value:?}, which is not known"), "set libvirt.uri");
                    }
                }
            }
            (DEFAULT, "pipeline_cfg_file") => self.pipeline = Some(folder.join(value)),
            ("polling", "cfg_file") => self.polling = Some(folder.join(value)),
            (RABBIT | DEFAULT, key) if IMMATERIAL.contains(&key) => {
                warn(format!("{name} has no effect here"), "no action needed");
            }
            (_, key) if concerns_broker(key) => self.unread.push((location, name)),
            _ => without_effect(option, &name, &value, warn),
        }
    }

    fn transport_url(&mut self, location: &Location, value: &str) {
        let (url, options) = url::without_tls_options(value);
        if url::has_password(&url) {
            self.secret.get_or_insert_with(|| location.clone());
        }
        let origin = format!("{}:{}", location.file, location.line);
        self.keys.push((&["amqp", "url"], url, origin.clone()));
        for (name, value) in options {
            let origin = format!("{origin}{IN_URL}");
            match tls(&name) {
                Some(path) if path == TLS => self.keys.push((path, truth(value), origin)),
                Some(path) => self.keys.push((path, value, origin)),
                None if IMMATERIAL.contains(&name.as_str()) => {}
                None => {
                    let name = url::option_name(&name);
                    self.unread.push((location.clone(), format!("{name} of transport_url")));
                }
            }
        }
    }
}

/// The suffix of origins in the query of `transport_url`.
const IN_URL: &str = ", transport_url";

/// The key that a TLS option of oslo.messaging sets.
fn tls(option: &str) -> Option<&'static [&'static str]> {
    Some(match option {
        "ssl" | "rabbit_use_ssl" => TLS,
        "ssl_ca_file" | "kombu_ssl_ca_certs" => CA,
        "ssl_cert_file" | "kombu_ssl_certfile" => CERTIFICATE,
        "ssl_key_file" | "kombu_ssl_keyfile" => KEY,
        _ => return None,
    })
}

/// Whether an option may concern the broker's address or protocol.
fn concerns_broker(key: &str) -> bool {
    let key = key.to_lowercase();
    BROKER.iter().any(|part| key.contains(part))
}

/// Warns about an option without effect, unless its value matches what this agent does.
fn without_effect(
    option: &OsloOption,
    name: &str,
    value: &str,
    mut warn: impl FnMut(String, &str),
) {
    let usual = match (option.section.as_str(), option.key.as_str()) {
        (DEFAULT, key) if LOGGING.contains(&key) => return,
        (DEFAULT, "hypervisor_inspector") => "libvirt",
        ("publisher_notifier", "telemetry_driver") => "messagingv2",
        ("compute", "instance_discovery_method") => "libvirt_metadata",
        ("polling", "enable_notifications") => "true",
        ("publisher_notifier", "metering_topic") if value == "metering" => return,
        ("publisher_notifier", "metering_topic") => {
            return warn(
                format!("{name} has no effect here"),
                "write notifier://?topic=TOPIC in pipeline.yaml",
            );
        }
        (RABBIT, _) => {
            return warn(format!("{name} has no effect here"), "no action needed");
        }
        (_, key) if NOVA.contains(&key) => {
            return warn(
                format!("{name} has no effect here"),
                "no action needed: this agent reads what libvirt knows, and never asks Nova",
            );
        }
        _ => {
            return warn(
                format!("{name} is not understood and has no effect"),
                "see whether nephometer.yaml has a key for it",
            );
        }
    };
    if !value.eq_ignore_ascii_case(usual) {
        warn(format!("{name} has no effect here; this agent behaves as with {usual}"), "remove it");
    }
}

fn uri_of(libvirt_type: &str) -> Option<&'static str> {
    Some(match libvirt_type {
        "kvm" | "qemu" => "qemu:///system",
        "lxc" => "lxc:///",
        "parallels" => "parallels:///system",
        "uml" => "uml:///system",
        "xen" => "xen:///",
        _ => return None,
    })
}

fn is_true(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "true" | "1" | "yes" | "on")
}
