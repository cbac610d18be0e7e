//! Moves a store in files to servers of ClickHouse. Everything that is written is made from the file
//! alone, so that a move that was interrupted begins again and writes the same rows.

use std::collections::{BTreeSet, HashMap};

use nephometer_proof::Digest;

use super::client::ClickHouseServer;
use super::wire::{RowReader, RowWriter};
use super::write::{
    DAY, HOUR, MESSAGE, SAMPLE, earliest, first_number, message_number, owner_number,
};
use super::{ClickHouseStore, Cluster};
use crate::message::StreamPlace;
use crate::sample::SampleId;
use crate::store::moved::{Moved, MovedLedger};
use crate::store::selection::micros;
use crate::store::sqlite::dump::{MonthDump, MovedMessage, MovedSample};
use crate::store::{Closing, StoreError};
use nephometer_model::Volume;

/// Samples of one request.
const ROWS: usize = 50_000;

/// What samples of a file have in common.
#[derive(Clone)]
struct MovedSender {
    arrived: i64,
    origin: String,
    stream: [u8; 16],
    number: i64,
}

/// A file while it is written.
struct FileMove<'a> {
    cluster: &'a Cluster,
    dump: &'a MonthDump<'a>,
    month: u32,
    /// When the month was closed; samples that arrived later are corrections.
    closed: Option<i64>,
    senders: HashMap<i64, MovedSender>,
    moved: Moved,
    late: u64,
}

impl ClickHouseStore {
    /// Writes a file, and compares what was written with it. `closed` is the record of its month.
    pub(crate) fn move_file(
        &mut self,
        dump: &MonthDump<'_>,
        closed: Option<&Closing>,
    ) -> Result<Moved, StoreError> {
        let month = dump.key.month.number();
        let closed = closed.map(|closing| micros(closing.closed));
        let (senders, moved) = (HashMap::new(), Moved::default());
        let cluster = &self.cluster;
        let mut file = FileMove { cluster, dump, month, closed, senders, moved, late: 0 };
        file.messages()?;
        file.revisions()?;
        file.samples()?;
        file.repeated()?;
        if file.closed.is_some() && file.late != dump.late()? {
            return Err(file.cluster.first().error(format!(
                "{}: {} samples arrived after the month was closed, and {} are listed as corrections; \
                 ask for help with both numbers",
                dump.key,
                file.late,
                dump.late()?
            )));
        }
        let moved = file.moved;
        let found = self.cluster.written(month, &dump.key.class)?;
        if found == moved {
            return Ok(moved);
        }
        Err(self.cluster.first().error(format!(
            "{}: the file has {} samples with digest {}, and the servers have {} with {}: name a database \
             that no collector has used",
            dump.key, moved.samples, moved.digest(), found.samples, found.digest()
        )))
    }
}

impl ClickHouseStore {
    /// The files that were moved before.
    pub(crate) fn moved_files(&self) -> Result<BTreeSet<String>, StoreError> {
        let sql = format!("SELECT name FROM {}.moved FINAL", self.cluster.database);
        let mut rows = self.cluster.first().query(&sql)?;
        let mut found = BTreeSet::new();
        while rows.has_row() {
            found.insert(rows.text()?);
        }
        Ok(found)
    }

    /// Notes that a file was moved.
    pub(crate) fn note_moved(&self, name: &str, samples: u64) -> Result<(), StoreError> {
        let mut rows = RowWriter::default();
        rows.text(name).u64(samples).u64(1);
        self.cluster.first().insert("moved", "name, samples, version", &rows)
    }

    /// Writes what belongs to no month.
    pub(crate) fn move_ledger(&self, ledger: &MovedLedger) -> Result<(), StoreError> {
        for (month, closing) in &ledger.closings {
            self.cluster.add_closing(closing, *month)?;
        }
        for one in &ledger.letters {
            let letters = std::slice::from_ref(&one.letter);
            self.cluster.add_letters(letters, &BTreeSet::new(), one.arrived)?;
        }
        for project in &ledger.erasing {
            self.cluster.keep_erasing(project, ledger.now)?;
        }
        let counts: Vec<(&str, u64)> =
            ledger.counts.iter().map(|(name, count)| (&**name, *count)).collect();
        self.cluster.add_counts(&counts)
    }
}

