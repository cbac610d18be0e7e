//! Writes a group: one transaction per month file, then the ledger.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use nephometer_model::Timestamp;
use nephometer_proof::Digest;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde_json::json;

use super::catalogue::Catalogue;
use super::correction::correct;
use super::file::{FileKey, MonthFile, engine};
use super::rows::volume_value;
use super::{SqliteStore, months};
use crate::message::ReadMessage;
use crate::sample::{Measurement, Refusal, SampleId, Shared};
use crate::store::month::MonthNames;
use crate::store::retention::{class_of, outside};
use crate::store::selection::{micros, micros_of};
use crate::store::{Committed, DeadLetter, Group, StoreError, age};

/// The part of a group that belongs into one file: numbers of messages with numbers of their
/// samples.
type Part = Vec<(usize, Vec<usize>)>;
/// Samples that are not stored, by reason.
type RefusedCounts = BTreeMap<&'static str, u64>;

impl SqliteStore {
    /// See [`crate::store::Storage::write`].
    pub(super) fn write_locked(
        &mut self,
        group: &Group,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        let mut committed = Committed::default();
        let (parts, refused) = self.parts(group, now);
        for (reason, count) in refused.iter().flatten() {
            *committed.refused.entry(reason).or_default() += count;
        }
        self.open_window(now)?;
        let (closed, erasing) = (self.ledger.closed_months()?, self.ledger.erasing()?);
        for (key, part) in &parts {
            self.indexed(key)?;
            let mut file = self.files.remove(key).expect("it was opened");
            let others: Vec<&MonthFile> = self.files.values().collect();
            let is_closed = closed.contains(&key.month.to_string());
            let work =
                PartOfGroup { group, part, refused: &refused, now, is_closed, erasing: &erasing };
            let written = write_part(&mut file, &others, &work);
            if written.is_err() {
                file.catalogue.forget();
            }
            let path = file.path.clone();
            self.files.insert(key.clone(), file);
            let outcome = written.map_err(|source| engine(&path, source))?;
            committed.stored += outcome.stored;
            committed.duplicates += outcome.duplicates;
            committed.corrections += if is_closed { outcome.stored } else { 0 };
            committed.oldest = committed.oldest.max(outcome.oldest);
        }
        self.keep_links(group, now)?;
        committed.letters = self.ledger.write(group, &committed, now)?;
        Ok(committed)
    }

    /// Keeps the places of messages that could not be read: their streams are whole.
    fn keep_links(&mut self, group: &Group, now: Timestamp) -> Result<(), StoreError> {
        let unread: Vec<ReadMessage> = group.letters.iter().filter_map(unread).collect();
        if unread.is_empty() {
            return Ok(());
        }
        let key = self.record_file(now);
        let file = self.opened(&key)?;
        let refused = BTreeMap::from([("unreadable", 1)]);
        let write = || {
            let transaction = file.connection.unchecked_transaction()?;
            for message in &unread {
                message_row(&transaction, message, &refused, now)?;
            }
            transaction.commit()
        };
        write().map_err(|source| engine(&file.path, source))
    }

    /// The file of messages without samples.
    fn record_file(&self, now: Timestamp) -> FileKey {
        let class = self.keep.classes.last().map_or("default", |class| &class.name);
        FileKey { month: super::month_of(now), class: class.to_owned() }
    }

