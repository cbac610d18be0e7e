use std::path::{Path, PathBuf};

use clap::Args;
use nephometer_config::{KeepSpec, RetentionClass};
use nephometer_model::Timestamp;

use super::output::{print, print_error};
use super::{ConfigOption, Failure};
use crate::ingest::files::FileMessages;
use crate::ingest::writer::{now, read};
use crate::message::ReadMessage;
use crate::signature::Verifier;
use crate::store::{
    Committed, DeadLetter, Group, Selection, Storage, TimeRange, WriteRule, age, open_store,
};

/// Store the samples of files
///
/// Reads what file:// writes, as JSON or in Python's notation, with and without links of streams, and
/// notifications or lists of samples, one a line. Samples that are stored already are found by their ids.
#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    config: ConfigOption,
    /// Accept samples without a signature: files of the agent have none
    #[arg(long)]
    unsigned: bool,
    /// Accept samples older than the window, if the store has no samples of their time yet
    #[arg(long)]
    empty_range: bool,
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Samples of one commit.
const ROWS: usize = 20_000;

impl Import {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let verifier = Verifier::new(&spec.secrets, spec.unsigned || self.unsigned);
        let mut store = open_store(&spec.keep, u64::MAX)?;
        let rule = if self.empty_range {
            self.check_range(&spec.keep, &*store, &verifier)?;
            WriteRule::History
        } else {
            WriteRule::InWindow
        };
        let mut total = Committed::default();
        for file in &self.files {
            let mut group = Group { rule, ..Group::default() };
            let mut rows = 0;
            messages(file, &verifier, |message| {
                match message {
                    Ok(message) => {
                        rows += message.samples.len();
                        group.messages.push(message);
                    }
                    Err(letter) => group.letters.push(letter),
                }
                if rows >= ROWS {
                    rows = 0;
                    let full = std::mem::replace(&mut group, Group { rule, ..Group::default() });
                    add(&mut total, &store.write(&full, now())?);
                }
                Ok(())
            })?;
            add(&mut total, &store.write(&group, now())?);
        }
        while store.maintain(now())? {}
        let Committed { stored, duplicates, letters, refused, .. } = total;
        for (reason, count) in &refused {
            print_error(&format!("refused: {count} {reason}{}", remedy(reason)));
        }
        print(&format!("ok: {stored} stored, {duplicates} duplicates, {letters} dead letters"))?;
        Ok(())
    }

    /// Refuses the import if the store has a sample of the time of its samples, or would drop them at
    /// once.
    fn check_range(
        &self,
        keep: &KeepSpec,
        store: &dyn Storage,
        verifier: &Verifier,
    ) -> anyhow::Result<()> {
        let (mut first, mut last) = (i64::MAX, 0);
        for file in &self.files {
            messages(file, verifier, |message| {
                for sample in message.iter().flat_map(|message| &message.samples) {
                    let time = i64::try_from(sample.time.as_nanos() / 1_000).unwrap_or(i64::MAX);
                    (first, last) = (first.min(time), last.max(time));
                }
                Ok(())
            })?;
        }
        if first > last {
            return Ok(());
        }
        let oldest = Timestamp::from_nanos(u64::try_from(first).unwrap_or(0) * 1_000);
        let short =
            |class: &&RetentionClass| class.keep.is_some_and(|kept| age(now(), oldest) > kept);
        if let Some(class) = keep.classes.iter().find(short) {
            let text = format!(
                "the oldest sample is of {}, and the class {} does not keep it: raise `keep` of this \
                 class, or write `keep: forever`",
                oldest.iso(),
                class.name
            );
            return Err(Failure::Usage(text).into());
        }
        let times = TimeRange { start: first, end: last.saturating_add(1) };
        let selection = Selection { times, ..Selection::default() };
        let found = store.reader()?.newest(&selection, 1, &mut |_| true)?;
        if let Some(sample) = found.first() {
            let text = format!(
                "the store has samples of this time, such as {} of {} at {}; import without \
                 --empty-range, or into an empty store",
                sample.meter.name,
                sample.owner.resource_id,
                sample.time.iso()
            );
            return Err(Failure::Usage(text).into());
        }
        Ok(())
    }
}

fn remedy(reason: &str) -> &'static str {
    match reason {
        "unsigned" => "; --unsigned accepts them",
        "too_old" => ", too old to check; --empty-range accepts them if their time has no samples",
        "wrong_signature" => "; list the secret of their senders in `secrets`",
        _ => "",
    }
}

/// Reads the messages of a file.
fn messages(
    file: &Path,
    verifier: &Verifier,
    mut take: impl FnMut(Result<ReadMessage, DeadLetter>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut file = FileMessages::open(file)?;
    while let Some(arrival) = file.next()? {
        take(read(arrival, verifier).0)?;
    }
    Ok(())
}

fn add(total: &mut Committed, one: &Committed) {
    total.stored += one.stored;
    total.duplicates += one.duplicates;
    total.letters += one.letters;
    for (reason, count) in &one.refused {
        *total.refused.entry(reason).or_default() += count;
    }
}
