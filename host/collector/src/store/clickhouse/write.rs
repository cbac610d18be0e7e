//! Writes a group: first what samples name, then the samples, then what depends on whether they are new.
//! Every step can be repeated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher as _;

use nephometer_model::Timestamp;
use nephometer_proof::Digest;
use serde_json::json;

use super::client::ClickHouseServer;
use super::ledger::LedgerState;
use super::wire::{RowWriter, id_columns, quoted};
use super::{ClickHouseStore, Cluster};
use crate::message::{ReadMessage, StreamPlace};
use crate::sample::{Measurement, MeterKey, OwnerKey, Refusal, SampleId};
use crate::store::month::MonthNames;
use crate::store::retention::{class_of, outside};
use crate::store::selection::micros;
use crate::store::{Committed, DeadLetter, Group, StoreError, age};

/// Revisions that are kept in memory. Beyond it they are looked up again.
const MOST: usize = 1_000_000;
pub(super) const HOUR: i64 = 3_600_000_000;
pub(super) const DAY: i64 = 86_400_000_000;
pub(super) const SAMPLE: &str = "month, class, meter, unit, kind, resource_id, project_id, user_id, source, \
    owner, day, time, id, text, form, whole, number, revision, stream, origin, message, arrived, \
    late, version";

/// Numbers of metadata by month, owner and digest.
#[derive(Default)]
pub(super) struct RevisionNumbers {
    revisions: HashMap<RevisionKey, u64>,
    /// How often metadata were erased: what was known before is not used any more.
    erased: i64,
    numbers: std::hash::RandomState,
    last: u64,
}

type RevisionKey = (u32, OwnerKey, [u8; 32]);

/// A sample of a group that is within the window, and where it belongs.
struct Placed<'g> {
    message: usize,
    sample: std::borrow::Cow<'g, Measurement>,
    server: usize,
    month: u32,
    class: &'g str,
    time: i64,
}

impl Placed<'_> {
    fn hour(&self) -> u32 {
        u32::try_from(self.time.div_euclid(HOUR)).unwrap_or(0)
    }
}

/// What a group becomes.
struct Placing<'g> {
    samples: Vec<Placed<'g>>,
    /// By message.
    refused: Vec<BTreeMap<&'static str, u64>>,
}

/// Ids that are stored, with the message that they came in.
type StoredIds = HashMap<(u32, SampleId), i64>;

/// The rows for one server.
#[derive(Default)]
struct Rows {
    samples: RowWriter,
    repeated: RowWriter,
    /// Hours of samples that were found: a server that was killed may not have marked them.
    found: BTreeSet<(u32, String, u32)>,
}

impl ClickHouseStore {
    /// See [`crate::store::Storage::write`].
    pub(super) fn write_group(
        &mut self,
        group: &Group,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        let state = self.cluster.ledger_state()?;
        if state.erasures != self.catalogue.erased {
            self.catalogue.revisions.clear();
            self.catalogue.erased = state.erasures;
        }
        let keep = self.keep.clone();
        let Placing { samples, refused } = place(&self.cluster, &keep, group, (&state, now));
        let mut committed = Committed::default();
        for (reason, count) in refused.iter().flatten() {
            *committed.refused.entry(reason).or_default() += count;
        }
        self.revisions(&samples)?;
        self.messages(group, &refused, now)?;
        let mut known: Vec<StoredIds> = Vec::new();
        for (at, server) in self.cluster.servers.iter().enumerate() {
            known.push(self.cluster.known(server, samples.iter().filter(|one| one.server == at))?);
        }
        let mut rows: Vec<Rows> = self.cluster.servers.iter().map(|_| Rows::default()).collect();
        let ids: Vec<i64> = group.messages.iter().map(message_id).collect();
        for one in &samples {
            let (id, rows) = (ids[one.message], &mut rows[one.server]);
            let key = (one.hour(), one.sample.id.clone());
            if let Some(first) = known[one.server].get(&key) {
                committed.duplicates += 1;
                rows.found(one, (*first, id), group.messages[one.message].place.as_ref());
                continue;
            }
            known[one.server].insert(key, id);
            let late = state.closed.contains(&one.month);
            let key = (one.month, one.sample.owner.clone(), one.sample.metadata.digest);
            let revision = self.catalogue.revisions.get(&key).copied().unwrap_or(0);
            rows.sample(one, &group.messages[one.message], [id, micros(now)], (revision, late));
            committed.stored += 1;
            committed.corrections += u64::from(late);
            committed.oldest = committed.oldest.max(Some(age(now, one.sample.time)));
        }
        for (server, rows) in self.cluster.servers.iter().zip(&rows) {
            rows.insert(server)?;
        }
        committed.letters = self.cluster.write_ledger(group, &committed, (&state, now))?;
        Ok(committed)
    }

