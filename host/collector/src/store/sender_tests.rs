//! An agent for tests: signed streams with real links, as `docs/proof.md` describes them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nephometer_audit::{EvidenceLine, Findings, TrustedKeys};
use nephometer_proof::{
    BatchState, Checkpoint, ClockState, DeclaredDrop, Digest, Drops, ProjectContent, ProvedSample,
    ProvedValue, Record, SigningKey, SourceState, Statement, digest_samples,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::tests::{Fixture, now, sample, time};
use super::*;
use crate::audit::audit;
use crate::message::{Arrival, ReadMessage, StreamPlace};
use crate::signature::Verifier;

/// The project of resources with names of two letters; see `sample`.
pub(super) const PROJECT: &str = "project-2";
/// The audited hour.
pub(super) const HOUR: [&str; 2] = ["2026-12-01T10:00:00", "2026-12-01T11:00:00"];
/// Cycles every five minutes, from before the hour to behind it.
pub(super) const CYCLES: [&str; 15] = [
    "09:55", "10:00", "10:05", "10:10", "10:15", "10:20", "10:25", "10:30", "10:35", "10:40",
    "10:45", "10:50", "10:55", "11:00", "11:05",
];

pub(super) fn new_key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
}

/// One stream of one host.
pub(super) struct Sender {
    pub(super) key: SigningKey,
    pub(super) statement: Statement,
    pub(super) stated: bool,
    pub(super) next: u64,
    pub(super) digest: Digest,
    /// What was sent, by number.
    pub(super) sent: Vec<Arrival>,
    ids: u32,
}

impl Sender {
    pub(super) fn new(host: u128) -> Self {
        let stream = Uuid::from_u128(host);
        let source = SourceState {
            name: "all".into(),
            interval: 300.0,
            meters: vec!["*".into()],
            ..SourceState::default()
        };
        let statement = Statement {
            stream,
            host_id: Uuid::from_u128(host + 1_000),
            host: format!("compute-{host}"),
            sink: "out".into(),
            publisher: "notifier://".into(),
            sources: vec![source],
            clock: ClockState { wall: "2026-11-30T00:00:00".into(), ..ClockState::default() },
            ..Statement::default()
        };
        let digest = Digest::start(stream);
        let ids = u32::try_from(host).unwrap() * 100_000;
        Self { key: new_key(), statement, stated: false, next: 1, digest, sent: Vec::new(), ids }
    }

    /// The line of its key in the file of trusted keys.
    pub(super) fn line(&self) -> String {
        format!("{} {}\n", self.statement.host, self.key.public())
    }

    pub(super) fn stream(&self) -> Uuid {
        self.statement.stream
    }

    pub(super) fn send(&mut self, body: &Value) {
        let body = body.to_string().into_bytes();
        let link = self.digest.link(self.next, &Digest::of(&body));
        let place = StreamPlace {
            stream: self.stream(),
            sequence: self.next,
            previous: link.previous,
            digest: link.digest,
        };
        self.sent.push(Arrival { origin: "queue".into(), body, place: Some(place) });
        self.next += 1;
        self.digest = link.digest;
    }

    pub(super) fn record(&mut self, record: &Record) {
        let body = json!({"event_type": record.event_type(), "payload": [],
            "nephometer": record.sign(&self.key)});
        self.send(&body);
    }

    fn declare(&mut self, drop: DeclaredDrop, at: &str) {
        let (stream, time) = (self.stream(), format!("2026-12-01T{at}:00"));
        self.record(&Record::Drops(Drops { stream, drops: vec![drop], time }));
    }

    /// A batch that begins with a declaration.
    pub(super) fn batch_declaring(&mut self, drop: DeclaredDrop, at: &str, samples: &[Value]) {
        let first = self.next;
        self.declare(drop, at);
        self.rest_of_batch(first, at, samples);
    }

    /// Samples of a meter of these resources.
    pub(super) fn samples(&mut self, at: &str, resources: &[&str]) -> Vec<Value> {
        let time = format!("2026-12-01T{at}:01");
        let mut made = Vec::new();
        for resource in resources {
            self.ids += 1;
            made.push(sample(self.ids, "cpu", resource, &time, json!(self.ids)));
        }
        made
    }

