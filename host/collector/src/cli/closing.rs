use clap::Args;
use nephometer_model::Timestamp;
use serde_json::{Value, json};

use super::output::{Format, print, print_error, rows};
use super::{ConfigOption, Failure};
use crate::ingest::writer::now;
use crate::store::{Closing, Correction, Corrections, MonthSum, SumKey, open_store, shown_volume};

/// Close a month: keep its sums, and list what is stored in it later as corrections
///
/// Months are those of UTC. A month that was closed before stays as it was closed: its record is
/// printed.
#[derive(Debug, Args)]
pub(super) struct CloseMonth {
    #[command(flatten)]
    options: MonthOptions,
}

/// Print what was stored in a closed month since it was closed
///
/// Ends with 69 if the record and the corrections do not add up to what the store has.
#[derive(Debug, Args)]
pub(super) struct ListCorrections {
    #[command(flatten)]
    options: MonthOptions,
}

#[derive(Debug, Args)]
struct MonthOptions {
    #[command(flatten)]
    config: ConfigOption,
    /// The month, such as 2026-11
    #[arg(value_name = "YYYY-MM")]
    month: String,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

const SUMS: [(&str, &str); 7] = [
    ("PROJECT", "project_id"),
    ("METER", "meter"),
    ("UNIT", "unit"),
    ("SAMPLES", "samples"),
    ("SUM", "sum"),
    ("MIN", "min"),
    ("MAX", "max"),
];

impl CloseMonth {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let MonthOptions { config, month, format } = self.options;
        let mut store = open_store(&config.load()?.keep, u64::MAX)?;
        let (closing, new) = store.close_month(&month, now())?;
        let sums: Vec<Value> = closing.sums.iter().map(|(key, sums)| row(key, sums)).collect();
        let samples: u64 = closing.sums.values().map(|sums| sums.samples).sum();
        let Closing { month, closed, digest, tree, .. } = &closing;
        let (closed, digest) = (closed.iso(), digest.to_string());
        match format {
            Format::Json => rows(
                format,
                &[],
                &[json!({"month": month, "closed": closed, "digest": digest, "new": new,
                    "tree": tree, "samples": samples, "sums": sums})],
            )?,
            Format::Csv => rows(format, &SUMS, &sums)?,
            Format::Table => {
                rows(format, &SUMS, &sums)?;
                let what = if new { "closed" } else { "was closed" };
                print(&format!(
                    "ok: {month} {what} at {closed} with {samples} samples, digest {digest}"
                ))?;
            }
        }
        Ok(())
    }
}

impl ListCorrections {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let MonthOptions { config, month, format } = self.options;
        let mut store = open_store(&config.load()?.keep, u64::MAX)?;
        let Corrections { closing, late, difference } = store.corrections(&month)?;
        let entries: Vec<Value> = late.iter().map(correction).collect();
        let columns =
            [&SUMS[..], &[("FIRST ARRIVED", "first_arrived"), ("LAST ARRIVED", "last_arrived")]];
        let samples: u64 = late.iter().map(|one| one.sums.samples).sum();
        let (closed, digest) = (closing.closed.iso(), closing.digest.to_string());
        match format {
            Format::Json => rows(
                format,
                &[],
                &[json!({"month": month, "closed": closed, "digest": digest, "samples": samples,
                    "corrections": entries})],
            )?,
            Format::Csv => rows(format, &columns.concat(), &entries)?,
            Format::Table if late.is_empty() => {
                print(&format!("ok: no corrections since {month} was closed at {closed}"))?;
            }
            Format::Table => {
                rows(format, &columns.concat(), &entries)?;
                print(&format!("{samples} samples since {month} was closed at {closed}"))?;
            }
        }
        match difference {
            None => Ok(()),
            Some(difference) => {
                print_error("restore the store from a backup, or find out who has changed it");
                Err(Failure::Unavailable(format!("{month}: {difference}")).into())
            }
        }
    }
}

fn row(key: &SumKey, sums: &MonthSum) -> Value {
    json!({
        "project_id": key.project,
        "meter": key.meter,
        "unit": key.unit,
        "type": key.kind,
        "samples": sums.samples,
        "volumes": sums.volumes,
        "sum": sums.sum,
        "min": shown_volume(sums.min),
        "max": shown_volume(sums.max),
    })
}

fn correction(one: &Correction) -> Value {
    let mut row = row(&one.key, &one.sums);
    let [first, last] = one.arrived.map(Timestamp::iso);
    row["first_arrived"] = json!(first);
    row["last_arrived"] = json!(last);
    row
}
