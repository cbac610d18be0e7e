//! Reads `ceilometer.conf`, a layer below `nephometer.yaml`. Options without effect are reported,
//! not ignored. Options that may concern the broker's address or protocol are errors unless they
//! are supported, or belong to another service of Ceilometer.

use std::path::{Path, PathBuf};

use super::caution::is_secret;
use super::error::Report;
use super::exporter;
use super::location::Location;
use super::nova_options;
use super::oslo::{DEFAULT, OsloFile, OsloOption, truth};
use super::rabbit::{Key, Rabbit, Taken};
use super::without_effect::{is_misplaced, is_section, without_effect};

/// The settings of the file.
#[derive(Default)]
pub(super) struct CeilometerConf {
    /// Keys of `nephometer.yaml` with their values and origins. The first entry of a key wins.
    pub(super) keys: Vec<Key>,
    /// `pipeline_cfg_file`, or a `pipeline.yaml` in the same folder.
    pub(super) pipeline: Option<PathBuf>,
    /// `[polling] cfg_file`, or a `polling.yaml` in the same folder.
    pub(super) polling: Option<PathBuf>,
    /// The options about the broker, until they are keys.
    rabbit: Rabbit,
    /// Unsupported options that concern the broker: location and name.
    unread: Vec<(Location, String)>,
    /// The location of the first option that contains a secret.
    pub(super) secret: Option<Location>,
    /// The files in the folder beside the file.
    pub(super) more: Vec<PathBuf>,
}

/// Substrings in the names of options about the broker.
const BROKER: [&str; 4] = ["ssl", "tls", "rabbit_", "transport_url"];

impl CeilometerConf {
    /// Parses the text of the file, and of `FILE.d/*.conf`: oslo.config reads this folder by default.
    pub(super) fn read(path: &Path, text: &str, report: &mut Report) -> Self {
        let mut file = OsloFile::read(&path.display().to_string(), text, report);
        let mut conf = Self { more: files_beside(path), ..Self::default() };
        for path in &conf.more {
            add_file(&mut file, path, report);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut elsewhere: Vec<&str> = Vec::new();
        for option in file.options() {
            if is_secret(&option.key) && !option.is_empty() && conf.secret.is_none() {
                conf.secret = Some(file.location(option));
            }
            if is_section(&option.section) && !names_broker(&option.key) {
                if !elsewhere.contains(&option.section.as_str()) {
                    elsewhere.push(&option.section);
                    let what = format!("the section [{}] has no effect here", option.section);
                    report.warn(&file.location(option), what, "no action needed");
                }
                continue;
            }
            if nova_options::handles(option) {
                continue;
            }
            if let Some(value) = file.value(option, report) {
                conf.take((&file, option), value, folder, report);
            }
        }
        conf.keys.extend(exporter::keys(&file, report));
        conf.keys.extend(nova_options::read(&file, report));
        if let Some(location) = conf.rabbit.unused_address() {
            let what = "rabbit_host and its like have no effect: transport_url names the broker";
            report.warn(location, what, "no action needed");
        }
        let (keys, unread) = conf.rabbit.keys();
        conf.keys.extend(keys);
        conf.unread.extend(unread);
        if conf.secret.is_none() {
            conf.secret = conf.rabbit.secret().cloned();
        }
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
        match self.rabbit.take((&option.section, &option.key), &value, &location) {
            Taken::Yes => return,
            Taken::Immaterial => {
                let what = format!("{} has no effect here", option.name());
                return report.warn(&location, what, "no action needed");
            }
            Taken::No => {}
        }
        let mut set = |path: &'static [&'static str], value: String| {
            let origin = format!("{}:{}", location.file, location.line);
            self.keys.push((path, vec![value], origin));
        };
        let mut warn = |what: String, remedy: &str| report.warn(&location, what, remedy);
        let name = option.name();
        match (option.section.as_str(), option.key.as_str()) {
            (DEFAULT, "host") => set(&["host"], value),
            (DEFAULT, "sample_source") => set(&["message", "sample_source"], value),
            (DEFAULT, "control_exchange") => set(&["amqp", "exchange"], value),
            ("oslo_messaging_notifications", "topics") | (DEFAULT, "notification_topics") => {
                let topics = value.split(',').map(str::trim).filter(|topic| !topic.is_empty());
                let origin = format!("{}:{}", location.file, location.line);
                self.keys.push((&["polling", "topics"], topics.map(str::to_owned).collect(), origin));
            }
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
            (_, key) if concerns_broker(key) && !is_misplaced(option) => self.unread.push((location, name)),
            _ => {
                if let Some((what, remedy)) = without_effect(option, &value) {
                    warn(what, &remedy);
                }
            }
        }
    }
}

/// Adds the options of another file.
fn add_file(file: &mut OsloFile, path: &Path, report: &mut Report) {
    let name = path.display().to_string();
    match nephometer_files::read(path) {
        Ok(bytes) => file.add(&name, &String::from_utf8_lossy(&bytes), report),
        Err(error) => {
            let location = Location { file: name.into(), line: 0, column: 0 };
            let what = format!("the file cannot be read: {error}");
            report.fault(&location, what, "let this agent's user read it, or remove it");
        }
    }
}

/// The files in `FILE.d`, in the order of oslo.config.
fn files_beside(path: &Path) -> Vec<PathBuf> {
    let mut folder = path.as_os_str().to_owned();
    folder.push(".d");
    // It hardly ever exists.
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|found| found == "conf")).collect();
    files.sort();
    files
}

/// Whether an option of another service's section names a broker, which a site may take for ours.
fn names_broker(key: &str) -> bool {
    let key = key.to_lowercase();
    key == "transport_url" || key.starts_with("rabbit_")
}

/// Whether an option may concern the broker's address or protocol.
fn concerns_broker(key: &str) -> bool {
    let key = key.to_lowercase();
    BROKER.iter().any(|part| key.contains(part))
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
