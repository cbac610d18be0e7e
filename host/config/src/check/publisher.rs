//! Checks one publisher URL and its options.

use std::path::PathBuf;

use super::component_url;
use super::context::PipelineContext;
use super::units::parse_int;
use crate::broker::BrokerSpec;
use crate::error::{Report, nearest};
use crate::location::Location;
use crate::options::{self, OptionTable};
use crate::spec::{
    FileSpec, NotificationForm, NotifierSpec, Policy, PublisherSpec, PublisherTarget, Rotation,
    SocketSpec,
};
use crate::url::{Fault, Parts, brokers, check_length, label, option_name, ssl};
use nephometer_model::Bound;
use nephometer_model::Secret;

/// Publishers of some Ceilometer releases that this agent does not have. A component with such a
/// name is accepted.
const ELSEWHERE: &[&str] = &[
    "database",
    "direct",
    "file_alt",
    "gnocchi",
    "http_alt",
    "kafka",
    "meter",
    "meter_publisher",
    "monasca",
    "panko",
    "rpc",
    "zaqar",
];

/// The schemes of native publishers, suggested for similar unknown schemes.
const NATIVE: [&str; 5] = ["notifier", "file", "udp", "tcp", "test"];

/// The port of Ceilometer's collector.
const PORT: u16 = 4952;

/// The default of Ceilometer's `[publisher_notifier] metering_topic`.
const TOPIC: &str = "metering";

/// The default of Ceilometer.
const MAX_QUEUE_LENGTH: usize = 1024;

/// Values of `driver` that mean AMQP 0-9-1.
const DRIVERS: &[&str] = &["rabbit", "kombu", "messaging", "messagingv2"];

/// Checks the URL at `location`. `None` with a problem, or with a warning if the sink works without
/// this publisher.
pub(super) fn check(
    text: &str,
    location: &Location,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<PublisherSpec> {
    // The legacy form is a scheme alone.
    let url = if text.contains("://") { text.to_owned() } else { format!("{text}://") };
    if let Err((what, remedy)) = check_length(&url) {
        report.fault(location, what, remedy);
        return None;
    }
    let label = label(&url);
    let parts = Parts::split(&url)?;
    let mut publisher = Publisher { location, label: &label, report };
    let target = match parts.scheme {
        "notifier" => publisher.notifier(&parts, &context.broker),
        "file" => publisher.file(&parts).map(PublisherTarget::File),
        "udp" => publisher.socket(&parts).map(PublisherTarget::Udp),
        "tcp" => publisher.socket(&parts).map(PublisherTarget::Tcp),
        "test" => {
            parts.check_authority().map_or_else(|fault| publisher.fault(fault), Some)?;
            publisher.check_options(&parts.options(), &options::TEST);
            Some(PublisherTarget::Test)
        }
        scheme if component_url::is_name(scheme) && context.has_component(scheme) => {
            publisher.component(&parts)
        }
        scheme if ELSEWHERE.contains(&scheme) => {
            let what = format!("the publisher {label} is not in this version and is skipped");
            report.warn(location, what, remedy(scheme));
            None
        }
        scheme if component_url::is_name(scheme) && nearest(scheme, NATIVE).is_none() => {
            publisher.component(&parts)
        }
        scheme => {
            let remedy = match nearest(scheme, NATIVE) {
                Some(meant) => format!("did you mean {meant}://?"),
                None => {
                    "use notifier://, file://, udp://, tcp:// or NAME:// for the component NAME"
                        .to_owned()
                }
            };
            report.fault(location, format!("unknown publisher {label}"), remedy);
            None
        }
    };
    let location = location.clone();
    Some(PublisherSpec { url: Secret::new(url), label: label.into(), location, target: target? })
}

/// The closest equivalent in this agent.
fn remedy(scheme: &str) -> &'static str {
    match scheme {
        "gnocchi" => {
            "use notifier://, whose messages ceilometer-agent-notification can take to Gnocchi, or \
             put a component gnocchi.wasm on components.path"
        }
        "database" | "direct" | "meter" | "meter_publisher" | "rpc" => "use notifier://",
        "panko" => "remove it: it stored events, which this agent does not make",
        "file_alt" => "use file://",
        "http_alt" => "use http://",
        _ => "use notifier:// or http://, or a component of that name on components.path",
    }
}