    /// Makes sure that the metadata of samples are stored, and known by their numbers.
    fn revisions(&mut self, samples: &[Placed<'_>]) -> Result<(), StoreError> {
        let catalogue = &mut self.catalogue;
        if catalogue.revisions.len() > MOST {
            catalogue.revisions.clear();
        }
        for (at, server) in self.cluster.servers.iter().enumerate() {
            let here = || samples.iter().filter(|one| one.server == at);
            let missing = |catalogue: &RevisionNumbers| -> Vec<&Placed<'_>> {
                here().filter(|one| !catalogue.revisions.contains_key(&key_of(one))).collect()
            };
            let unknown = missing(catalogue);
            if unknown.is_empty() {
                continue;
            }
            self.cluster.read_revisions(server, &unknown, catalogue)?;
            let mut rows = RowWriter::default();
            for one in missing(catalogue) {
                if catalogue.revisions.contains_key(&key_of(one)) {
                    continue;
                }
                let number = catalogue.number();
                let owner = &one.sample.owner;
                rows.u32(one.month).text(&owner.resource_id).u64(number);
                rows.optional(owner.project_id.as_deref()).text(&one.sample.metadata.text).u64(1);
                catalogue.revisions.insert(key_of(one), number);
            }
            let columns = "month, resource_id, id, project_id, metadata, version";
            let written = server.insert("revision", columns, &rows);
            if written.is_err() {
                // What may be missing must not be named.
                catalogue.revisions.clear();
            }
            written?;
        }
        Ok(())
    }

    /// Stores the messages of streams, with their links and records; also those that could not be read.
    fn messages(
        &self,
        group: &Group,
        refused: &[BTreeMap<&'static str, u64>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut rows: Vec<RowWriter> =
            self.cluster.servers.iter().map(|_| RowWriter::default()).collect();
        let unread: Vec<ReadMessage> = group.letters.iter().filter_map(unread).collect();
        let unreadable = BTreeMap::from([("unreadable", 1)]);
        let read = group.messages.iter().zip(refused);
        for (message, refused) in read.chain(unread.iter().map(|one| (one, &unreadable))) {
            let Some(place) = &message.place else { continue };
            let server = self.cluster.place_of(place.stream.as_bytes());
            message_row(&mut rows[server], message, place, (refused, now));
        }
        for (server, rows) in self.cluster.servers.iter().zip(&rows) {
            server.insert("message", MESSAGE, rows)?;
        }
        Ok(())
    }
}

impl RevisionNumbers {
    /// A number that nobody else has. It has nothing of the text: whoever guesses a name can compare
    /// nothing.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.numbers.hash_one(self.last).max(1)
    }
}

fn key_of(one: &Placed<'_>) -> RevisionKey {
    (one.month, one.sample.owner.clone(), one.sample.metadata.digest)
}

/// Divides a group by servers, and refuses samples outside the window.
fn place<'g>(
    cluster: &Cluster,
    keep: &'g nephometer_config::KeepSpec,
    group: &'g Group,
    (state, now): (&LedgerState, Timestamp),
) -> Placing<'g> {
    let (mut months, mut classes) = (MonthNames::default(), HashMap::new());
    let mut placing = Placing { samples: Vec::new(), refused: Vec::new() };
    for (number, message) in group.messages.iter().enumerate() {
        let mut refused = BTreeMap::new();
        let mut refuse = |refusal: Refusal| *refused.entry(refusal.as_str()).or_default() += 1;
        message.refused.iter().for_each(|sample| refuse(sample.refusal));
        for sample in &message.samples {
            if let Some(refusal) = outside(keep, sample, group.rule, now) {
                refuse(refusal);
                continue;
            }
            let name = &*sample.meter.name;
            let class = *classes.entry(name).or_insert_with(|| class_of(keep, name));
            let time = micros(sample.time);
            let project = sample.owner.project_id.as_deref();
            let nameless = project.is_some_and(|project| state.erasing.contains(project));
            placing.samples.push(Placed {
                message: number,
                server: cluster.place_of(sample.owner.resource_id.as_bytes()),
                month: months.of(time).number(),
                class,
                time,
                sample: if nameless {
                    std::borrow::Cow::Owned(sample.nameless())
                } else {
                    std::borrow::Cow::Borrowed(sample)
                },
            });
        }
        placing.refused.push(refused);
    }
    placing
}

