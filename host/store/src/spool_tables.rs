//! The tables of spools: heads, which are read at the start, bodies, which are read when they are
//! sent, and rejected envelopes.

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::footprint::{StoredBytes, length, signed};
use super::stream::StoredStream;
use super::values::{encoded, unexpected};
use super::{Envelope, Manifest};
use nephometer_model::{Bound, Gap, Timestamp};
use nephometer_proof::{Digest, Link};
use nephometer_telemetry::Account;

/// Name of the spool, and sequence number of the envelope.
type Key<'a> = (&'a str, u64);

/// By spool: its counters and the next sequence number, followed by its [`StoredStream`] if it has
/// one. Formats before streams end earlier.
const SPOOLS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("spools");
const HEADS: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("envelopes");
/// A [`Body`], followed by the 64 bytes of a link if the envelope has one.
const BODIES: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("bodies");
const REJECTED: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("set_aside");

/// Bytes of envelopes in one page of a listing, unless a single envelope is larger.
const PAGE_BYTES: u64 = 4 << 20;

/// What is known of an envelope without reading its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EnvelopeHead {
    pub(super) id: [u8; 16],
    pub(super) address: String,
    pub(super) samples: u64,
    pub(super) offset: u64,
    /// What counts against the bound of the spool, bytes.
    pub(super) weight: u64,
    /// Time of the newest sample, nanoseconds since the epoch.
    pub(super) time: u64,
    /// Envelopes of a higher rank are evicted later.
    pub(super) rank: u8,
}

/// The rest of an envelope.
#[derive(Debug, Deserialize)]
struct Body {
    manifest: Manifest,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// A [`Body`] as it is written, without a copy.
#[derive(Debug, Serialize)]
struct BodyRef<'a> {
    manifest: &'a Manifest,
    #[serde(with = "serde_bytes")]
    bytes: &'a [u8],
}

/// An envelope that its receiver has rejected.
#[derive(Debug, Deserialize)]
struct RejectedEnvelope {
    reason: String,
    head: EnvelopeHead,
    body: Body,
}

/// A [`RejectedEnvelope`] as it is written, without a copy.
#[derive(Debug, Serialize)]
struct RejectedEnvelopeRef<'a> {
    reason: &'a str,
    head: &'a EnvelopeHead,
    body: BodyRef<'a>,
}

/// What one transaction changes in one spool.
#[derive(Debug, Default)]
pub(super) struct SpoolChange {
    pub(super) name: String,
    pub(super) added: Vec<(EnvelopeHead, Envelope)>,
    pub(super) removed: Vec<u64>,
    /// Rejected envelopes with the reason; they are in `removed`, too.
    pub(super) rejected: Vec<(EnvelopeHead, Envelope, String)>,
    /// Rejected envelopes that are requeued elsewhere.
    pub(super) requeued: Vec<u64>,
    /// Gaps of dropped envelopes.
    pub(super) gaps: Vec<Gap>,
    pub(super) account: Account,
    /// The next sequence number.
    pub(super) next: u64,
    pub(super) stream: Option<StoredStream>,
}

/// A spool as it is on disk.
#[derive(Debug, Default)]
pub(super) struct StoredSpool {
    pub(super) account: Account,
    /// The next sequence number.
    pub(super) next: u64,
    pub(super) stream: Option<StoredStream>,
    /// Heads of the pending envelopes, in order.
    pub(super) heads: Vec<(u64, EnvelopeHead)>,
    /// Sequence numbers of heads that cannot be decoded.
    pub(super) unreadable: Vec<u64>,
}

/// The contents of one spool on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolSummary {
    /// Name of the sink and label of the publisher.
    pub name: String,
    /// Number of pending envelopes.
    pub pending: u64,
    /// Samples in the pending envelopes.
    pub samples: u64,
    /// Bytes of the pending envelopes.
    pub bytes: u64,
    /// Time of the newest sample of the oldest pending envelope, nanoseconds since the epoch.
    pub oldest: Option<u64>,
    /// Number of rejected envelopes.
    pub rejected: u64,
}

/// Creates the tables, so that readers find them.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(SPOOLS)?;
    transaction.open_table(HEADS)?;
    transaction.open_table(BODIES)?;
    transaction.open_table(REJECTED)?;
    Ok(())
}

/// Adds the size of all envelopes.
pub(super) fn measure(
    transaction: &ReadTransaction,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    for head in transaction.open_table(HEADS)?.iter()? {
        stored.add(weight_in(head?.1.value()));
    }
    for rejected in transaction.open_table(REJECTED)?.iter()? {
        let (key, rejected) = rejected?;
        stored.add_rejected(key.value().0, length(rejected.value()));
    }
    Ok(())
}

