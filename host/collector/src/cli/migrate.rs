use clap::Args;

use super::output::print;
use super::{ConfigOption, Failure};
use crate::ingest::writer::now;
use crate::store::migrate;

/// Move the files of the store to the servers of store.clickhouse
///
/// Reads the files in store.path and leaves them as they are. Stop all collectors before, and let none
/// use the database until it ends. Each file is compared with what the servers have then, by the number
/// of samples and a digest. A move that was interrupted continues where it was.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigOption,
}

impl Migrate {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let keep = self.config.load()?.keep;
        let Some(spec) = &keep.clickhouse else {
            let text = "the configuration names no servers; set store.clickhouse.servers";
            return Err(Failure::Usage(text.to_owned()).into());
        };
        let mut lines = Vec::new();
        let moved = migrate(&keep, spec, now(), &mut |line| lines.push(print(line)));
        lines.into_iter().collect::<Result<Vec<()>, _>>()?;
        moved?;
        Ok(print("ok: the servers have everything; start the collectors")?)
    }
}