impl Cluster {
    /// Which samples are stored already.
    fn known<'p>(
        &self,
        server: &ClickHouseServer,
        samples: impl Iterator<Item = &'p Placed<'p>>,
    ) -> Result<StoredIds, StoreError> {
        let (mut hours, mut ids, mut count) = (BTreeMap::new(), String::new(), 0);
        for one in samples {
            hours.insert(one.hour(), one.month);
            ids.push_str(&hex::encode(id_columns(&one.sample.id).0));
            count += 1;
        }
        let mut known: HashMap<(u32, SampleId), (i64, u64)> = HashMap::new();
        if count > 0 {
            let months: BTreeSet<&u32> = hours.values().collect();
            let mut rows = server.query(&format!(
                "SELECT hour, id, text, message, version FROM {}.seen \
                 WHERE month IN ({}) AND hour IN ({}) AND id IN (SELECT \
                 toFixedString(substring(unhex('{ids}'), number * 16 + 1, 16), 16) \
                 FROM (SELECT number FROM system.numbers LIMIT {count}))",
                self.database,
                listed(months),
                listed(hours.keys()),
            ))?;
            while rows.has_row() {
                let (hour, id, message) = (rows.u32()?, rows.id()?, rows.i64()?);
                let version = rows.u64()?;
                let entry = known.entry((hour, id)).or_insert((message, version));
                if entry.1 < version {
                    *entry = (message, version);
                }
            }
        }
        Ok(known.into_iter().map(|(key, (message, _))| (key, message)).collect())
    }

    /// Reads the metadata that resources have already.
    fn read_revisions(
        &self,
        server: &ClickHouseServer,
        unknown: &[&Placed<'_>],
        catalogue: &mut RevisionNumbers,
    ) -> Result<(), StoreError> {
        let months: BTreeSet<u32> = unknown.iter().map(|one| one.month).collect();
        let owners: HashMap<(&str, Option<&str>), &OwnerKey> = unknown
            .iter()
            .map(|one| &one.sample.owner)
            .map(|owner| ((&*owner.resource_id, owner.project_id.as_deref()), owner))
            .collect();
        let resources: BTreeSet<String> =
            owners.keys().map(|(resource, _)| quoted(resource)).collect();
        let mut rows = server.query(&format!(
            "SELECT month, resource_id, id, project_id, metadata FROM {}.revision FINAL \
             WHERE month IN ({}) AND resource_id IN ({})",
            self.database,
            listed(&months),
            listed(&resources),
        ))?;
        while rows.has_row() {
            let (month, resource, number) = (rows.u32()?, rows.text()?, rows.u64()?);
            let (project, digest) = (rows.optional()?, *Digest::of(rows.blob()?).as_bytes());
            if let Some(owner) = owners.get(&(&*resource, project.as_deref())) {
                let key = (month, (*owner).clone(), digest);
                catalogue.revisions.entry(key).or_insert(number);
            }
        }
        Ok(())
    }
}

/// Values with commas between them.
pub(super) fn listed<T: std::fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// The earliest row of several wins.
pub(super) fn earliest(arrived: i64) -> u64 {
    (1 << 62) - u64::try_from(arrived).unwrap_or(0)
}

