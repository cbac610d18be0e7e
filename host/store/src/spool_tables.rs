//! The tables of the spools: heads, which are read at the start, bodies, which are read when they
//! are sent, and what receivers have refused for good.

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::footprint::{Weights, length, weight};
use super::values::{bytes, unexpected};
use super::{Envelope, Manifest};
use nephometer_model::{Bound, Gap};
use nephometer_telemetry::Account;

/// A spool's name, and an envelope's number in it.
type Key<'a> = (&'a str, u64);

/// By spool: its counters and the next number.
const SPOOLS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("spools");
const HEADS: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("envelopes");
const BODIES: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("bodies");
const ASIDE: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("set_aside");

/// Bytes of envelopes that people are given at once, at most, if that is more than one.
const SHOWN: u64 = 4 << 20;

/// What is known of an envelope without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: [u8; 16],
    pub(super) address: String,
    pub(super) samples: u64,
    pub(super) offset: u64,
    /// What it weighs against the spool's bound, bytes.
    pub(super) weight: u64,
    /// Nanoseconds since the epoch: the newest of its samples.
    pub(super) time: u64,
    /// Those of a higher rank are dropped later.
    pub(super) rank: u8,
}

/// What one envelope is, besides its head.
#[derive(Debug, Deserialize)]
struct Body {
    manifest: Manifest,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// The same as it is written: nothing of it is copied first.
#[derive(Debug, Serialize)]
struct BodyRef<'a> {
    manifest: &'a Manifest,
    #[serde(with = "serde_bytes")]
    bytes: &'a [u8],
}

/// An envelope that a receiver has refused for good.
#[derive(Debug, Deserialize)]
struct Aside {
    reason: String,
    head: Head,
    body: Body,
}

/// The same as it is written.
#[derive(Debug, Serialize)]
struct AsideRef<'a> {
    reason: &'a str,
    head: &'a Head,
    body: BodyRef<'a>,
}

/// What one transaction changes in one spool.
#[derive(Debug, Default)]
pub(super) struct SpoolChange {
    pub(super) name: String,
    pub(super) added: Vec<(Head, Envelope)>,
    pub(super) removed: Vec<u64>,
    /// Refused for good, with the reason; they are in `removed`, too.
    pub(super) aside: Vec<(Head, Envelope, String)>,
    /// Taken from those that were set aside.
    pub(super) taken: Vec<u64>,
    /// What was given up.
    pub(super) gaps: Vec<Gap>,
    pub(super) account: Account,
    /// The number of the next envelope.
    pub(super) next: u64,
}

/// A spool as it was left.
#[derive(Debug, Default)]
pub(super) struct SpoolState {
    pub(super) account: Account,
    pub(super) next: u64,
    /// In their order.
    pub(super) heads: Vec<(u64, Head)>,
}

/// A spool as it was left, and the numbers of heads that cannot be read.
#[derive(Debug, Default)]
pub(super) struct StoredSpool {
    pub(super) left: SpoolState,
    pub(super) unreadable: Vec<u64>,
}

/// What is on disk under one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolSummary {
    /// The sink's name and the publisher's label.
    pub name: String,
    /// Envelopes that wait.
    pub held: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Nanoseconds since the epoch: of the oldest sample that waits.
    pub oldest: Option<u64>,
    /// Envelopes that the receiver has refused for good.
    pub set_aside: u64,
}

/// Makes the tables, so that reading finds them.
pub(super) fn begin(writing: &WriteTransaction) -> Result<(), redb::Error> {
    writing.open_table(SPOOLS)?;
    writing.open_table(HEADS)?;
    writing.open_table(BODIES)?;
    writing.open_table(ASIDE)?;
    Ok(())
}

/// All envelopes, with what they weigh.
pub(super) fn weigh(reading: &ReadTransaction, weights: &mut Weights) -> Result<(), redb::Error> {
    for head in reading.open_table(HEADS)?.iter()? {
        weights.add(weight_of(head?.1.value()));
    }
    for refused in reading.open_table(ASIDE)?.iter()? {
        let (key, refused) = refused?;
        weights.add_refused(key.value().0, length(refused.value()));
    }
    Ok(())
}

