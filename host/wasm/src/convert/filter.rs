//! Selects the meters that a component receives.

use nephometer_model::{Glob, Meter};

/// The patterns of `settings.meters`.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Glob>);

impl Filter {
    /// Parses the globs. Exclusions, which sources in `pipeline.yaml` support, are refused.
    pub(crate) fn new(globs: &[String]) -> Result<Self, String> {
        let parse = |glob: &String| {
            let parsed = Glob::new(glob).map_err(|error| error.to_string())?;
            if glob.starts_with('!') {
                return Err(format!("exclusion pattern {glob:?} is not supported"));
            }
            Ok(parsed)
        };
        globs.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the component receives a meter.
    pub(super) fn matches(&self, meter: &Meter) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(&meter.name))
    }

    /// Whether there are no patterns, so that all meters match.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
