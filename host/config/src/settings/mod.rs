//! The effective value of every key, and where it comes from.

mod values;

use serde_json::Value;

use super::error::{ConfigError, Report};
use super::inputs::{
    DEFAULT_CONFIG, DEFAULT_PIPELINE, DEFAULT_POLLING, Inputs, Origin, bytes, document, file,
};
use super::keys::{ConfigKey, HOST, KeyDefault, KeyTable, PIPELINE, POLLING_FILE, ValueShape};
use super::load::{load, load_host, polling_file, with_ceilometer};
use super::location::Location;
use super::overrides::{self, host_document};
use super::raw::{Document, Kind, json_of, token};
use super::spec::AgentSpec;
use nephometer_model::Release;

/// All settings of an agent.
#[derive(Debug, Clone)]
pub struct EffectiveSettings {
    /// The files that they come from.
    pub files: Vec<SettingsFile>,
    /// The settings in the order of the reference page.
    pub settings: Vec<Setting>,
    /// Whether the configuration as a whole is valid: `nephometer check` has the problems.
    pub is_valid: bool,
}

/// A file that settings come from.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    /// Its usual name, or `ceilometer.conf`.
    pub name: &'static str,
    /// Its path.
    pub path: String,
    /// Whether it exists. Optional files may be absent.
    pub exists: bool,
}

/// The effective value of one key.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The usual name of the file that the key belongs to.
    pub file: &'static str,
    /// The key in full: `libvirt.uri`, `sources[0].name`.
    pub key: String,
    /// The value; `***` in the place of secrets.
    pub value: Value,
    /// The default; `None` if there is none.
    pub default: Option<Value>,
    /// Whether value and default differ.
    pub is_changed: bool,
    /// Where the value comes from.
    pub origin: SettingOrigin,
    /// Why the value is not the one that was written.
    pub note: Option<&'static str>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// Nothing sets it.
    Default,
    /// A place in a file.
    File(Location),
    /// A line of `ceilometer.conf`: path and line.
    Ceilometer(String),
    /// A variable of the environment.
    Environment(String),
    /// An option of the command line.
    CommandLine(String),
    /// A file with a secret.
    SecretFile {
        /// Its path.
        path: String,
        /// What names it.
        named_by: Box<Self>,
    },
}

impl From<&Location> for SettingOrigin {
    fn from(location: &Location) -> Self {
        let place = location.file.to_string();
        match location.line {
            1.. => Self::File(location.clone()),
            0 if place.starts_with(overrides::PREFIX) => Self::Environment(place),
            0 if overrides::is_command_line(&place) => Self::CommandLine(place),
            0 => Self::Ceilometer(place),
        }
    }
}

/// Loads all settings. Errors in the pipeline do not prevent that.
///
/// # Errors
/// With all problems of `nephometer.yaml` and of what overrides it, if there are any.
pub fn settings(inputs: &Inputs) -> Result<EffectiveSettings, ConfigError> {
    let whole = load(inputs);
    let spec = load_host(inputs)?.spec;
    // `load_host` has reported the problems.
    let mut report = Report::default();
    let (inputs, ceilometer) = with_ceilometer(inputs, &mut report);
    let mut walk = Walk {
        file: "nephometer.yaml",
        // The same as `load` makes, where the pipeline limits it.
        deadline: whole.as_ref().ok().map(|loaded| loaded.spec.libvirt.deadline),
        spec: &spec,
        hostname: &inputs.hostname,
        routes_by_name: polling_file(&inputs),
        settings: Vec::new(),
    };
    if let Some(doc) = host_document(&inputs, &ceilometer, &mut report) {
        walk.table(&doc, "", "", &HOST);
    }
    let mut read = |name, table, origin: &Origin, installed| {
        let (path, bytes) = bytes(origin, installed, &mut report)?;
        let doc = document(&bytes, &path, &mut report)?;
        walk.file = name;
        walk.table(&doc, "", "", table);
        Some(())
    };
    if polling_file(&inputs) {
        read("polling.yaml", &POLLING_FILE, &inputs.polling, DEFAULT_POLLING);
    }
    read("pipeline.yaml", &PIPELINE, &inputs.pipeline, DEFAULT_PIPELINE);
    let settings = walk.settings;
    Ok(EffectiveSettings { files: files(&inputs), settings, is_valid: whole.is_ok() })
}

fn files(inputs: &Inputs) -> Vec<SettingsFile> {
    let polling = polling_file(inputs).then(|| file(&inputs.polling, DEFAULT_POLLING)).flatten();
    let named = [
        ("nephometer.yaml", file(&inputs.config, DEFAULT_CONFIG)),
        ("ceilometer.conf", inputs.ceilometer.clone()),
        ("polling.yaml", polling),
        ("pipeline.yaml", file(&inputs.pipeline, DEFAULT_PIPELINE)),
    ];
    let named = named.into_iter().filter_map(|(name, path)| Some((name, path?)));
    named
        .map(|(name, path)| SettingsFile {
            name,
            exists: path.exists(),
            path: path.display().to_string(),
        })
        .collect()
}

