//! What the store knows of the agents that send: their streams, and what these state and declare.
//!
//! All of it is what messages state about themselves. Signatures of records are not checked here;
//! `docs/proof.md` describes how.

use nephometer_model::Timestamp;
use nephometer_proof::{Checkpoint, DeclaredDrop, Record, SignedRecord, Statement};
use uuid::Uuid;

use super::selection::Selection;

/// A stream, as its messages have it.
#[derive(Debug, Clone)]
pub(crate) struct SenderStream {
    pub(crate) stream: Uuid,
    /// When its newest message arrived.
    pub(crate) arrived: Timestamp,
    /// The newest checkpoint.
    pub(crate) checkpoint: Option<ArrivedCheckpoint>,
    /// The newest statement.
    pub(crate) statement: Option<Statement>,
    /// What it has declared as dropped in the time that was asked for.
    pub(crate) drops: Vec<DeclaredDrop>,
}

/// A checkpoint, which ends each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArrivedCheckpoint {
    pub(crate) arrived: Timestamp,
    /// The start of the polling cycle.
    pub(crate) cycle: Timestamp,
}

impl SenderStream {
    pub(crate) fn new(stream: Uuid) -> Self {
        let arrived = Timestamp::from_nanos(0);
        Self { stream, arrived, checkpoint: None, statement: None, drops: Vec::new() }
    }

    /// Takes one of the newest messages.
    pub(crate) fn newest(&mut self, arrived: Timestamp, record: Option<&str>) {
        self.arrived = self.arrived.max(arrived);
        let Some(Record::Checkpoint(Checkpoint { time, .. })) = record.and_then(record_of) else {
            return;
        };
        let newer = self.checkpoint.is_none_or(|known| known.arrived < arrived);
        if let Some(cycle) = Timestamp::parse(&time).ok().filter(|_| newer) {
            self.checkpoint = Some(ArrivedCheckpoint { arrived, cycle });
        }
    }

    /// Takes a statement or a declaration, newest first. Drops that were declared before `since` are
    /// left out. False if no earlier record is needed.
    pub(crate) fn declared(&mut self, arrived: Timestamp, record: &str, since: Timestamp) -> bool {
        match record_of(record) {
            Some(Record::Statement(statement)) if self.statement.is_none() => {
                self.statement = Some(*statement);
            }
            Some(Record::Drops(drops)) if arrived >= since => {
                // A declaration may be sent twice.
                let new = drops.drops.into_iter().filter(|drop| !self.drops.contains(drop));
                let new: Vec<_> = new.collect();
                self.drops.extend(new);
            }
            _ => {}
        }
        self.statement.is_none() || arrived >= since
    }
}

/// A signed record as it is stored; `None` if it is not one of this version.
pub(crate) fn record_of(text: &str) -> Option<Record> {
    let signed: SignedRecord = serde_json::from_str(text).ok()?;
    serde_json::from_str(&signed.record).ok()
}

