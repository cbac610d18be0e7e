//! What Ceilometer's transformers have in common.
//!
//! Most have the options `source` (`unit`, `map_from`) and `target` (`name`, `unit`, `type`,
//! `scale`, `max`, `map_to`): new names and units, literal or by pattern; a scale, which is a
//! number or an expression over the sample; and a maximum. [`Conversion`] reads and applies them,
//! except for the use of the scale, which differs. [`series`] and [`buffer`] hold the states.

pub mod buffer;
mod formula;
mod pattern;
mod rename;
pub mod series;
mod time;

use std::cell::RefCell;

use nephometer_guest::{FxHashMap, Meter, MeterType, OptionError, OptionReader, type_from_word};

pub use formula::{Formula, Scale};
use rename::Rename;

/// The cache of converted meters is cleared when it has this many.
const MAX_CACHED_METERS: usize = 1_000;

/// The parameters, checked.
#[derive(Debug)]
pub struct Conversion {
    /// Only samples in this unit are converted; used by `unit_conversion` only.
    pub source_unit: Option<String>,
    /// How values are scaled.
    pub scale: Scale,
    /// Larger values are cut to this one.
    pub max: Option<f64>,
    name: Rename,
    unit: Rename,
    meter_type: Option<MeterType>,
    /// Pairs of input and converted meter, by the name of the input.
    cache: FxHashMap<String, Vec<(Meter, Meter)>>,
    cached: usize,
}

impl Conversion {
    /// Reads the parameters. Unknown keys are logged only, because Ceilometer ignores them.
    ///
    /// # Errors
    /// All other errors, each with its pointer.
    pub fn read(options: &serde_json::Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let conversion = Self::read_beside(options, &[], &errors);
        let errors = errors.take();
        if errors.is_empty() { Ok(conversion) } else { Err(errors) }
    }

    /// The same for a transformer with further parameters, whose keys are in `more`. Errors are
    /// added to `errors`.
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
            cache: FxHashMap::default(),
            cached: 0,
        }
    }

    /// Converts a meter: name, unit and type.
    pub fn meter(&mut self, from: &Meter) -> Meter {
        let same_name = self.cache.get(&from.name);
        if let Some((_, to)) = same_name.and_then(|all| all.iter().find(|(one, _)| one == from)) {
            return to.clone();
        }
        let to = Meter {
            name: self.name.apply(&from.name),
            unit: self.unit.apply(&from.unit),
            type_: self.meter_type.unwrap_or(from.type_),
        };
        if self.cached == MAX_CACHED_METERS {
            self.cache.clear();
            self.cached = 0;
        }
        self.cached += 1;
        self.cache.entry(from.name.clone()).or_default().push((from.clone(), to.clone()));
        to
    }

    /// Cuts a value to the maximum.
    pub fn capped(&self, value: f64) -> f64 {
        self.max.map_or(value, |max| value.min(max))
    }
}

#[cfg(test)]
mod tests;