    /// Divides a group by files, and refuses samples outside the window. Also returns how many samples
    /// of each message are refused, by reason.
    fn parts(
        &self,
        group: &Group,
        now: Timestamp,
    ) -> (BTreeMap<FileKey, Part>, Vec<RefusedCounts>) {
        let mut parts: BTreeMap<FileKey, Part> = BTreeMap::new();
        let mut classes: HashMap<&str, String> = HashMap::new();
        let mut months = MonthNames::default();
        let mut all_refused = Vec::with_capacity(group.messages.len());
        for (number, message) in group.messages.iter().enumerate() {
            let mut refused = RefusedCounts::new();
            let mut refuse = |refusal: Refusal| *refused.entry(refusal.as_str()).or_default() += 1;
            message.refused.iter().for_each(|sample| refuse(sample.refusal));
            let mut is_placed = false;
            for (at, sample) in message.samples.iter().enumerate() {
                if let Some(refusal) = outside(&self.keep, sample, group.rule, now) {
                    refuse(refusal);
                    continue;
                }
                let class = classes
                    .entry(&sample.meter.name)
                    .or_insert_with(|| class_of(&self.keep, &sample.meter.name).to_owned());
                let month = months.of(micros(sample.time));
                let key = FileKey { month, class: class.clone() };
                is_placed = true;
                let part = parts.entry(key).or_default();
                match part.last_mut() {
                    Some((last, samples)) if *last == number => samples.push(at),
                    _ => part.push((number, vec![at])),
                }
            }
            // Streams are kept whole: also their records, and messages without stored samples.
            if message.place.is_some() && !is_placed {
                parts.entry(self.record_file(now)).or_default().push((number, Vec::new()));
            }
            all_refused.push(refused);
        }
        (parts, all_refused)
    }

    /// Opens the files in which a repeated id could be found.
    fn open_window(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = micros(now) - micros_of(self.keep.window);
        let newest = micros(now).saturating_add(micros_of(self.keep.ahead));
        let inside = |file: &MonthFile| file.range.start <= newest && oldest < file.range.end;
        self.files.retain(|_, file| inside(file));
        for (key, _) in months(&self.folder)? {
            let range = key.month.range();
            if range.start <= newest && oldest < range.end {
                self.indexed(&key)?;
            }
        }
        Ok(())
    }

    /// Opens a file with its index of ids: the window may have become longer.
    fn indexed(&mut self, key: &FileKey) -> Result<(), StoreError> {
        let file = self.opened(key)?;
        file.index_ids().map_err(|source| engine(&file.path, source))
    }
}

/// What became of the samples of one part, until its transaction is committed.
#[derive(Default)]
struct Outcome {
    stored: u64,
    duplicates: u64,
    oldest: Option<Duration>,
}

/// What is written into one file.
struct PartOfGroup<'a> {
    group: &'a Group,
    part: &'a Part,
    /// By message of the group.
    refused: &'a [RefusedCounts],
    now: Timestamp,
    /// Whether the month is closed: what is stored is a correction.
    is_closed: bool,
    /// Projects whose samples are stored without metadata.
    erasing: &'a BTreeSet<String>,
}

impl PartOfGroup<'_> {
    /// A sample as it is to be stored.
    fn stored<'s>(&self, sample: &'s Measurement) -> Cow<'s, Measurement> {
        match &sample.owner.project_id {
            Some(project) if self.erasing.contains(&**project) => Cow::Owned(sample.nameless()),
            _ => Cow::Borrowed(sample),
        }
    }
}

fn write_part(
    file: &mut MonthFile,
    others: &[&MonthFile],
    work: &PartOfGroup<'_>,
) -> rusqlite::Result<Outcome> {
    file.refresh()?;
    let mut outcome = Outcome::default();
    let MonthFile { connection, catalogue, range, .. } = file;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (number, samples) in work.part {
        let message = &work.group.messages[*number];
        let row = message_row(&transaction, message, &work.refused[*number], work.now)?;
        let mut stored = 0_u64;
        for at in samples {
            let sample = work.stored(&message.samples[*at]);
            let time = micros(sample.time) - range.start;
            let series = if is_elsewhere(others, &sample.id)? {
                None
            } else {
                insert(&transaction, catalogue, &sample, [time, row.number])?
            };
            let Some(series) = series else {
                outcome.duplicates += 1;
                row.repeats(&transaction, &sample.id)?;
                continue;
            };
            if work.is_closed {
                correct(&transaction, [series, time], sample.volume, work.now)?;
            }
            stored += 1;
            outcome.oldest = outcome.oldest.max(Some(age(work.now, sample.time)));
        }
        row.finish(&transaction, stored)?;
        outcome.stored += stored;
    }
    transaction.commit()?;
    Ok(outcome)
}