/// Whether a drop may be one of samples of a selection.
pub(crate) fn fits(drop: &DeclaredDrop, selection: &Selection) -> bool {
    let [begin, until] =
        [drop.begin, drop.until].map(|time| i64::try_from(time / 1_000).unwrap_or(i64::MAX));
    let meter = selection.meter.as_ref();
    let meter = meter.is_none_or(|meter| drop.meters.is_empty() || drop.meters.contains_key(meter));
    meter && drop.begin > 0 && begin < selection.times.end && until >= selection.times.start
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nephometer_proof::{Digest, Drops, SigningKey};
    use serde_json::json;

    use super::*;
    use crate::message::{Arrival, ReadMessage, StreamPlace};
    use crate::signature::Verifier;
    use crate::store::tests::{Engine, Fixture, now, on_each_engine, sample, time};
    use crate::store::{Group, Selection, TimeRange};

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn statement(stream: Uuid) -> Record {
        Record::Statement(Box::new(Statement {
            stream,
            host_id: Uuid::from_u128(9),
            // Not taken for a checkpoint.
            host: r#""kind":"checkpoint""#.into(),
            ..Statement::default()
        }))
    }

    fn checkpoint(stream: Uuid, time: &str) -> Record {
        let digest = Digest::start(stream);
        Record::Checkpoint(Checkpoint {
            stream,
            sequence: 1,
            digest,
            time: time.into(),
            batch: None,
        })
    }

    fn drops(stream: Uuid, meter: &str) -> Record {
        let drop = DeclaredDrop {
            reason: "spool_full".into(),
            samples: 7,
            meters: BTreeMap::from([(meter.to_owned(), 7)]),
            begin: time("2026-12-01T10:30:00").as_nanos(),
            until: time("2026-12-01T10:40:00").as_nanos(),
            ..DeclaredDrop::default()
        };
        Record::Drops(Drops { stream, drops: vec![drop], time: "2026-12-01T11:00:00".into() })
    }

    fn message(stream: Uuid, sequence: u64, body: &serde_json::Value) -> Group {
        let digest = Digest::start(stream);
        let place = StreamPlace { stream, sequence, previous: digest, digest };
        let body = body.to_string().into_bytes();
        let arrival = Arrival { origin: "test".into(), body, place: Some(place) };
        let message = ReadMessage::read(&arrival, &Verifier::new(&[], true)).unwrap();
        Group { messages: vec![message], ..Group::default() }
    }

    on_each_engine! { streams_are_found_with_what_they_state_and_declare }

    fn streams_are_found_with_what_they_state_and_declare(engine: Engine) {
        let (mut fixture, key) = (Fixture::on(engine), key());
        let streams = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for stream in streams {
            let samples = json!([sample(1, "cpu", "r1", "2026-12-01T10:00:00", json!(1))]);
            // The sample is in the first stream only: ids are stored once.
            fixture.store.write(&message(stream, 1, &samples), now()).unwrap();
            let records = [
                statement(stream),
                drops(stream, "cpu"),
                drops(stream, "cpu"),
                drops(stream, "memory"),
                checkpoint(stream, "2026-12-02T11:59:50"),
            ];
            for (record, number) in records.into_iter().zip(2..) {
                let body = json!({"nephometer": record.sign(&key)});
                fixture.store.write(&message(stream, number, &body), now()).unwrap();
            }
        }
        let mut reader = fixture.reader();
        let found = reader.streams(now(), now()).unwrap();
        assert_eq!(found.iter().map(|state| state.stream).collect::<Vec<_>>(), streams);
        for state in &found {
            assert_eq!(state.arrived, now());
            let cycle = time("2026-12-02T11:59:50");
            assert_eq!(state.checkpoint, Some(ArrivedCheckpoint { arrived: now(), cycle }));
            assert_eq!(state.statement.as_ref().unwrap().host_id, Uuid::from_u128(9));
            // A declaration that was sent twice counts once.
            assert_eq!(state.drops.len(), 2);
        }
        let later = Timestamp::from_nanos(now().as_nanos() + 1);
        assert_eq!(reader.streams(now(), later).unwrap()[0].drops.len(), 0);
        let micros = |text| crate::store::selection::micros(time(text));
        let selection = |resource: &str, from, to| Selection {
            meter: Some("cpu".into()),
            resource: Some(resource.into()),
            times: TimeRange { start: micros(from), end: micros(to) },
            ..Selection::default()
        };
        let mut count =
            |resource, from, to| reader.drops(&selection(resource, from, to)).unwrap().len();
        assert_eq!(count("r1", "2026-12-01T10:00:00", "2026-12-01T11:00:00"), 1);
        assert_eq!(count("r1", "2026-12-01T10:41:00", "2026-12-01T11:00:00"), 0);
        assert_eq!(count("r1", "2026-12-01T10:00:00", "2026-12-01T10:30:00"), 0);
        assert_eq!(count("r2", "2026-12-01T10:00:00", "2026-12-01T11:00:00"), 0);
    }
}
