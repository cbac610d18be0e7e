//! Opens the publishers of a sink: an encoder, a spool and a driver for each.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::Publisher;
use super::amqp::AmqpPublisher;
use super::catalog::ServiceCatalog;
use super::component::ComponentPublisher;
use super::counting::CountingPublisher;
use super::driver::Driver;
use super::encode::{Encoder, SampleOrigin};
use super::encoding::Encoding;
use super::file::FilePublisher;
use super::records::{BatchRecords, PublisherStream, StreamContext};
use super::rotation::Rotation;
use super::sockets::{TcpPublisher, UdpPublisher};
use crate::transform::{Identity, SampleList};
use nephometer_amqp::AmqpError;
use nephometer_config::{Policy, PublisherSpec, PublisherTarget};
use nephometer_model::{Batch, Glob, HostId, Moment, Offset, Timestamp};
use nephometer_proof::{ProjectContent, Statement};
use nephometer_store::{SpoolBounds, SpoolWriter, Spools, StoreError, WhenFull};
use nephometer_telemetry::PublisherCount;
use nephometer_wasm::ComponentHost;
use nephometer_wire::MessageForm;

/// A publisher cannot be opened.
#[derive(Debug, Error)]
pub enum PublisherError {
    /// Its URL is invalid.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// Its spool cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Settings that the publishers of one sink share.
#[derive(Clone)]
pub struct PublisherSettings {
    /// Host name in `publisher_id`.
    pub host: String,
    /// Form and signature of metering messages.
    pub messages: MessageForm,
    /// What a reload may replace.
    pub rotation: Rotation,
    /// Namespace of the ids of envelopes.
    pub host_id: HostId,
    /// The store of the spools.
    pub spools: Spools,
    /// Bounds of each spool.
    pub bounds: SpoolBounds,
    /// What happens when a spool is full.
    pub when_full: WhenFull,
    /// Loads publishers that are components.
    pub components: ComponentHost,
    /// Where the services of the cloud are.
    pub catalog: Arc<dyn ServiceCatalog>,
    /// Name of the sink.
    pub sink: Arc<str>,
    /// What the streams of the agent have in common; `None` without a store on disk, where no stream
    /// can be verified.
    pub streams: Option<Arc<StreamContext>>,
}

/// Opens a publisher on the spool `name`. Returns its handle, and a task that delivers the spool
/// once the caller runs it. Nothing is connected yet; a receiver that is down is retried.
///
/// # Errors
/// If the URL is invalid, or the spool of an earlier run cannot be read.
pub async fn open(
    spec: &PublisherSpec,
    name: &str,
    settings: &PublisherSettings,
    counts: &Arc<PublisherCount>,
) -> Result<(PublisherHandle, PublisherTask), PublisherError> {
    let (label, host_id) = (&spec.label, settings.host_id);
    let mut bounds = settings.bounds.clone();
    let stream_id = host_id.name(&["stream", name], &[]);
    let mut record_form = None;
    let (encoder, publisher, drop_on_failure): (_, Box<dyn Publisher>, _) = match &spec.target {
        PublisherTarget::Notifier(notifier) => {
            if notifier.policy == Policy::Queue {
                bounds.count = notifier.max_queue_length;
            }
            let (messages, host) = (settings.messages.clone(), &settings.host);
            let encoder = Encoder::notifier(notifier, label, host, messages, host_id);
            record_form = encoder.record_form().filter(|_| notifier.provable);
            let broker = settings.rotation.broker(&spec.url, &notifier.broker)?;
            let publisher = AmqpPublisher::following(broker, label, stream_id);
            (encoder, Box::new(publisher), notifier.policy == Policy::Drop)
        }
        PublisherTarget::Component(url) => {
            let messages = settings.rotation.messages();
            let (host, sink) = ((&settings.components, &settings.catalog), &settings.sink);
            let publisher = ComponentPublisher::new(host, url, sink, label, messages);
            (Encoder::batches(label, host_id), Box::new(publisher), false)
        }
        PublisherTarget::File(file) => {
            let encoder = Encoder::lines(file, label, settings.messages.release, host_id);
            record_form = encoder.record_form().filter(|_| file.provable);
            (encoder, Box::new(FilePublisher::new(file, stream_id)), false)
        }
        PublisherTarget::Udp(receiver) => (
            Encoder::datagrams(label, settings.messages.clone(), host_id),
            Box::new(UdpPublisher::new(receiver)),
            false,
        ),
        PublisherTarget::Tcp(receiver) => (
            Encoder::stream(label, &settings.host, settings.messages.clone(), host_id),
            Box::new(TcpPublisher::new(receiver)),
            false,
        ),
        PublisherTarget::Test => {
            (Encoder::counts(label, host_id), Box::new(CountingPublisher), false)
        }
    };
    let evict_last = bounds.evict_last.clone();
    let stream = record_form.zip(settings.streams.as_ref()).map(|(form, context)| {
        PublisherStream::new(context, stream_id, (&settings.sink, label), form)
    });
    let verifiable = stream.is_some().then_some(stream_id);
    let opened = settings.spools.open(name, bounds, settings.when_full, (counts, verifiable));
    let (spool, reader) = opened.await?;
    let driver = Driver::new(label, publisher, reader, drop_on_failure);
    let handle = PublisherHandle { encoder, spool, stream, sequences: HashMap::new(), evict_last };
    Ok((handle, PublisherTask { label: Arc::clone(label), driver }))
}

/// The sink's end of a publisher. Dropping it closes the spool: the task ends once it is empty.
#[derive(Debug)]
pub struct PublisherHandle {
    encoder: Encoder,
    spool: SpoolWriter,
    /// Its stream, if receivers can verify it.
    stream: Option<PublisherStream>,
    /// By source: its last polling cycle, and the number of envelopes of that cycle.
    sequences: HashMap<Arc<str>, (Timestamp, u64)>,
    /// Meters that get envelopes of their own, because a full spool drops them last.
    evict_last: Vec<Glob>,
}

impl PublisherHandle {
    /// Encodes the output of a batch, lazily.
    pub fn encoding<'a>(
        &'a self,
        sink: &'a str,
        lists: &'a [SampleList],
        offset: Offset,
        batch: &'a Batch,
    ) -> Encoding<'a> {
        let (source, cycle_start) = (&batch.source, batch.cycle_start);
        let current = self.sequences.get(source).filter(|(last, _)| *last == cycle_start.wall);
        let sequence = current.map_or(0, |(_, sequence)| *sequence);
        let removed = &batch.removed;
        let origin = SampleOrigin { sink, source, cycle_start, sequence, removed };
        Encoding::new(&self.encoder, origin, offset, lists, &self.evict_last)
    }

    /// Changes the form and signature of the messages of the next batches.
    pub fn set_messages(&mut self, messages: &MessageForm) {
        self.encoder.set_messages(messages.clone());
    }

    /// Counts envelopes of a batch: their number is part of the next ids.
    pub(crate) fn count_envelopes(&mut self, batch: &Batch, envelopes: u64) {
        let cycle_start = batch.cycle_start.wall;
        let last = self.sequences.entry(Arc::clone(&batch.source)).or_insert((cycle_start, 0));
        if last.0 != cycle_start {
            *last = (cycle_start, 0);
        }
        last.1 += envelopes;
    }

    /// The records around the envelopes of a batch, if receivers can verify the stream.
    pub(crate) fn records(
        &self,
        transformers: &[Identity],
        origin: (Moment, Offset),
        contents: &Arc<[ProjectContent]>,
    ) -> Option<BatchRecords<'_>> {
        let stream = self.stream.as_ref()?;
        Some(stream.records(transformers, origin, contents))
    }

    /// Whether receivers can verify its stream.
    pub(crate) fn is_provable(&self) -> bool {
        self.stream.is_some()
    }

    /// Records that a statement is in the stream.
    pub(crate) fn mark_stated(&mut self, statement: Option<Statement>) {
        if let Some(stream) = &mut self.stream {
            stream.mark_stated(statement);
        }
    }

    /// The spool that envelopes are written to.
    pub fn spool(&self) -> &SpoolWriter {
        &self.spool
    }

    /// Envelopes that a crash would lose.
    pub fn unwritten_envelopes(&self) -> UnwrittenEnvelopes {
        self.spool.unwritten_envelopes()
    }
}

/// Envelopes that are neither acknowledged nor on disk. It stays valid after the handle is dropped.
pub use nephometer_store::UnwrittenEnvelopes;

/// The task that delivers a spool, not started yet. It may be dropped at any time: envelopes that
/// are not acknowledged then stay in the spool.
pub struct PublisherTask {
    label: Arc<str>,
    driver: Driver,
}

impl PublisherTask {
    /// The publisher's label.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Delivers until the handle is dropped and the spool is empty.
    pub fn run(self) -> impl Future<Output = ()> + Send + 'static {
        self.driver.run()
    }
}
