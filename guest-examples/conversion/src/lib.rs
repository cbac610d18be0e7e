//! What Ceilometer's transformers have in common.
//!
//! Most take `source` (`unit`, `map_from`) and `target` (`name`, `unit`, `type`, `scale`, `max`,
//! `map_to`), with the same meaning: new names and units by pattern or by word, a scale that is a
//! number or an expression over the sample, and a cap. What they do with a scaled value differs
//! and is theirs.

mod formula;
pub mod held;
mod pattern;
mod rename;
pub mod series;
mod time;

use std::cell::RefCell;

use nephometer_guest::{FxHashMap, Meter, MeterType, OptionError, OptionReader, type_from_word};

pub use formula::{Formula, Scale};
use rename::Rename;

/// Converted meters that are remembered.
const REMEMBERED: usize = 1_000;

/// The parameters, checked.
#[derive(Debug)]
pub struct Conversion {
    /// Only samples in this unit are meant, where that matters.
    pub source_unit: Option<String>,
    /// What to do with values.
    pub scale: Scale,
    /// The most that a value may be.
    pub max: Option<f64>,
    name: Rename,
    unit: Rename,
    meter_type: Option<MeterType>,
    known: FxHashMap<String, Vec<(Meter, Meter)>>,
    remembered: usize,
}

impl Conversion {
    /// Reads the parameters. Keys that are not known are named in the log, as upstream swallows
    /// them; anything else that is wrong is an error with its place.
    pub fn read(options: &serde_json::Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let conversion = Self::read_beside(options, &[], &errors);
        let errors = errors.take();
        if errors.is_empty() { Ok(conversion) } else { Err(errors) }
    }

    /// The same beside parameters of the caller's own, which are named in `more`.
    pub fn read_beside(
        options: &serde_json::Value,
        more: &[&str],
        errors: &RefCell<Vec<OptionError>>,
    ) -> Self {
        let root = OptionReader::new(options, errors);
        root.warn_of_unknown(&[&["source", "target"], more].concat());
        let source = root.object("source");
        source.warn_of_unknown(&["unit", "map_from"]);
        let map_from = source.object("map_from");
        map_from.warn_of_unknown(&["name", "unit"]);
        let target = root.object("target");
        target.warn_of_unknown(&["name", "unit", "type", "scale", "max", "map_to"]);
        let map_to = target.object("map_to");
        map_to.warn_of_unknown(&["name", "unit"]);
        let meter_type = target.text("type").and_then(|word| {
            let known = type_from_word(word);
            if known.is_none() {
                target.refuse("type", format!("'{word}' is not gauge, delta or cumulative"));
            }
            known
        });
        Self {
            source_unit: source.text("unit").filter(|unit| !unit.is_empty()).map(str::to_owned),
            scale: Scale::read(&target, "scale"),
            max: target.number("max").filter(|max| *max != 0.0),
            name: Rename::read("name", &map_from, &map_to, &target),
            unit: Rename::read("unit", &map_from, &map_to, &target),
            meter_type,
            known: FxHashMap::default(),
            remembered: 0,
        }
    }

    /// The meter that another becomes.
    pub fn meter(&mut self, from: &Meter) -> Meter {
        let same_name = self.known.get(&from.name);
        if let Some((_, to)) = same_name.and_then(|all| all.iter().find(|(one, _)| one == from)) {
            return to.clone();
        }
        let to = Meter {
            name: self.name.apply(&from.name),
            unit: self.unit.apply(&from.unit),
            type_: self.meter_type.unwrap_or(from.type_),
        };
        if self.remembered == REMEMBERED {
            self.known.clear();
            self.remembered = 0;
        }
        self.remembered += 1;
        self.known.entry(from.name.clone()).or_default().push((from.clone(), to.clone()));
        to
    }

    /// A value as it may be.
    pub fn capped(&self, value: f64) -> f64 {
        self.max.map_or(value, |max| value.min(max))
    }
}

#[cfg(test)]
mod tests;