/// The facts of a sample that both sides have, as bytes.
fn fact(id: &SampleId, time: i64, volume: Option<Volume>, message: i64) -> [u8; 32] {
    let mut row = RowWriter::default();
    row.id(id).i64(time).volume(volume).i64(message);
    *Digest::of(row.bytes()).as_bytes()
}

impl FileMove<'_> {
    fn messages(&mut self) -> Result<(), StoreError> {
        let mut rows: Vec<RowWriter> =
            self.cluster.servers.iter().map(|_| RowWriter::default()).collect();
        let (cluster, senders) = (self.cluster, &mut self.senders);
        self.dump.messages(&mut |message| {
            let place = message.place.as_ref();
            let stream = place.map_or([0; 16], |place| *place.stream.as_bytes());
            let number = message_number(place, &message.body, &message.origin);
            let MovedMessage { arrived, ref origin, .. } = message;
            let sender = MovedSender { arrived, origin: origin.clone(), stream, number };
            senders.insert(message.number, sender);
            let Some(place) = place else { return Ok(()) };
            let at = cluster.place_of(place.stream.as_bytes());
            moved_message(&mut rows[at], &message, place, number);
            flush(&cluster.servers[at], ("message", MESSAGE), &mut rows[at], 1 << 24)
        })?;
        for (server, rows) in self.cluster.servers.iter().zip(&mut rows) {
            flush(server, ("message", MESSAGE), rows, 0)?;
        }
        Ok(())
    }

    fn revisions(&mut self) -> Result<(), StoreError> {
        let columns = ("revision", "month, resource_id, id, project_id, metadata, version");
        let mut rows: Vec<RowWriter> =
            self.cluster.servers.iter().map(|_| RowWriter::default()).collect();
        self.dump.revisions(&mut |revision| {
            let owner = &revision.owner;
            let at = self.cluster.place_of(owner.resource_id.as_bytes());
            let number = self.revision(revision.number);
            rows[at].u32(self.month).text(&owner.resource_id).u64(number);
            rows[at].optional(owner.project_id.as_deref()).text(&revision.metadata).u64(1);
            flush(&self.cluster.servers[at], columns, &mut rows[at], 1 << 24)
        })?;
        for (server, rows) in self.cluster.servers.iter().zip(&mut rows) {
            flush(server, columns, rows, 0)?;
        }
        Ok(())
    }

    /// The number of metadata: that of their row and their file.
    fn revision(&self, number: i64) -> u64 {
        first_number(&Digest::of(format!("{} {number}", self.dump.key).as_bytes())).max(1)
    }

    fn samples(&mut self) -> Result<(), StoreError> {
        let mut rows: Vec<RowWriter> =
            self.cluster.servers.iter().map(|_| RowWriter::default()).collect();
        let (mut pending, dump) = (0, self.dump);
        dump.samples(&mut |sample| {
            let at = self.cluster.place_of(sample.owner.resource_id.as_bytes());
            self.sample(&mut rows[at], sample)?;
            pending += 1;
            if pending < ROWS {
                return Ok(());
            }
            pending = 0;
            for (server, rows) in self.cluster.servers.iter().zip(&mut rows) {
                flush(server, ("sample", SAMPLE), rows, 0)?;
            }
            Ok(())
        })?;
        for (server, rows) in self.cluster.servers.iter().zip(&mut rows) {
            flush(server, ("sample", SAMPLE), rows, 0)?;
        }
        Ok(())
    }

    fn sample(&mut self, rows: &mut RowWriter, one: MovedSample<'_>) -> Result<(), StoreError> {
        let MovedSample { meter, owner, time, id, volume, revision, message } = one;
        let Some(MovedSender { arrived, origin, stream, number }) = self.senders.get(&message)
        else {
            let what = format!("{}: a sample has no message; restore the file", self.dump.key);
            return Err(self.cluster.first().error(what));
        };
        let late = self.closed.is_some_and(|closed| *arrived > closed);
        let day = u16::try_from(time.div_euclid(DAY)).unwrap_or(0);
        rows.u32(self.month).text(&self.dump.key.class).text(&meter.name).text(&meter.unit);
        rows.text(meter.kind).text(&owner.resource_id).optional(owner.project_id.as_deref());
        rows.optional(owner.user_id.as_deref()).text(&owner.source);
        rows.u64(owner_number(owner, meter)).u16(day).i64(time).id(&id).volume(volume);
        rows.u64(self.revision(revision)).fixed(stream).text(origin).i64(*number).i64(*arrived);
        rows.u8(u8::from(late)).u64(earliest(*arrived));
        self.moved.add(&fact(&id, time, volume, *number));
        self.late += u64::from(late);
        Ok(())
    }

    fn repeated(&mut self) -> Result<(), StoreError> {
        let mut rows: Vec<RowWriter> =
            self.cluster.servers.iter().map(|_| RowWriter::default()).collect();
        self.dump.repeated(&mut |(message, id)| {
            let (Some(sender), Some((resource, time))) =
                (self.senders.get(&message), self.dump.find(&id)?)
            else {
                return Ok(());
            };
            let rows = &mut rows[self.cluster.place_of(resource.as_bytes())];
            let hour = u32::try_from(time.div_euclid(HOUR)).unwrap_or(0);
            rows.u32(self.month).fixed(&sender.stream).i64(sender.number).u32(hour).id(&id).u64(1);
            Ok(())
        })?;
        let columns = "month, stream, message, hour, id, text, version";
        for (server, rows) in self.cluster.servers.iter().zip(&rows) {
            server.insert("repeated", columns, rows)?;
        }
        Ok(())
    }
}

