use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Format, print, rows};
use super::{ConfigOption, Failure};
use crate::ingest::writer::{now, read};
use crate::message::Arrival;
use crate::signature::Verifier;
use crate::store::{Group, Storage, StoredLetter, open_store};

/// Messages that could not be read
#[derive(Debug, Subcommand)]
pub(super) enum Letters {
    /// List them with their reasons
    Ls(ConfigOption),
    /// Write the body of one to a new file
    Export(Export),
    /// Read all of them again, and store what can be read now
    Retry(ConfigOption),
    /// Remove some for good
    Rm(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    config: ConfigOption,
    /// Its number
    number: i64,
    /// The file, which must not exist
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    config: ConfigOption,
    /// Their numbers
    #[arg(required = true)]
    numbers: Vec<i64>,
}

/// Letters that are read at once.
const PAGE: usize = 100;

impl Letters {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        match self {
            Self::Ls(config) => list(&config),
            Self::Export(export) => export.execute(),
            Self::Retry(config) => retry(&config),
            Self::Rm(remove) => {
                let mut store = open(&remove.config)?;
                store.remove_letters(&remove.numbers)?;
                Ok(print(&format!("ok: {} removed", remove.numbers.len()))?)
            }
        }
    }
}

fn open(config: &ConfigOption) -> anyhow::Result<Box<dyn Storage>> {
    Ok(open_store(&config.load()?.keep, u64::MAX)?)
}

fn list(config: &ConfigOption) -> anyhow::Result<()> {
    let (mut store, mut after, mut entries) = (open(config)?, 0, Vec::new());
    loop {
        let page = store.letters(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for StoredLetter { number, arrived, letter } in page {
            entries.push(json!({
                "number": number, "arrived": arrived.iso(), "origin": &*letter.origin,
                "bytes": letter.body.len(), "reason": letter.reason,
            }));
        }
    }
    let columns = [
        ("NUMBER", "number"),
        ("ARRIVED", "arrived"),
        ("ORIGIN", "origin"),
        ("BYTES", "bytes"),
        ("REASON", "reason"),
    ];
    Ok(rows(Format::Table, &columns, &entries)?)
}

impl Export {
    fn execute(self) -> anyhow::Result<()> {
        let mut store = open(&self.config)?;
        let found = store.letters(self.number - 1, 1)?.pop();
        let found = found.filter(|found| found.number == self.number).ok_or_else(|| {
            Failure::Usage(format!("no dead letter {}; `dead-letters ls` lists them", self.number))
        })?;
        let mut file = std::fs::File::create_new(&self.file)?;
        file.write_all(&found.letter.body)?;
        Ok(print(&format!("ok: {} bytes in {}", found.letter.body.len(), self.file.display()))?)
    }
}

/// Letters that can be read now are stored and then removed: after a crash in between they are found
/// as duplicates.
fn retry(config: &ConfigOption) -> anyhow::Result<()> {
    let spec = config.load()?;
    let verifier = Verifier::new(&spec.secrets, spec.unsigned);
    let mut store = open_store(&spec.keep, u64::MAX)?;
    let (mut after, mut stored, mut read_again, mut left) = (0, 0, 0, 0);
    loop {
        let page = store.letters(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.number;
        let (mut group, mut numbers) = (Group::default(), Vec::new());
        for StoredLetter { number, letter, .. } in page {
            let arrival = Arrival { origin: letter.origin, body: letter.body, place: letter.place };
            match read(arrival, &verifier).0 {
                Ok(message) => {
                    group.messages.push(message);
                    numbers.push(number);
                }
                Err(_) => left += 1,
            }
        }
        stored += store.write(&group, now())?.stored;
        store.remove_letters(&numbers)?;
        read_again += numbers.len();
    }
    print(&format!("ok: {read_again} read, {stored} samples stored, {left} still cannot be read"))?;
    Ok(())
}