/// The weight in an encoded head; 0 if it cannot be decoded.
fn weight_in(head: &[u8]) -> i64 {
    postcard::from_bytes::<EnvelopeHead>(head).map_or(0, |head| signed(head.weight))
}

pub(super) fn write(
    transaction: &WriteTransaction,
    change: &SpoolChange,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    let name = change.name.as_str();
    let mut heads = transaction.open_table(HEADS)?;
    let mut bodies = transaction.open_table(BODIES)?;
    for (head, envelope) in &change.added {
        let key = (name, envelope.sequence);
        let before = heads.insert(key, encoded(postcard::to_allocvec(head))?.as_slice())?;
        stored.add(signed(head.weight) - before.map_or(0, |head| weight_in(head.value())));
        let mut value = encoded(postcard::to_allocvec(&body(envelope)))?;
        if let Some(Link { previous, digest }) = &envelope.link {
            value.extend_from_slice(previous.as_bytes());
            value.extend_from_slice(digest.as_bytes());
        }
        bodies.insert(key, value.as_slice())?;
    }
    for sequence in &change.removed {
        let head = heads.remove((name, *sequence))?;
        stored.add(-head.map_or(0, |head| weight_in(head.value())));
        bodies.remove((name, *sequence))?;
    }
    let mut rejected = transaction.open_table(REJECTED)?;
    for (head, envelope, reason) in &change.rejected {
        let one = RejectedEnvelopeRef { reason, head, body: body(envelope) };
        let value = encoded(postcard::to_allocvec(&one))?;
        let before = rejected.insert((name, envelope.sequence), value.as_slice())?;
        if let Some(before) = before {
            stored.remove_rejected(name, length(before.value()));
        }
        stored.add_rejected(name, length(&value));
    }
    for sequence in &change.requeued {
        if let Some(requeued) = rejected.remove((name, *sequence))? {
            stored.remove_rejected(name, length(requeued.value()));
        }
    }
    evict_rejected(&mut rejected, stored)?;
    let record = (&change.account, change.next);
    let mut value = encoded(postcard::to_allocvec(&record))?;
    if let Some(stream) = &change.stream {
        value.append(&mut encoded(postcard::to_allocvec(stream))?);
    }
    transaction.open_table(SPOOLS)?.insert(name, value.as_slice())?;
    Ok(())
}

/// Past a bound, removes the oldest rejected envelopes of the spool that has most of them: a receiver
/// that rejects everything never evicts what others have rejected.
fn evict_rejected(
    rejected: &mut Table<'_, Key<'static>, &'static [u8]>,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    loop {
        let most = if rejected.len()? > Bound::Refused.most() {
            stored.most_rejected(|totals| totals.count)
        } else if stored.rejected_bytes() > signed(Bound::RefusedBytes.most()) {
            stored.most_rejected(|totals| totals.bytes)
        } else {
            return Ok(());
        };
        let Some(name) = most else { return Ok(()) };
        let oldest = rejected.range((&*name, 0)..=(&*name, u64::MAX))?.next().transpose()?;
        let Some(sequence) = oldest.map(|(key, _)| key.value().1) else { return Ok(()) };
        if let Some(evicted) = rejected.remove((&*name, sequence))? {
            stored.remove_rejected(&name, length(evicted.value()));
        }
    }
}

fn body(envelope: &Envelope) -> BodyRef<'_> {
    BodyRef { manifest: &envelope.manifest, bytes: &envelope.body }
}

/// Decodes a value of [`BODIES`].
fn decode_body(value: &[u8]) -> Option<(Body, Option<Link>)> {
    let (body, rest) = postcard::take_from_bytes(value).ok()?;
    let link = rest.as_chunks().0;
    let link = match link {
        [previous, digest] => Some(Link {
            previous: Digest::from_bytes(*previous),
            digest: Digest::from_bytes(*digest),
        }),
        _ => None,
    };
    Some((body, link))
}

fn assemble(sequence: u64, head: &EnvelopeHead, (body, link): (Body, Option<Link>)) -> Envelope {
    Envelope {
        id: uuid::Uuid::from_bytes(head.id),
        address: head.address.as_str().into(),
        body: body.bytes.into(),
        samples: head.samples,
        offset: head.offset,
        sequence,
        manifest: body.manifest.into(),
        batch: None,
        link,
        time: Timestamp::from_nanos(head.time),
    }
}

