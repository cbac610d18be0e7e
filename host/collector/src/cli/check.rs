use clap::Args;

use super::ConfigOption;
use super::output::print;
use crate::audit::trusted_keys;

/// Check the configuration and print all problems
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigOption,
}

impl Check {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        if let Some(api) = &spec.api {
            crate::api::Access::open(&api.access)?;
        }
        let keys = trusted_keys(spec.trusted_keys.as_deref())?.count();
        let (brokers, classes) = (spec.brokers.len(), spec.keep.classes.len());
        let receivers = spec.receivers.len();
        let counts = format!("{brokers} brokers, {receivers} receivers");
        print(&format!("ok: {counts}, {classes} retention classes, {keys} trusted keys"))?;
        Ok(())
    }
}
