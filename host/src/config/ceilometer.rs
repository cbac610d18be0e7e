//! `ceilometer.conf`: a layer below `nephometer.yaml`. What has no effect here is told, not ignored.

use std::path::{Path, PathBuf};

use super::error::Report;
use super::oslo::{DEFAULT, OsloFile, OsloOption};

/// What the file sets.
#[derive(Default)]
pub(super) struct CeilometerConf {
    /// Keys of `nephometer.yaml` with their values and where these stand.
    pub(super) keys: Vec<(&'static [&'static str], String, String)>,
    /// `pipeline_cfg_file`, or a `pipeline.yaml` beside the file.
    pub(super) pipeline: Option<PathBuf>,
    /// `[polling] cfg_file`, or a `polling.yaml` beside the file.
    pub(super) polling: Option<PathBuf>,
}

const RABBIT: &str = "oslo_messaging_rabbit";
const QUEUES: &[&str] = &["amqp", "queues"];

/// Sections of other services of Ceilometer, and of libraries that this agent does without.
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

/// Of [DEFAULT]: how Ceilometer logs.
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

/// Options that ask Nova for more than libvirt knows, which this agent never does.
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
    /// Reads the file.
    pub(super) fn read(path: &Path, text: &str, report: &mut Report) -> Self {
        let file = OsloFile::read(&path.display().to_string(), text, report);
        let mut conf = Self::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut elsewhere: Vec<&str> = Vec::new();
        for option in file.options() {
            if ELSEWHERE.contains(&option.section.as_str()) {
                if !elsewhere.contains(&option.section.as_str()) {
                    elsewhere.push(&option.section);
                    let what = format!("the section [{}] has no effect here", option.section);
                    report.warn(&file.place(option), what, "nothing has to be done");
                }
                continue;
            }
            if let Some(value) = file.value(option, report) {
                conf.take((&file, option), value, folder, report);
            }
        }
        // A quorum queue is durable, and more.
        if conf.keys.iter().any(|(path, value, _)| *path == QUEUES && value == "quorum") {
            conf.keys.retain(|(path, value, _)| *path != QUEUES || value == "quorum");
        }
        let beside = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        conf.pipeline = conf.pipeline.or_else(|| beside("pipeline.yaml"));
        conf.polling = conf.polling.or_else(|| beside("polling.yaml"));
        conf
    }

    fn take(
        &mut self,
        (file, option): (&OsloFile, &OsloOption),
        value: String,
        folder: &Path,
        report: &mut Report,
    ) {
        let place = file.place(option);
        let mut set = |path: &'static [&'static str], value: String| {
            self.keys.push((path, value, format!("{}:{}", place.file, place.line)));
        };
        let mut warn = |what: String, remedy: &str| report.warn(&place, what, remedy);
        let name = format!("[{}] {}", option.section, option.key);
        match (option.section.as_str(), option.key.as_str()) {
            (DEFAULT, "host") => set(&["host"], value),
            (DEFAULT, "sample_source") => set(&["message", "sample_source"], value),
            (DEFAULT, "transport_url") => set(&["amqp", "url"], value),
            (RABBIT, "ssl") => set(&["amqp", "tls", "enabled"], truth(value)),
            (RABBIT, "ssl_ca_file") => set(&["amqp", "tls", "ca"], value),
            (RABBIT, "ssl_cert_file") => set(&["amqp", "tls", "certificate"], value),
            (RABBIT, "ssl_key_file") => set(&["amqp", "tls", "key"], value),
            (RABBIT, "rabbit_quorum_queue") if is_true(&value) => {
                set(QUEUES, "quorum".to_owned());
            }
            (RABBIT, "amqp_durable_queues") if is_true(&value) => {
                set(QUEUES, "durable".to_owned());
            }
            (RABBIT, "rabbit_quorum_queue" | "amqp_durable_queues") => {}
            ("publisher", "telemetry_secret") => set(&["message", "telemetry_secret"], value),
            ("polling", "batch_size") => set(&["polling", "batch_size"], value),
            ("compute", "report_stopped_instance_metrics") => {
                set(&["libvirt", "report_stopped_instance_metrics"], truth(value));
            }
            (DEFAULT | "libvirt" | "compute", "libvirt_uri") if value.is_empty() => {}
            (DEFAULT | "libvirt" | "compute", "libvirt_uri") => set(&["libvirt", "uri"], value),
            (DEFAULT | "libvirt" | "compute", "libvirt_type") => {
                // A URI says more.
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
            _ => without_effect(option, &name, &value, warn),
        }
    }
}

/// An option that sets nothing: as it should be, or told.
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
            return warn(format!("{name} has no effect here"), "nothing has to be done");
        }
        (_, key) if NOVA.contains(&key) => {
            return warn(
                format!("{name} has no effect here"),
                "nothing has to be done: this agent reads what libvirt knows, and never asks Nova",
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
        warn(format!("{name} has no effect here; it is as with {usual}"), "remove it");
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

/// Oslo's words for true and false.
fn truth(value: String) -> String {
    match value.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => "true".to_owned(),
        "false" | "0" | "no" | "off" => "false".to_owned(),
        _ => value,
    }
}
