//! The keys of all configuration files, in one table.
//!
//! The checks take the names of known keys from here, [`schema()`] makes the JSON Schemas of it,
//! [`settings`](fn@crate::settings) the list of effective values, and `docs/reference/options.md` prints it.

mod collector;
mod component;
mod host;
mod openstack;
mod pipeline;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use collector::{
    API, AUDIT, BROKER, CLASS, CLICKHOUSE, COLLECTOR, COMMIT, KEEP, SECRET,
};
pub(crate) use component::{COMPONENT, GRANTS, GUARD, LIMITS};
pub(crate) use host::{
    AMQP, AMQP_TLS, CACHE, CODE_KEY, COMPONENTS, CONTROL, HOST, LIBVIRT, LISTEN_TLS, MESSAGE,
    POLLING, PROMETHEUS, REGISTRY, SIGNATURES, STORE, TELEMETRY, TOTALS,
};
pub(crate) use openstack::{CREDENTIALS, DISCOVERY};
pub(crate) use pipeline::{PIPELINE, POLLING_FILE, SINK, SOURCE, TRANSFORMER};
pub use schema::schema;

/// One configuration file.
#[derive(Debug, Clone, Copy)]
pub struct ConfigFile {
    /// Its usual name.
    pub name: &'static str,
    /// The keys at its top.
    pub keys: &'static KeyTable,
}

/// All configuration files, in the order of the reference page.
pub const FILES: [ConfigFile; 4] = [
    ConfigFile { name: "nephometer.yaml", keys: &HOST },
    ConfigFile { name: "pipeline.yaml", keys: &PIPELINE },
    ConfigFile { name: "polling.yaml", keys: &POLLING_FILE },
    ConfigFile { name: "collector.yaml", keys: &COLLECTOR },
];

