//! New names and units of meters, literal or by pattern.

use nephometer_guest::OptionReader;
use regex_lite::Regex;

use crate::pattern::{Template, compile};

/// Renames a name or a unit.
#[derive(Debug)]
pub(crate) struct Rename {
    map: Option<(Regex, Template)>,
    target: Option<String>,
}

impl Rename {
    /// Reads the options of an attribute, `name` or `unit`. As in Ceilometer, a mapping without
    /// both sides is ignored.
    pub(crate) fn read(
        attribute: &str,
        map_from: &OptionReader<'_>,
        map_to: &OptionReader<'_>,
        target: &OptionReader<'_>,
    ) -> Self {
        let from = map_from.text(attribute).filter(|text| !text.is_empty());
        let to = map_to.text(attribute).filter(|text| !text.is_empty());
        let map = from.zip(to).and_then(|(from, to)| {
            let pattern = compile(from).map_err(|why| map_from.refuse(attribute, why)).ok()?;
            let template = Template::parse(to, &pattern);
            Some((pattern, template.map_err(|why| map_to.refuse(attribute, why)).ok()?))
        });
        Self { map, target: target.text(attribute).map(str::to_owned) }
    }

    /// The new text. A pattern that does not match keeps the old one and ignores the target, as in
    /// Ceilometer; an empty result is replaced by the target.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mapped = self.map.as_ref().map(|(pattern, to)| to.replace_all(pattern, text));
        mapped
            .filter(|mapped| !mapped.is_empty())
            .or_else(|| self.target.clone())
            .unwrap_or_else(|| text.to_owned())
    }
}