/// Collects the settings of all files.
struct Walk<'a> {
    /// The usual name of the file that is read.
    file: &'static str,
    /// `libvirt.deadline` as it is used; `None` if the pipeline is invalid.
    deadline: Option<std::time::Duration>,
    spec: &'a AgentSpec,
    /// The default of `host`.
    hostname: &'a str,
    /// The default of `routing`.
    routes_by_name: bool,
    settings: Vec<Setting>,
}

impl Walk<'_> {
    /// The keys of a mapping. `pointer` and `before` name it, the latter with its final dot.
    fn table(&mut self, doc: &Document, pointer: &str, before: &str, table: &'static KeyTable) {
        for key in table.keys {
            let is_file_form =
                key.name.strip_suffix("_file").is_some_and(|plain| table.key(plain).is_some());
            if is_file_form {
                continue;
            }
            let inner = format!("{pointer}/{}", key.name);
            let name = format!("{before}{}", key.name);
            match key.shape {
                // Without credentials nothing uses their defaults.
                ValueShape::Table(_)
                    if key.name == "service_credentials" && doc.fact(&inner).is_none() => {}
                ValueShape::Table(table) => {
                    self.table(doc, &inner, &format!("{name}."), table);
                }
                ValueShape::Tables(table, _) if doc.length(&inner) > 0 => {
                    for at in 0..doc.length(&inner) {
                        self.table(doc, &format!("{inner}/{at}"), &format!("{name}[{at}]."), table);
                    }
                }
                ValueShape::ByName(table) => {
                    for (one, _) in doc.keys(&inner) {
                        let inner = format!("{inner}/{}", token(one));
                        self.table(doc, &inner, &format!("{name}.{one}."), table);
                    }
                }
                _ => self.value(doc, &inner, name, key),
            }
        }
    }

    /// One value, if the key is set or has a default.
    fn value(&mut self, doc: &Document, pointer: &str, name: String, key: &'static ConfigKey) {
        let default = match key.default {
            KeyDefault::Value(text) => Some(json_of(text)),
            KeyDefault::Depends(_) => self.dependent(&name),
            KeyDefault::Required | KeyDefault::Nothing => None,
        };
        let is_set = |pointer: &str| doc.fact(pointer).filter(|fact| fact.kind != Kind::Null);
        let file_pointer = format!("{pointer}_file");
        let (value, origin) = if let Some(fact) = is_set(pointer) {
            let written = doc.json(pointer).unwrap_or_default();
            (values::normal(&key.shape, written), fact.location.into())
        } else if let (Some(fact), true) = (is_set(&file_pointer), key.secret) {
            let path = doc.text(&file_pointer).unwrap_or_default().to_owned();
            let named_by = Box::new(SettingOrigin::from(fact.location));
            (self.kept_in_file(&name), SettingOrigin::SecretFile { path, named_by })
        } else {
            match &default {
                Some(default) => (default.clone(), SettingOrigin::Default),
                None => return,
            }
        };
        let (value, note) = match self.deadline {
            Some(used) if name == "libvirt.deadline" && values::is_longer(&value, used) => {
                let used = Value::from(format!("{}s", used.as_secs_f64()));
                (used, Some("at most half the shortest interval is used"))
            }
            _ => (value, None),
        };
        let differs = |default: &Value| !values::same(&key.shape, &value, default);
        self.settings.push(Setting {
            file: self.file,
            is_changed: default.as_ref().is_none_or(differs),
            value: values::shown(key, &value),
            default: default.map(|default| values::shown(key, &default)),
            key: name,
            origin,
            note,
        });
    }

    /// The URL of the broker, whose nodes may be shown. All other secrets are hidden.
    fn kept_in_file(&self, name: &str) -> Value {
        match name {
            "amqp.url" => {
                let urls = self.spec.amqp.broker.urls.iter().map(|url| url.reveal().to_owned());
                Value::from(urls.collect::<Vec<_>>().join(","))
            }
            _ => Value::from(values::HIDDEN),
        }
    }

    /// A default that depends on other things; `None` if nothing uses the key.
    fn dependent(&self, name: &str) -> Option<Value> {
        let spec = self.spec;
        Some(match name {
            "host" => self.hostname.into(),
            "libvirt.events" => (spec.metering.release == Release::Current).into(),
            "discovery.identity_name_discovery" => {
                (spec.metering.release == Release::Current).into()
            }
            "message.signature" => values::signature(spec.metering.release).into(),
            "routing" if self.routes_by_name => "name".into(),
            "routing" => "source".into(),
            "store.path" => spec.store.path.display().to_string().into(),
            "cache.path" => spec.cache.display().to_string().into(),
            "control.socket" => spec.control.display().to_string().into(),
            _ => return None,
        })
    }
}