impl Rows {
    fn sample(
        &mut self,
        one: &Placed<'_>,
        message: &ReadMessage,
        [id, arrived]: [i64; 2],
        (revision, late): (u64, bool),
    ) {
        let Measurement { meter, owner, volume, .. } = &*one.sample;
        let stream = message.place.as_ref().map_or([0; 16], |place| *place.stream.as_bytes());
        let day = u16::try_from(one.time.div_euclid(DAY)).unwrap_or(0);
        let rows = &mut self.samples;
        rows.u32(one.month).text(one.class).text(&meter.name).text(&meter.unit).text(meter.kind);
        rows.text(&owner.resource_id).optional(owner.project_id.as_deref());
        rows.optional(owner.user_id.as_deref()).text(&owner.source);
        rows.u64(owner_number(owner, meter));
        rows.u16(day).i64(one.time).id(&one.sample.id).volume(*volume).u64(revision);
        rows.fixed(&stream).text(&message.origin).i64(id).i64(arrived).u8(u8::from(late));
        rows.u64(earliest(arrived));
    }

    /// A sample that is stored already, from the first of these messages.
    fn found(&mut self, one: &Placed<'_>, (first, id): (i64, i64), place: Option<&StreamPlace>) {
        self.found.insert((one.month, one.class.to_owned(), one.hour()));
        if let Some(place) = place.filter(|_| first != id) {
            let rows = &mut self.repeated;
            rows.u32(one.month).fixed(place.stream.as_bytes()).i64(id).u32(one.hour());
            rows.id(&one.sample.id).u64(1);
        }
    }

    fn insert(&self, server: &ClickHouseServer) -> Result<(), StoreError> {
        server.insert("sample", SAMPLE, &self.samples)?;
        let columns = "month, stream, message, hour, id, text, version";
        server.insert("repeated", columns, &self.repeated)?;
        let mut marks = RowWriter::default();
        for (month, class, hour) in &self.found {
            marks.u32(*month).text(class).u32(*hour).u64(1);
        }
        server.insert("touched", "month, class, hour, marks", &marks)
    }
}

/// A digest of what a series has besides its meter and its resource.
pub(super) fn owner_number(owner: &OwnerKey, meter: &MeterKey) -> u64 {
    let OwnerKey { project_id, user_id, source, .. } = owner;
    let text = json!([project_id, user_id, source, meter.unit, meter.kind]);
    first_number(&Digest::of(text.to_string().as_bytes()))
}

pub(super) fn first_number(digest: &Digest) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

fn message_id(message: &ReadMessage) -> i64 {
    message_number(message.place.as_ref(), &message.body, &message.origin)
}

/// The number of a message; without a stream, that of its origin.
pub(super) fn message_number(place: Option<&StreamPlace>, body: &Digest, origin: &str) -> i64 {
    let digest = match place {
        None => Digest::of(origin.as_bytes()),
        Some(place) => {
            let mut text = place.stream.as_bytes().to_vec();
            text.extend(place.sequence.to_le_bytes());
            text.extend(body.as_bytes());
            Digest::of(&text)
        }
    };
    first_number(&digest).cast_signed()
}

/// A message of a stream that could not be read, without samples.
fn unread(letter: &DeadLetter) -> Option<ReadMessage> {
    let place = Some(letter.place.clone()?);
    let (origin, body) = (letter.origin.clone(), Digest::of(&letter.body));
    Some(ReadMessage { origin, place, body, ..ReadMessage::posted(Vec::new()) })
}

pub(super) const MESSAGE: &str = "month, stream, sequence, body, message, arrived, origin, event_type, samples, \
    previous, digest, record, refused, version";

/// A message that arrives again without refusals replaces the one before: a dead letter that can be
/// read now, or samples whose secret is known now.
fn message_row(
    rows: &mut RowWriter,
    message: &ReadMessage,
    place: &StreamPlace,
    (refused, now): (&BTreeMap<&'static str, u64>, Timestamp),
) {
    let arrived = micros(now);
    let month = crate::store::month::MonthName::of(arrived).number();
    let whole = if refused.is_empty() { 1 << 62 } else { 0 };
    let refused = if refused.is_empty() { String::new() } else { json!(refused).to_string() };
    rows.u32(month).fixed(place.stream.as_bytes()).u64(place.sequence);
    rows.fixed(message.body.as_bytes()).i64(message_id(message)).i64(arrived);
    rows.text(&message.origin).text(&message.event_type);
    rows.u32(u32::try_from(message.samples.len()).unwrap_or(u32::MAX));
    rows.fixed(place.previous.as_bytes()).fixed(place.digest.as_bytes());
    rows.text(message.record.as_deref().unwrap_or_default()).text(&refused);
    rows.u64(whole + earliest(arrived));
}