    /// A batch: a statement if there was none, a message for each sample, a checkpoint.
    pub(super) fn batch(&mut self, at: &str, samples: &[Value]) {
        let first = self.next;
        if !self.stated {
            self.record(&Record::Statement(Box::new(self.statement.clone())));
            self.stated = true;
        }
        self.rest_of_batch(first, at, samples);
    }

    fn rest_of_batch(&mut self, first: u64, at: &str, samples: &[Value]) {
        let statement = Record::Statement(Box::new(self.statement.clone()));
        for sample in samples {
            self.send(&json!({"event_type": "metering", "payload": [sample]}));
        }
        let batch =
            Some(BatchState { first, statement: statement.digest(), contents: contents(samples) });
        self.checkpoint(at, batch);
    }

    pub(super) fn checkpoint(&mut self, at: &str, batch: Option<BatchState>) {
        self.record(&Record::Checkpoint(Checkpoint {
            stream: self.stream(),
            sequence: self.next - 1,
            digest: self.digest,
            time: format!("2026-12-01T{at}:00"),
            batch,
        }));
    }

    /// A batch in each cycle with a sample of each resource.
    pub(super) fn cycles(&mut self, cycles: &[&str], resources: &[&str]) {
        for at in cycles {
            let samples = self.samples(at, resources);
            self.batch(at, &samples);
        }
    }
}

fn contents(samples: &[Value]) -> Vec<ProjectContent> {
    let mut projects: BTreeMap<&str, Vec<ProvedSample<'_>>> = BTreeMap::new();
    for sample in samples {
        let text = |key: &str| sample[key].as_str().unwrap();
        projects.entry(text("project_id")).or_default().push(ProvedSample {
            id: text("message_id"),
            meter: text("counter_name"),
            unit: text("counter_unit"),
            kind: text("counter_type"),
            resource: text("resource_id"),
            time: selection::micros(time(text("timestamp"))),
            value: ProvedValue::integer(sample["counter_volume"].as_i64().unwrap().into()),
        });
    }
    let content = |(project, mut samples): (&str, Vec<ProvedSample<'_>>)| ProjectContent {
        project: Digest::of_project(project),
        samples: samples.len() as u64,
        digest: digest_samples(&mut samples),
    };
    projects.into_iter().map(content).collect()
}

/// A commit of one message.
pub(super) fn message(arrival: &Arrival) -> Group {
    let message = ReadMessage::read(arrival, &Verifier::new(&[], true)).unwrap();
    Group { messages: vec![message], ..Group::default() }
}

impl Fixture {
    /// Stores messages, each in a commit of its own.
    pub(super) fn receive(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.store.write(&message(arrival), now()).unwrap();
        }
    }

    /// Runs a statement on the file of December.
    pub(super) fn tamper(&self, sql: &str) {
        let path = self.folder.path().join("2026-12.default.db");
        let changed = rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }

    /// The lines of evidence of an audit.
    pub(super) fn evidence(&self, trusted: &TrustedKeys, times: [&str; 2]) -> Vec<EvidenceLine> {
        let mut all = Vec::new();
        let mut take = |lines: Vec<EvidenceLine>| {
            all.extend(lines);
            ControlFlow::Continue(())
        };
        self.reader().evidence(&query(times, trusted), &mut take).unwrap();
        all
    }

    /// Audits a time with these lines of trusted keys.
    pub(super) fn audit(&self, keys: &str, times: [&str; 2]) -> Findings {
        let trusted = TrustedKeys::parse(keys).unwrap();
        let query = query(times, &trusted);
        audit::<std::io::Sink>(&mut *self.reader(), &query, None).unwrap()
    }
}

fn query<'a>([from, to]: [&str; 2], trusted: &'a TrustedKeys) -> EvidenceQuery<'a> {
    EvidenceQuery {
        project: PROJECT.into(),
        times: TimeRange { start: selection::micros(time(from)), end: selection::micros(time(to)) },
        hosts: Vec::new(),
        trusted,
        window: std::time::Duration::from_secs(35 * 86_400),
        now: now(),
    }
}
