//! Which meters a component wants.

use nephometer_model::{Glob, Meter};

/// The patterns of `settings.meters`.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Glob>);

impl Filter {
    /// Reads the globs. Exclusions, which sources in `pipeline.yaml` know, are refused rather
    /// than taken for names.
    pub(crate) fn new(globs: &[String]) -> Result<Self, String> {
        let read = |glob: &String| {
            let read = Glob::new(glob).map_err(|error| error.to_string())?;
            if glob.starts_with('!') {
                return Err(format!("{glob:?} is no pattern of meters that are wanted"));
            }
            Ok(read)
        };
        globs.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it wants a meter.
    pub(super) fn wants(&self, meter: &Meter) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(&meter.name))
    }

    /// Whether it wants all of them.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
