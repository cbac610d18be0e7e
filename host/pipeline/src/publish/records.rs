//! The records of a publisher's stream: the statement, checkpoints, and declarations of drops.
//!
//! They are messages of their own event types, with an empty payload: consumers of samples find none
//! in them. What is signed, and how, is up to `proof`.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use uuid::Uuid;

use crate::transform::Identity as TransformerIdentity;
use nephometer_config::SourceSpec;
use nephometer_model::{HostId, Moment, Offset, Release};
use nephometer_proof::{
    BatchState, Checkpoint, ClockState, DeclaredDrop, Digest, Drops, ProjectContent, Record,
    SourceState, Statement, TransformerState,
};
use nephometer_store::{Envelope, Identity, StreamRecords};

/// What the streams of one agent have in common.
#[derive(Debug)]
pub struct StreamContext {
    identity: Arc<Identity>,
    host_id: HostId,
    host: String,
    release: Release,
    /// The kernel's id of this start of the machine.
    boot: String,
    /// All sources of the configuration.
    sources: Mutex<Arc<[SourceSpec]>>,
}

impl StreamContext {
    /// The context of an agent. `boot` is the kernel's id of this start of the machine.
    pub fn new(
        identity: Arc<Identity>,
        host_id: HostId,
        (host, release): (&str, Release),
        boot: String,
        sources: &[SourceSpec],
    ) -> Self {
        let (host, sources) = (host.to_owned(), Mutex::new(sources.into()));
        Self { identity, host_id, host, release, boot, sources }
    }