/// What a head says that its envelope weighs.
fn weight_of(head: &[u8]) -> i64 {
    postcard::from_bytes::<Head>(head).map_or(0, |head| weight(head.weight))
}

pub(super) fn write(
    writing: &WriteTransaction,
    change: &SpoolChange,
    weights: &mut Weights,
) -> Result<(), redb::Error> {
    let name = change.name.as_str();
    let mut heads = writing.open_table(HEADS)?;
    let mut bodies = writing.open_table(BODIES)?;
    for (head, envelope) in &change.added {
        let key = (name, envelope.sequence);
        let before = heads.insert(key, bytes(postcard::to_allocvec(head))?.as_slice())?;
        weights.add(weight(head.weight) - before.map_or(0, |head| weight_of(head.value())));
        bodies.insert(key, bytes(postcard::to_allocvec(&body(envelope)))?.as_slice())?;
    }
    for sequence in &change.removed {
        let head = heads.remove((name, *sequence))?;
        weights.add(-head.map_or(0, |head| weight_of(head.value())));
        bodies.remove((name, *sequence))?;
    }
    let mut aside = writing.open_table(ASIDE)?;
    for (head, envelope, reason) in &change.aside {
        let one = AsideRef { reason, head, body: body(envelope) };
        let stored = bytes(postcard::to_allocvec(&one))?;
        let before = aside.insert((name, envelope.sequence), stored.as_slice())?;
        if let Some(before) = before {
            weights.forget_refused(name, length(before.value()));
        }
        weights.add_refused(name, length(&stored));
    }
    for sequence in &change.taken {
        if let Some(taken) = aside.remove((name, *sequence))? {
            weights.forget_refused(name, length(taken.value()));
        }
    }
    make_room(&mut aside, weights)?;
    let record = (&change.account, change.next);
    let stored = bytes(postcard::to_allocvec(&record))?;
    writing.open_table(SPOOLS)?.insert(name, stored.as_slice())?;
    Ok(())
}

/// Past a bound, the oldest envelopes of the spool that has most of it make room: what one receiver
/// refuses costs no other its own.
fn make_room(
    aside: &mut Table<'_, Key<'static>, &'static [u8]>,
    weights: &mut Weights,
) -> Result<(), redb::Error> {
    loop {
        let most = if aside.len()? > Bound::Refused.most() {
            weights.most_refused(|refused| refused.count)
        } else if weights.refused_bytes() > weight(Bound::RefusedBytes.most()) {
            weights.most_refused(|refused| refused.bytes)
        } else {
            return Ok(());
        };
        let Some(name) = most else { return Ok(()) };
        let oldest = aside.range((&*name, 0)..=(&*name, u64::MAX))?.next().transpose()?;
        let Some(sequence) = oldest.map(|(key, _)| key.value().1) else { return Ok(()) };
        if let Some(left) = aside.remove((&*name, sequence))? {
            weights.forget_refused(&name, length(left.value()));
        }
    }
}

fn body(envelope: &Envelope) -> BodyRef<'_> {
    BodyRef { manifest: &envelope.manifest, bytes: &envelope.body }
}

fn whole(sequence: u64, head: &Head, body: Body) -> Envelope {
    Envelope {
        id: uuid::Uuid::from_bytes(head.id),
        address: head.address.as_str().into(),
        body: body.bytes.into(),
        samples: head.samples,
        offset: head.offset,
        sequence,
        manifest: body.manifest.into(),
        batch: None,
    }
}

/// A spool as it was left. A record that cannot be read is an error: nobody else knows the next
/// number.
pub(super) fn spool(reading: &ReadTransaction, name: &str) -> Result<StoredSpool, redb::Error> {
    let record = reading.open_table(SPOOLS)?.get(name)?;
    let record: Option<(Account, u64)> = match record {
        Some(bytes) => Some(postcard::from_bytes(bytes.value()).map_err(|error| {
            redb::Error::Corrupted(format!("the record of the spool {name}: {error}"))
        })?),
        None => None,
    };
    let (account, next) = record.unwrap_or_default();
    let (mut heads, mut unreadable) = (Vec::new(), Vec::new());
    for entry in reading.open_table(HEADS)?.range((name, 0)..=(name, u64::MAX))? {
        let (key, bytes) = entry?;
        let sequence = key.value().1;
        match postcard::from_bytes(bytes.value()) {
            Ok(head) => heads.push((sequence, head)),
            Err(_) => unreadable.push(sequence),
        }
    }
    let last = heads.last().map_or(0, |(sequence, _)| *sequence);
    let last = last.max(unreadable.last().copied().unwrap_or(0));
    Ok(StoredSpool { left: SpoolState { account, next: next.max(last + 1), heads }, unreadable })
}