fn moved_message(rows: &mut RowWriter, message: &MovedMessage, place: &StreamPlace, number: i64) {
    let month = crate::store::month::MonthName::of(message.arrived).number();
    let whole = if message.refused.is_empty() { 1 << 62 } else { 0 };
    rows.u32(month).fixed(place.stream.as_bytes()).u64(place.sequence);
    rows.fixed(message.body.as_bytes()).i64(number).i64(message.arrived);
    rows.text(&message.origin).text(&message.event_type).u32(message.samples);
    rows.fixed(place.previous.as_bytes()).fixed(place.digest.as_bytes());
    rows.text(&message.record).text(&message.refused).u64(whole + earliest(message.arrived));
}

/// Inserts rows of at least this many bytes.
fn flush(
    server: &ClickHouseServer,
    (table, columns): (&str, &str),
    rows: &mut RowWriter,
    least: usize,
) -> Result<(), StoreError> {
    if rows.bytes().len() > least {
        server.insert(table, columns, rows)?;
        *rows = RowWriter::default();
    }
    Ok(())
}

impl Cluster {
    /// The samples of a month and a class, as the servers have them.
    fn written(&self, month: u32, class: &str) -> Result<Moved, StoreError> {
        let mut found = Moved::default();
        for server in &self.servers {
            // Day by day, so that no answer is too large.
            let range = crate::store::month::MonthName::numbered(month).range();
            let days = (range.start / DAY)..(range.end / DAY);
            for day in days {
                let mut rows = server.query(&format!(
                    "SELECT id, text, time, form, whole, number, message FROM {}.sample FINAL \
                     WHERE {} AND day = {day}",
                    self.database,
                    super::schema::partition(month, class)
                ))?;
                while rows.has_row() {
                    found.add(&read_fact(&mut rows)?);
                }
            }
        }
        Ok(found)
    }
}

fn read_fact(rows: &mut RowReader<'_>) -> Result<[u8; 32], StoreError> {
    let (id, time, volume) = (rows.id()?, rows.i64()?, rows.volume()?);
    Ok(fact(&id, time, volume, rows.i64()?))
}