/// A spool as it is on disk. A record that cannot be decoded is an error: the next sequence number is
/// stored nowhere else.
pub(super) fn spool(transaction: &ReadTransaction, name: &str) -> Result<StoredSpool, redb::Error> {
    let record = transaction.open_table(SPOOLS)?.get(name)?;
    let damaged = |error| {
        redb::Error::Corrupted(format!("cannot decode the record of spool {name}: {error}"))
    };
    let ((account, next), stream) = match record {
        Some(bytes) => {
            let (record, rest) =
                postcard::take_from_bytes::<(Account, u64)>(bytes.value()).map_err(damaged)?;
            let stream = (!rest.is_empty()).then(|| postcard::from_bytes(rest)).transpose();
            (record, stream.map_err(damaged)?)
        }
        None => Default::default(),
    };
    let (mut heads, mut unreadable) = (Vec::new(), Vec::new());
    for entry in transaction.open_table(HEADS)?.range((name, 0)..=(name, u64::MAX))? {
        let (key, bytes) = entry?;
        let sequence = key.value().1;
        match postcard::from_bytes(bytes.value()) {
            Ok(head) => heads.push((sequence, head)),
            Err(_) => unreadable.push(sequence),
        }
    }
    let last = heads.last().map_or(0, |(sequence, _)| *sequence);
    let last = last.max(unreadable.last().copied().unwrap_or(0));
    Ok(StoredSpool { account, next: next.max(last + 1), stream, heads, unreadable })
}

/// The pending envelopes with these heads; `None` for one that cannot be decoded.
pub(super) fn envelopes(
    transaction: &ReadTransaction,
    name: &str,
    heads: &[(u64, EnvelopeHead)],
) -> Result<Vec<Option<Envelope>>, redb::Error> {
    let table = transaction.open_table(BODIES)?;
    let read = |(sequence, head): &(u64, EnvelopeHead)| {
        let found = table.get((name, *sequence))?;
        let body = found.and_then(|bytes| decode_body(bytes.value()));
        Ok(body.map(|body| assemble(*sequence, head, body)))
    };
    heads.iter().map(read).collect()
}

/// Up to `count` pending envelopes after a sequence number; those that cannot be decoded are left out.
pub(super) fn pending_page(
    transaction: &ReadTransaction,
    name: &str,
    after: u64,
    count: usize,
) -> Result<Vec<Envelope>, redb::Error> {
    let (heads, bodies) = (transaction.open_table(HEADS)?, transaction.open_table(BODIES)?);
    let mut found = Vec::new();
    for entry in heads.range((name, after + 1)..=(name, u64::MAX))? {
        let (key, bytes) = entry?;
        let body = bodies.get(key.value())?;
        let body = body.and_then(|bytes| decode_body(bytes.value()));
        if let (Ok(head), Some(body)) = (postcard::from_bytes::<EnvelopeHead>(bytes.value()), body)
        {
            found.push(assemble(key.value().1, &head, body));
        }
        if found.len() == count || body_bytes(&found) > PAGE_BYTES {
            break;
        }
    }
    Ok(found)
}

/// Up to `count` rejected envelopes of a spool after a sequence number, with the reasons.
pub(super) fn rejected_page(
    transaction: &ReadTransaction,
    name: &str,
    after: u64,
    count: usize,
) -> Result<Vec<(Envelope, String)>, redb::Error> {
    let table = transaction.open_table(REJECTED)?;
    let mut found = Vec::new();
    for entry in table.range((name, after + 1)..=(name, u64::MAX))?.take(count) {
        let (key, bytes) = entry?;
        let one: RejectedEnvelope = postcard::from_bytes(bytes.value()).map_err(unexpected)?;
        found.push((assemble(key.value().1, &one.head, (one.body, None)), one.reason));
        if found.iter().map(|(one, _)| one.body.len() as u64).sum::<u64>() > PAGE_BYTES {
            break;
        }
    }
    Ok(found)
}

fn body_bytes(envelopes: &[Envelope]) -> u64 {
    envelopes.iter().map(|envelope| envelope.body.len() as u64).sum()
}

/// All spools, by name.
pub(super) fn spools(transaction: &ReadTransaction) -> Result<Vec<SpoolSummary>, redb::Error> {
    let heads = transaction.open_table(HEADS)?;
    let rejected = transaction.open_table(REJECTED)?;
    let mut summaries = Vec::new();
    for entry in transaction.open_table(SPOOLS)?.iter()? {
        let name = entry?.0.value().to_owned();
        let range = (name.as_str(), 0)..=(name.as_str(), u64::MAX);
        let rejected = rejected.range(range.clone())?.count() as u64;
        let mut summary = SpoolSummary { rejected, ..SpoolSummary::default() };
        for head in heads.range(range)? {
            let bytes = head?.1;
            let Ok(head) = postcard::from_bytes::<EnvelopeHead>(bytes.value()) else { continue };
            summary.pending += 1;
            summary.samples += head.samples;
            summary.bytes += head.weight;
            summary.oldest = Some(summary.oldest.map_or(head.time, |time| time.min(head.time)));
        }
        summary.name = name;
        summaries.push(summary);
    }
    Ok(summaries)
}