/// The envelopes with these numbers; `None` for one that cannot be read.
pub(super) fn envelopes(
    reading: &ReadTransaction,
    name: &str,
    wanted: &[(u64, Head)],
) -> Result<Vec<Option<Envelope>>, redb::Error> {
    let table = reading.open_table(BODIES)?;
    let read = |(sequence, head): &(u64, Head)| {
        let found = table.get((name, *sequence))?;
        let body = found.and_then(|bytes| postcard::from_bytes(bytes.value()).ok());
        Ok(body.map(|body| whole(*sequence, head, body)))
    };
    wanted.iter().map(read).collect()
}

/// Up to `count` of those that wait behind a number; what cannot be read is left out.
pub(super) fn waiting(
    reading: &ReadTransaction,
    name: &str,
    after: u64,
    count: usize,
) -> Result<Vec<Envelope>, redb::Error> {
    let (heads, bodies) = (reading.open_table(HEADS)?, reading.open_table(BODIES)?);
    let mut found = Vec::new();
    for entry in heads.range((name, after + 1)..=(name, u64::MAX))? {
        let (key, bytes) = entry?;
        let body = bodies.get(key.value())?;
        let body = body.and_then(|bytes| postcard::from_bytes(bytes.value()).ok());
        if let (Ok(head), Some(body)) = (postcard::from_bytes::<Head>(bytes.value()), body) {
            found.push(whole(key.value().1, &head, body));
        }
        if found.len() == count || shown(&found) > SHOWN {
            break;
        }
    }
    Ok(found)
}

/// Up to `count` of what was set aside in a spool, behind a number, with the reasons.
pub(super) fn aside(
    reading: &ReadTransaction,
    name: &str,
    after: u64,
    count: usize,
) -> Result<Vec<(Envelope, String)>, redb::Error> {
    let table = reading.open_table(ASIDE)?;
    let mut found = Vec::new();
    for entry in table.range((name, after + 1)..=(name, u64::MAX))?.take(count) {
        let (key, bytes) = entry?;
        let one: Aside = postcard::from_bytes(bytes.value()).map_err(unexpected)?;
        found.push((whole(key.value().1, &one.head, one.body), one.reason));
        if found.iter().map(|(one, _)| one.body.len() as u64).sum::<u64>() > SHOWN {
            break;
        }
    }
    Ok(found)
}

fn shown(found: &[Envelope]) -> u64 {
    found.iter().map(|envelope| envelope.body.len() as u64).sum()
}

/// All spools, by name.
pub(super) fn spools(reading: &ReadTransaction) -> Result<Vec<SpoolSummary>, redb::Error> {
    let (heads, aside) = (reading.open_table(HEADS)?, reading.open_table(ASIDE)?);
    let mut all = Vec::new();
    for entry in reading.open_table(SPOOLS)?.iter()? {
        let name = entry?.0.value().to_owned();
        let range = (name.as_str(), 0)..=(name.as_str(), u64::MAX);
        let set_aside = aside.range(range.clone())?.count() as u64;
        let mut summary = SpoolSummary { set_aside, ..SpoolSummary::default() };
        for head in heads.range(range)? {
            let bytes = head?.1;
            let Ok(head) = postcard::from_bytes::<Head>(bytes.value()) else { continue };
            summary.held += 1;
            summary.samples += head.samples;
            summary.bytes += head.weight;
            summary.oldest = Some(summary.oldest.map_or(head.time, |time| time.min(head.time)));
        }
        summary.name = name;
        all.push(summary);
    }
    Ok(all)
}
