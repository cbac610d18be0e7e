//! Checks the bounds of a component's description and settings, before they are used.

use super::bindings::exports::nephometer::metering::component::{Description, Settings};
use nephometer_model::{Bound, Exceeded};

/// Refuses a description with too many or too long facts.
pub(super) fn check_description(description: &Description) -> Result<(), Exceeded> {
    check_facts(&description.facts)?;
    Bound::Schema.check(description.options_schema.len())
}

/// Refuses settings with too many or too long patterns, paths or facts: each pattern is matched
/// against every meter, and each path is looked up in every resource.
pub(super) fn check_settings(settings: &Settings) -> Result<(), Exceeded> {
    Bound::Globs.check(settings.meters.len())?;
    settings.meters.iter().try_for_each(|glob| Bound::GlobBytes.check(glob.len()))?;
    Bound::Paths.check(settings.metadata.len())?;
    settings.metadata.iter().try_for_each(|path| Bound::PathBytes.check(path.len()))?;
    check_facts(&settings.facts)
}

fn check_facts(facts: &[(String, String)]) -> Result<(), Exceeded> {
    Bound::Facts.check(facts.len())?;
    let texts = facts.iter().flat_map(|(name, value)| [name, value]);
    texts.into_iter().try_for_each(|text| Bound::FactBytes.check(text.len()))
}

#[cfg(test)]
mod tests {
    use super::super::bindings::exports::nephometer::metering::component::TextForm;
    use super::*;

    fn settings(meters: Vec<String>, metadata: Vec<String>) -> Settings {
        Settings { meters, metadata, texts: TextForm::None, facts: Vec::new() }
    }

    fn check_bound(bound: Bound, check: impl Fn(usize) -> Result<(), Exceeded>) {
        assert_eq!(check(bound.size()), Ok(()), "{bound:?}");
        let exceeded = check(bound.size() + 1).unwrap_err();
        assert_eq!((exceeded.bound, exceeded.amount), (bound, bound.most() + 1));
    }

    // Regression: 200,000 patterns took 4.9 GB and 30 s.
    #[test]
    fn settings_are_bounded() {
        let many = |count: usize| vec!["a".to_owned(); count];
        let long = |length: usize| vec!["a".repeat(length)];
        check_bound(Bound::Globs, |count| check_settings(&settings(many(count), Vec::new())));
        check_bound(Bound::GlobBytes, |length| check_settings(&settings(long(length), Vec::new())));
        check_bound(Bound::Paths, |count| check_settings(&settings(Vec::new(), many(count))));
        check_bound(Bound::PathBytes, |length| check_settings(&settings(Vec::new(), long(length))));
    }

    #[test]
    fn facts_and_schemas_are_bounded() {
        let description = |facts: Vec<(String, String)>, schema: usize| Description {
            name: "x".to_owned(),
            version: String::new(),
            summary: String::new(),
            options_schema: " ".repeat(schema),
            state_version: 0,
            facts,
        };
        let fact = |length: usize| ("a".to_owned(), "b".repeat(length));
        check_bound(Bound::Facts, |count| check_description(&description(vec![fact(1); count], 0)));
        check_bound(Bound::FactBytes, |length| {
            check_description(&description(vec![fact(length)], 0))
        });
        check_bound(Bound::Schema, |length| check_description(&description(Vec::new(), length)));
        let reported = Settings {
            facts: vec![fact(Bound::FactBytes.size() + 1)],
            ..settings(Vec::new(), Vec::new())
        };
        assert_eq!(check_settings(&reported).unwrap_err().bound, Bound::FactBytes);
    }
}