    /// Replaces the sources after a reload.
    pub fn set_sources(&self, sources: &[SourceSpec]) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources.into();
    }

    fn sources(&self) -> Arc<[SourceSpec]> {
        Arc::clone(&self.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The form of records.
#[derive(Debug, Clone)]
pub(super) enum RecordForm {
    /// Notifications to a routing key.
    Notification {
        /// The address.
        routing_key: Arc<str>,
        /// `publisher_id`
        publisher_id: String,
    },
    /// Lines of a file.
    Line,
}

/// The stream of one publisher.
#[derive(Debug)]
pub(super) struct PublisherStream {
    context: Arc<StreamContext>,
    id: Uuid,
    sink: Arc<str>,
    label: Arc<str>,
    form: RecordForm,
    /// The last statement.
    stated: Option<Statement>,
}

impl PublisherStream {
    pub(super) fn new(
        context: &Arc<StreamContext>,
        id: Uuid,
        (sink, label): (&Arc<str>, &Arc<str>),
        form: RecordForm,
    ) -> Self {
        let (sink, label) = (Arc::clone(sink), Arc::clone(label));
        Self { context: Arc::clone(context), id, sink, label, form, stated: None }
    }

    /// The records around the envelopes of one batch, which these transformers have made.
    pub(super) fn records(
        &self,
        transformers: &[TransformerIdentity],
        (cycle_start, offset): (Moment, Offset),
        contents: &Arc<[ProjectContent]>,
    ) -> BatchRecords<'_> {
        let statement = self.statement(transformers, cycle_start);
        let is_new = self.stated.as_ref().is_none_or(|stated| {
            *stated != Statement { clock: stated.clock.clone(), ..statement.clone() }
        });
        let statement = is_new.then_some(statement);
        let contents = Arc::clone(contents);
        BatchRecords { stream: self, cycle_start, offset, statement, contents }
    }

    /// Records that a statement is in the stream.
    pub(super) fn mark_stated(&mut self, statement: Option<Statement>) {
        if statement.is_some() {
            self.stated = statement;
        }
    }

    fn statement(&self, transformers: &[TransformerIdentity], cycle_start: Moment) -> Statement {
        let context = &self.context;
        let sources = context.sources();
        let of_sink = sources.iter().filter(|source| source.sinks.contains(&self.sink));
        let source = |source: &SourceSpec| {
            let [only, without] = source.meters.restrictions();
            SourceState {
                name: source.name.to_string(),
                interval: source.interval.as_secs_f64(),
                meters: source.meters.texts(),
                only,
                without,
            }
        };
        let transformer = |one: &TransformerIdentity| TransformerState {
            component: one.component.to_string(),
            digest: Digest::from_bytes(one.digest),
            options: Digest::of(one.options.as_bytes()),
        };
        Statement {
            stream: self.id,
            host_id: context.host_id.0,
            former_host_ids: context.identity.former_host_ids(),
            host: context.host.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            release: context.release.to_string(),
            sink: self.sink.to_string(),
            publisher: self.label.to_string(),
            sources: of_sink.map(source).collect(),
            transformers: transformers.iter().map(transformer).collect(),
            keys: context.identity.keys(),
            clock: ClockState {
                wall: cycle_start.wall.iso(),
                monotonic: cycle_start.monotonic,
                boot: context.boot.clone(),
            },
        }
    }

    /// The envelope of a record. Its id depends on the content, so that a record that is made again
    /// has the same one.
    fn envelope(&self, record: &Record, cycle_start: Moment, offset: Offset) -> Envelope {
        let signed = record.sign(&self.context.identity.signing_key());
        let id = self.context.host_id.name(&["record", &signed.record], &[]);
        let (address, body) = match &self.form {
            RecordForm::Line => (Arc::default(), format!("{}\n", json!({ "nephometer": signed }))),
            RecordForm::Notification { routing_key, publisher_id } => {
                let message = json!({
                    "message_id": id,
                    "publisher_id": publisher_id,
                    "event_type": record.event_type(),
                    "priority": "SAMPLE",
                    "payload": [],
                    "timestamp": cycle_start.wall.blank_separated(),
                    "_unique_id": id.simple().to_string(),
                    "nephometer": signed,
                });
                let body = json!({ "oslo.version": "2.0", "oslo.message": message.to_string() });
                (Arc::clone(routing_key), body.to_string())
            }
        };
        Envelope {
            id,
            address,
            body: body.into(),
            offset,
            time: cycle_start.wall,
            ..Envelope::default()
        }
    }
}

/// The records around the envelopes of one batch.
#[derive(Debug)]
pub(crate) struct BatchRecords<'a> {
    stream: &'a PublisherStream,
    cycle_start: Moment,
    /// Offset of the batch in the journal.
    offset: Offset,
    /// The statement, if it differs from the one before.
    statement: Option<Statement>,
    /// What the batch contains, by project.
    contents: Arc<[ProjectContent]>,
}

impl BatchRecords<'_> {
    /// The statement that the batch begins with, if any.
    pub(crate) fn into_statement(self) -> Option<Statement> {
        self.statement
    }

    fn envelope(&self, record: &Record) -> Envelope {
        self.stream.envelope(record, self.cycle_start, self.offset)
    }
}

impl StreamRecords for BatchRecords<'_> {
    fn statement(&self) -> Option<Envelope> {
        let statement = self.statement.clone()?;
        Some(self.envelope(&Record::Statement(Box::new(statement))))
    }

    fn drops(&self, drops: Vec<DeclaredDrop>) -> Envelope {
        let (stream, time) = (self.stream.id, self.cycle_start.wall.iso());
        self.envelope(&Record::Drops(Drops { stream, drops, time }))
    }

    fn checkpoint(&self, [first, sequence]: [u64; 2], digest: Digest) -> Envelope {
        let (stream, time) = (self.stream.id, self.cycle_start.wall.iso());
        let stated = self.statement.as_ref().or(self.stream.stated.as_ref());
        let batch = stated.map(|statement| BatchState {
            first,
            statement: Record::Statement(Box::new(statement.clone())).digest(),
            contents: self.contents.to_vec(),
        });
        let checkpoint = Checkpoint { stream, sequence, digest, time, batch };
        self.envelope(&Record::Checkpoint(checkpoint))
    }
}