/// Inserts a sample with its time and the number of its message, and marks its sums as stale.
/// Returns its series; `None` if its id is there already.
fn insert(
    connection: &Connection,
    catalogue: &mut Catalogue,
    sample: &Measurement,
    [time, message]: [i64; 2],
) -> rusqlite::Result<Option<i64>> {
    let (numbers, revision) = catalogue.numbers(connection, sample)?;
    let sql = "INSERT OR IGNORE INTO sample (series, time, id, volume, revision, message) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let series = numbers.series;
    let volume = volume_value(sample.volume);
    let values = params![series, time, sample.id, volume, revision, message];
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(None);
    }
    catalogue.mark(connection, numbers, time)?;
    Ok(Some(series))
}

/// Whether another file of the window has this id.
fn is_elsewhere(others: &[&MonthFile], id: &SampleId) -> rusqlite::Result<bool> {
    for other in others {
        let sql = "SELECT 1 FROM sample WHERE id = ?1";
        let found = other.connection.prepare_cached(sql)?.exists([id])?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The row of a message.
struct MessageRow {
    number: i64,
    /// Whether it stays even if none of its samples is new.
    kept: bool,
}

impl MessageRow {
    /// Notes that a sample came in this message as well, and is stored from another one.
    fn repeats(&self, connection: &Connection, id: &SampleId) -> rusqlite::Result<()> {
        if !self.kept {
            return Ok(());
        }
        let sql = "SELECT 1 FROM sample WHERE id = ?1 AND message = ?2";
        if connection.prepare_cached(sql)?.exists(params![id, self.number])? {
            return Ok(());
        }
        let sql = "INSERT OR IGNORE INTO repeated VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![self.number, id]).map(drop)
    }

    fn finish(&self, connection: &Connection, stored: u64) -> rusqlite::Result<()> {
        if stored == 0 && !self.kept {
            let sql = "DELETE FROM message WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([self.number])?;
        } else if stored > 0 {
            let sql = "UPDATE message SET stored = stored + ?2 WHERE id = ?1";
            let stored = i64::try_from(stored).unwrap_or(i64::MAX);
            connection.prepare_cached(sql)?.execute([self.number, stored])?;
        }
        Ok(())
    }
}

/// A message of a stream that could not be read, without samples.
fn unread(letter: &DeadLetter) -> Option<ReadMessage> {
    let place = Some(letter.place.clone()?);
    let (origin, body) = (Shared::clone(&letter.origin), Digest::of(&letter.body));
    Some(ReadMessage { origin, place, body, ..ReadMessage::posted(Vec::new()) })
}

/// Finds the row of a message that came before, or adds one.
fn message_row(
    connection: &Connection,
    message: &ReadMessage,
    refused: &RefusedCounts,
    now: Timestamp,
) -> rusqlite::Result<MessageRow> {
    let place = message.place.as_ref();
    let stream = place.map(|place| place.stream.as_bytes().to_vec());
    let sequence = place.map(|place| i64::try_from(place.sequence).unwrap_or(i64::MAX));
    let body = message.body.as_bytes();
    if place.is_some() {
        let sql = "SELECT id FROM message WHERE stream = ?1 AND sequence = ?2 AND body = ?3";
        let found = connection
            .prepare_cached(sql)?
            .query_row(params![stream, sequence, body], |row| row.get(0))
            .optional()?;
        if let Some(number) = found {
            if refused.is_empty() {
                // A dead letter that can be read now, or samples whose secret is known now.
                let sql = "UPDATE message SET refused = NULL WHERE id = ?1 AND refused IS NOT NULL";
                connection.prepare_cached(sql)?.execute([number])?;
            }
            return Ok(MessageRow { number, kept: true });
        }
    }
    let sql = "INSERT INTO message (arrived, origin, event_type, body, samples, stream, sequence, \
               previous, digest, record, refused) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let refused = (!refused.is_empty()).then(|| json!(refused).to_string());
    let samples = i64::try_from(message.samples.len()).unwrap_or(i64::MAX);
    let number = connection.prepare_cached(sql)?.insert(params![
        micros(now),
        &*message.origin,
        message.event_type,
        body,
        samples,
        stream,
        sequence,
        place.map(|place| place.previous.as_bytes()),
        place.map(|place| place.digest.as_bytes()),
        message.record,
        refused,
    ])?;
    Ok(MessageRow { number, kept: place.is_some() })
}