struct Publisher<'a> {
    location: &'a Location,
    label: &'a str,
    report: &'a mut Report,
}

impl Publisher<'_> {
    fn fault<T>(&mut self, (what, remedy): Fault) -> Option<T> {
        self.report.fault(self.location, format!("{}: {what}", self.label), remedy);
        None
    }

    fn warn(&mut self, what: &str, remedy: impl Into<String>) {
        self.report.warn(self.location, format!("{}: {what}", self.label), remedy);
    }

    fn check_options(&mut self, options: &[(String, String)], table: &OptionTable) {
        let known = table.names();
        for (key, _) in options {
            if !known.contains(&key.as_str()) {
                let remedy = match nearest(key, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if known.is_empty() => "remove it, there are no options here".to_owned(),
                    None => format!("the options here are {}", known.join(", ")),
                };
                let name = option_name(key);
                self.warn(&format!("the option {name} is unknown and ignored"), remedy);
            }
        }
    }

    /// The last value of an option, as a Python `int`. `Some(None)` if it is not given.
    fn number(&mut self, options: &[(String, String)], key: &str) -> Option<Option<i64>> {
        let Some((_, text)) = options.iter().rfind(|(name, _)| name == key) else {
            return Some(None);
        };
        match parse_int(text) {
            Some(value) => Some(Some(value)),
            None => self.fault((
                format!("the option {key:?} is not a whole number"),
                format!("write {key}=NUMBER"),
            )),
        }
    }

    fn notifier(&mut self, parts: &Parts<'_>, default: &BrokerSpec) -> Option<PublisherTarget> {
        parts.check_authority().map_or_else(|fault| self.fault(fault), Some)?;
        let options = parts.options();
        let driver = options.iter().find(|(key, _)| key == "driver");
        if let Some((_, driver)) = driver.filter(|(_, name)| !DRIVERS.contains(&name.as_str())) {
            let what =
                format!("the driver {driver:?} is not in this version, the publisher is skipped");
            self.warn(&what, "use driver=rabbit or leave it out");
            return None;
        }
        // The option of the URL wins; without it, `amqp.tls.enabled` applies to all brokers.
        let tls = options.iter().find(|(key, _)| key == "ssl");
        let tls = tls.map_or(Ok(default.tls.enabled), |(_, value)| ssl(value));
        let tls = tls.map_or_else(|fault| self.fault(fault), Some)?;
        self.check_options(&options, &options::NOTIFIER);
        let per_meter_topic = self.number(&options, "per_meter_topic");
        let max_queue_length = self.number(&options, "max_queue_length");
        let max_retry = self.number(&options, "max_retry");
        let provable = self.number(&options, "provable");
        let broker = if parts.authority.is_empty() {
            Some(default.clone())
        } else {
            let urls = brokers(parts, tls).map_or_else(|fault| self.fault(fault), Some);
            urls.map(|urls| BrokerSpec { urls, ..default.clone() })
        };
        let topics = self.topics(&options);
        let policy = self.policy(&options);
        max_retry?;
        Some(PublisherTarget::Notifier(NotifierSpec {
            form: NotificationForm::Metering,
            provable: provable?.is_none_or(|value| value != 0),
            broker: broker?,
            topics,
            per_meter_topic: per_meter_topic?.is_some_and(|value| value != 0),
            policy,
            max_queue_length: match max_queue_length? {
                None => Some(MAX_QUEUE_LENGTH),
                Some(length) => usize::try_from(length).ok().filter(|length| *length > 0),
            },
        }))
    }

    fn component(&mut self, parts: &Parts<'_>) -> Option<PublisherTarget> {
        match parts.check_components_authority().and_then(|()| component_url::read(parts)) {
            Ok(url) => Some(PublisherTarget::Component(url)),
            Err(fault) => self.fault(fault),
        }
    }

    fn socket(&mut self, parts: &Parts<'_>) -> Option<SocketSpec> {
        let right =
            format!("write {}://HOST:PORT, with an IPv6 address in square brackets", parts.scheme);
        parts.check_authority().map_or_else(|fault| self.fault(fault), Some)?;
        if parts.authority.contains('@') {
            return self
                .fault(("it has a user name, which this protocol does not use".to_owned(), right));
        }
        let (host, port) = match component_url::split(parts.authority) {
            Ok((Some(host), port)) => (host, port.unwrap_or(PORT)),
            Ok((None, _)) => return self.fault(("it has no host".to_owned(), right)),
            Err((what, _)) => return self.fault((what, right)),
        };
        if !matches!(parts.path, "" | "/") {
            self.warn("its path is ignored", "remove it");
        }
        self.check_options(&parts.options(), &options::TCP);
        Some(SocketSpec { host, port })
    }

    fn topics(&mut self, options: &[(String, String)]) -> Vec<String> {
        let mut topics: Vec<String> = Vec::new();
        // An empty value counts as not given, as in Python's `parse_qs`.
        for (_, topic) in options.iter().filter(|(key, value)| key == "topic" && !value.is_empty())
        {
            if topics.contains(topic) {
                self.warn(&format!("duplicate topic {topic:?}"), "remove one of them");
            } else {
                topics.push(topic.clone());
            }
        }
        if topics.is_empty() {
            topics.push(TOPIC.to_owned());
        }
        topics
    }

    fn policy(&mut self, options: &[(String, String)]) -> Policy {
        match options.iter().rfind(|(key, _)| key == "policy").map(|(_, value)| value.as_str()) {
            None | Some("default") => Policy::Default,
            Some("queue") => Policy::Queue,
            Some("drop") => Policy::Drop,
            Some(other) => {
                let what = format!("the policy {other:?} is unknown, `default` is used");
                let meant = nearest(other, ["default", "queue", "drop"]);
                let remedy = match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "use default, queue or drop".to_owned(),
                };
                self.warn(&what, remedy);
                Policy::Default
            }
        }
    }

    fn file(&mut self, parts: &Parts<'_>) -> Option<FileSpec> {
        const RIGHT: &str = "write file:///FOLDER/FILE with three slashes";
        if !parts.authority.is_empty() {
            let what = "the path is not absolute";
            return self.fault((what.to_owned(), RIGHT.to_owned()));
        }
        if parts.path.is_empty() || parts.path.ends_with('/') {
            return self.fault(("the path of the file is missing".to_owned(), RIGHT.to_owned()));
        }
        let options = parts.options();
        self.check_options(&options, &options::FILE);
        let max_bytes = self.rotation(&options, "max_bytes", u64::try_from);
        let backup_count = self.rotation(&options, "backup_count", u32::try_from);
        let kept = backup_count.flatten().unwrap_or_default() as usize;
        if let Err(over) = Bound::Backups.check(kept) {
            let (what, remedy) = (over.to_string(), Bound::Backups.row().remedy);
            let what = what.strip_suffix(remedy).unwrap_or(&what).trim_end_matches("; ");
            return self.fault((what.to_owned(), remedy.to_owned()));
        }
        let rotation = match (max_bytes?, backup_count?) {
            (None, None) => None,
            (Some(max_bytes), Some(backup_count)) => Some(Rotation { max_bytes, backup_count }),
            _ => {
                self.warn(
                    "the file is never rotated",
                    "give both max_bytes and backup_count, or neither",
                );
                None
            }
        };
        let has = |name: &str| options.iter().any(|(key, _)| key == name);
        let (json, provable) = (has("json"), has("provable"));
        Some(FileSpec { path: PathBuf::from(parts.path), rotation, json, provable })
    }

    fn rotation<N, E>(
        &mut self,
        options: &[(String, String)],
        key: &str,
        fit: impl Fn(i64) -> Result<N, E>,
    ) -> Option<Option<N>> {
        match self.number(options, key)? {
            None => Some(None),
            Some(value) => match fit(value) {
                Ok(value) => Some(Some(value)),
                Err(_) => self.fault((
                    format!("the option {key:?} is out of range"),
                    "write a number that is not negative".to_owned(),
                )),
            },
        }
    }
}