/// The keys of one mapping.
#[derive(Debug)]
pub struct KeyTable {
    /// What the mapping is.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [ConfigKey],
    /// Keys of which at least one is required, in groups.
    pub one_of: &'static [&'static [&'static str]],
    /// Whether other keys are errors; otherwise they are ignored, as by Ceilometer, with a warning.
    pub closed: bool,
}

/// One key.
#[derive(Debug)]
pub struct ConfigKey {
    /// The name as written.
    pub name: &'static str,
    /// The accepted values.
    pub shape: ValueShape,
    /// What applies if the key is left out.
    pub default: KeyDefault,
    /// The effect.
    pub effect: &'static str,
    /// Whether the value is or may hold a secret.
    pub secret: bool,
}

/// What applies if a key is left out.
#[derive(Debug, Clone, Copy)]
pub enum KeyDefault {
    /// The file is refused.
    Required,
    /// Nothing.
    Nothing,
    /// This value, as YAML.
    Value(&'static str),
    /// A value that depends on other things, in words.
    Depends(&'static str),
}

/// The accepted values of a key.
#[derive(Debug, Clone, Copy)]
pub enum ValueShape {
    /// Text that is not empty.
    Text,
    /// Text that may be empty.
    AnyText,
    /// A URL. Its user and its password are never shown.
    Url,
    /// The path of a file or a folder.
    Path,
    /// Text, a number or a boolean, as Python's `str` prints it.
    Name,
    /// True or false.
    Truth,
    /// A whole number of this range.
    Whole(i64, i64),
    /// Whole seconds above zero.
    Interval,
    /// A time above zero with its unit; without a unit in seconds.
    Time,
    /// The same, or `forever`.
    TimeOrForever,
    /// A size of at least this many bytes and at most that many; without a unit in bytes.
    Size(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An address and a port, or `off`.
    Address,
    /// A list of texts.
    Texts(TextList),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of names that is not empty.
    Names,
    /// A list of scalars, or what Python takes for false.
    Scalars,
    /// A list of meters that is not empty, or the text `*`.
    Meters,
    /// Anything: it has no effect.
    Anything,
    /// A list of URLs of publishers that is not empty.
    Publishers,
    /// A mapping with the keys of a table.
    Table(&'static KeyTable),
    /// A list of such mappings.
    Tables(&'static KeyTable, ListForm),
    /// A mapping from names to such mappings.
    ByName(&'static KeyTable),
    /// Any mapping, or what Python takes for false, if the file is read by Ceilometer, too.
    Options(ListForm),
}

/// The forms of a list of texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextList {
    /// The character between the texts, if they may be written as one text.
    pub separator: Option<char>,
    /// The least number of texts.
    pub least: usize,
    /// Whether a text may be empty.
    pub may_be_empty: bool,
}

/// What a list or a mapping may be if it is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// Nothing else.
    Required,
    /// Left without a value.
    MayBeNull,
    /// Anything that Python takes for false.
    MayBeFalse,
}

impl KeyTable {
    /// The names of all keys.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static ConfigKey> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Every key of a table and of the tables in it, each with its name in full: `libvirt.uri`,
/// `sinks[].name`, `components.by_name.NAME.on_error`. Mappings come before their keys.
pub fn each_key(table: &'static KeyTable) -> Vec<(String, &'static ConfigKey)> {
    let mut found = Vec::new();
    collect("", table, &mut found);
    found
}

fn collect(before: &str, table: &'static KeyTable, found: &mut Vec<(String, &'static ConfigKey)>) {
    for key in table.keys {
        let name = format!("{before}{}", key.name);
        found.push((name.clone(), key));
        match key.shape {
            ValueShape::Table(inner) => collect(&format!("{name}."), inner, found),
            ValueShape::Tables(inner, _) => collect(&format!("{name}[]."), inner, found),
            ValueShape::ByName(inner) => collect(&format!("{name}.NAME."), inner, found),
            _ => {}
        }
    }
}

impl ConfigKey {
    /// The key as one whose value is or may hold a secret.
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// A key.
const fn key(
    name: &'static str,
    shape: ValueShape,
    default: KeyDefault,
    effect: &'static str,
) -> ConfigKey {
    ConfigKey { name, shape, default, effect, secret: false }
}

/// A mapping of the host's or the collector's file.
const fn section(name: &'static str, table: &'static KeyTable) -> ConfigKey {
    key(name, ValueShape::Table(table), KeyDefault::Nothing, table.about)
}

/// A table of keys without which others are errors.
const fn closed(about: &'static str, keys: &'static [ConfigKey]) -> KeyTable {
    KeyTable { about, keys, one_of: &[], closed: true }
}

const LIST: ValueShape =
    ValueShape::Texts(TextList { separator: None, least: 0, may_be_empty: true });
const COMMAS: ValueShape =
    ValueShape::Texts(TextList { separator: Some(','), least: 0, may_be_empty: true });

impl ValueShape {
    /// The accepted values in words, as Markdown.
    pub fn describe(&self) -> String {
        let words = |words: &[&str]| {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Text => "text".to_owned(),
            Self::AnyText => "text, may be empty".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Name => "text".to_owned(),
            Self::Truth => "`true`, `false`".to_owned(),
            Self::Whole(least, most) => format!("whole number, {least} to {most}"),
            Self::Interval => "whole seconds above 0".to_owned(),
            Self::Time => "time with `us`, `ms`, `s`, `m`, `h` or `d`; seconds without".to_owned(),
            Self::TimeOrForever => "time with its unit, or `forever`".to_owned(),
            Self::Size(least, most) => match (*least, *most) {
                (0 | 1, u64::MAX) => {
                    "size with `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB`; bytes without".to_owned()
                }
                (0 | 1, most) => format!("size of at most {}", in_units(most)),
                (least, _) => format!("size of at least {}", in_units(least)),
            },
            Self::Word(all) => words(all),
            Self::Address => "`ADDRESS:PORT`, or `off`".to_owned(),
            Self::Texts(TextList { separator: None, .. }) => "list of texts".to_owned(),
            Self::Texts(TextList { separator: Some(':'), .. }) => {
                "list of texts, or one text with colons between".to_owned()
            }
            Self::Texts(_) => "list of texts, or one text with commas between".to_owned(),
            Self::Words(all) => format!("list of {}", words(all)),
            Self::Names => "list of names".to_owned(),
            Self::Scalars => "list of text".to_owned(),
            Self::Anything => "anything".to_owned(),
            Self::Meters => "list of names and globs, or `*`".to_owned(),
            Self::Publishers => "list of URLs".to_owned(),
            Self::Table(_) | Self::ByName(_) | Self::Options(_) => "mapping".to_owned(),
            Self::Tables(..) => "list of mappings".to_owned(),
        }
    }

    /// The unit of a number without one.
    pub fn unit(&self) -> Option<&'static str> {
        match self {
            Self::Interval | Self::Time | Self::TimeOrForever => Some("s"),
            Self::Size(..) => Some("B"),
            _ => None,
        }
    }
}

/// A size in the largest unit that it is a whole number of.
pub(crate) fn in_units(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(factor, _): &&(u64, &str)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((factor, unit)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}
