use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use parquet::errors::ParquetError;

use super::output::print;
use super::{ConfigOption, Failure};
use crate::parquet_file::ParquetFile;
use crate::store::{MonthName, Reader, Selection, TimeRange, WantedOwner, open_reader};

/// Write samples as Parquet, a file for each month
///
/// DuckDB, pandas, Spark and others read such files. The collector may run meanwhile. Months are those of UTC.
#[derive(Debug, Args)]
pub(super) struct ExportMonths {
    #[command(flatten)]
    config: ConfigOption,
    /// The folder; it is created if it is missing, and files that are there stay as they are
    folder: PathBuf,
    /// Only these months, such as 2026-11; by default all that have samples
    #[arg(long)]
    month: Vec<String>,
    /// Only this meter
    #[arg(long)]
    meter: Option<String>,
    /// Only the samples of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
}

impl ExportMonths {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let mut reader = open_reader(&spec.keep, u64::MAX)?;
        let stored: BTreeSet<String> = {
            let files = reader.state()?.files.into_iter().filter(|file| file.samples > 0);
            files.filter_map(|file| file.name.get(..7).map(str::to_owned)).collect()
        };
        let months = if self.month.is_empty() {
            stored.iter().collect()
        } else {
            named(&self.month, &stored)?
        };
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        for month in months {
            let Some(times) = MonthName::read(month).map(|month| month.range()) else { continue };
            let path = self.folder.join(format!("{month}.parquet"));
            let count = self.write(&mut *reader, times, &path)?;
            print(&format!("ok: {count} samples in {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes one file. Its name is there when it is whole.
    fn write(&self, reader: &mut dyn Reader, times: TimeRange, path: &Path) -> anyhow::Result<u64> {
        let shown = || path.display().to_string();
        if nephometer_files::is_there(path).with_context(shown)? {
            let text =
                format!("{} is there already; name another folder, or remove it", path.display());
            return Err(Failure::Usage(text).into());
        }
        let new = path.with_extension("parquet.new");
        let out = nephometer_files::fresh(&new).with_context(shown)?;
        let written = self.samples(reader, times, out).with_context(shown);
        let written = written.and_then(|count| {
            fs::rename(&new, path).with_context(shown)?;
            Ok(count)
        });
        if written.is_err() {
            // A part is no export. That it cannot be removed is less than why it is one.
            drop(fs::remove_file(&new));
        }
        written
    }

    fn samples(
        &self,
        reader: &mut dyn Reader,
        times: TimeRange,
        out: fs::File,
    ) -> anyhow::Result<u64> {
        let project = self.project.clone().map(WantedOwner::Id);
        let selection =
            Selection { meter: self.meter.clone(), project, times, ..Selection::default() };
        let mut file = ParquetFile::new(BufWriter::with_capacity(1 << 20, out))?;
        let (mut count, mut failure) = (0, None);
        reader.scan(&selection, &mut |sample| match file.add(&sample) {
            Ok(()) => {
                count += 1;
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(failure) = failure {
            // Its text is that of its source.
            return Err(match failure {
                ParquetError::External(source) => anyhow::Error::from_boxed(source),
                other => other.into(),
            });
        }
        let out = file.finish()?.into_inner().map_err(|error| error.into_error())?;
        out.sync_all()?;
        Ok(count)
    }
}

/// The months that were named, which have to have samples.
fn named<'m>(wanted: &'m [String], stored: &BTreeSet<String>) -> Result<Vec<&'m String>, Failure> {
    match wanted.iter().find(|month| !stored.contains(*month)) {
        None => Ok(wanted.iter().collect()),
        Some(month) => {
            let text = format!("the store has no samples of {month}; `status` lists its months");
            Err(Failure::Usage(text))
        }
    }
}
