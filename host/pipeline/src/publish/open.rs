use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::Publisher;
use super::amqp::{AmqpError, AmqpPublisher};
use super::component::ComponentPublisher;
use super::counting::CountingPublisher;
use super::driver::Driver;
use super::encode::{Encoder, Origin};
use super::encoding::Encoding;
use super::file::FilePublisher;
use super::sockets::{TcpPublisher, UdpPublisher};
use crate::transform::SampleList;
use nephometer_config::{Policy, PublisherSpec, PublisherTarget};
use nephometer_model::{Batch, Glob, HostId, Offset, Timestamp};
use nephometer_store::{Bounds, SpoolWriter, Spools, StoreError, WhenFull};
use nephometer_telemetry::PublisherCount;
use nephometer_wasm::ComponentHost;
use nephometer_wire::MessageForm;

/// Why a publisher cannot be opened.
#[derive(Debug, Error)]
pub enum PublisherError {
    /// Its URL cannot be used.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// Its spool cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What all publishers of an agent have in common.
#[derive(Clone)]
pub struct Settings {
    /// The host's name, for `publisher_id`.
    pub host: String,
    /// How metering messages are written.
    pub messages: MessageForm,
    /// The namespace of ids.
    pub host_id: HostId,
    /// Where spools are.
    pub spools: Spools,
    /// How much each spool holds.
    pub bounds: Bounds,
    /// What a full spool does.
    pub when_full: WhenFull,
    /// Where publishers come from that are components.
    pub components: ComponentHost,
    /// The sink that it is for.
    pub sink: Arc<str>,
}

/// Opens a publisher on the spool `name`: its handle, and a task that brings what is in the spool to the
/// receiver, which somebody has to run. Receivers that are away are waited for.
///
/// # Errors
/// If its URL cannot be used, or what an earlier run has left in the spool cannot be read.
pub async fn open(
    spec: &PublisherSpec,
    name: &str,
    settings: &Settings,
    counts: &Arc<PublisherCount>,
) -> Result<(PublisherHandle, PublisherTask), PublisherError> {
    let (label, host_id) = (&spec.label, settings.host_id);
    let mut bounds = settings.bounds.clone();
    let (encoder, publisher, drop_on_failure): (_, Box<dyn Publisher>, _) = match &spec.target {
        PublisherTarget::Notifier(notifier) => {
            if notifier.policy == Policy::Queue {
                bounds.count = notifier.max_queue_length;
            }
            let (messages, host) = (settings.messages.clone(), &settings.host);
            (
                Encoder::notifier(notifier, label, host, messages, host_id),
                Box::new(AmqpPublisher::new(
                    &notifier.broker,
                    label,
                    host_id.name(&["stream", name], &[]),
                )?),
                notifier.policy == Policy::Drop,
            )
        }
        PublisherTarget::Component(url) => {
            let messages = settings.messages.clone();
            let (host, sink) = (&settings.components, &settings.sink);
            let publisher = ComponentPublisher::new(host, url, sink, label, messages);
            (Encoder::batches(label, host_id), Box::new(publisher), false)
        }
        PublisherTarget::File(file) => (
            Encoder::lines(file, label, settings.messages.release, host_id),
            Box::new(FilePublisher::new(file)),
            false,
        ),
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
    let last = bounds.last.clone();
    let (writer, reader) = settings.spools.open(name, bounds, settings.when_full, counts).await?;
    let driver = Driver::new(label, publisher, reader, drop_on_failure);
    let (mut handle, task) = pair(encoder, writer, driver);
    handle.last = last;
    Ok((handle, task))
}

/// Pairs a driver with what fills its spool: for publishers that [`open`] does not know.
pub fn pair(
    encoder: Encoder,
    spool: SpoolWriter,
    driver: Driver,
) -> (PublisherHandle, PublisherTask) {
    let (sequences, last, label) = (HashMap::new(), Vec::new(), Arc::clone(driver.label()));
    let handle = PublisherHandle { encoder, spool, sequences, last };
    (handle, PublisherTask { label, driver })
}

/// Where a sink puts what it publishes. Dropping it says that nothing more will come.
#[derive(Debug)]
pub struct PublisherHandle {
    encoder: Encoder,
    spool: SpoolWriter,
    /// By source: its last tick, and how many envelopes were made of that.
    sequences: HashMap<Arc<str>, (Timestamp, u64)>,
    /// Meters that have envelopes of their own, because they are dropped last.
    last: Vec<Glob>,
}

impl PublisherHandle {
    /// What these lists of a batch make.
    pub fn encoding<'a>(
        &'a self,
        sink: &'a str,
        lists: &'a [SampleList],
        offset: Offset,
        batch: &'a Batch,
    ) -> Encoding<'a> {
        let (source, cycle_start) = (&batch.source, batch.cycle_start);
        let known = self.sequences.get(source).filter(|(last, _)| *last == cycle_start.wall);
        let sequence = known.map_or(0, |(_, sequence)| *sequence);
        let origin = Origin { sink, source, cycle_start, sequence };
        Encoding::new(&self.encoder, origin, offset, lists, &self.last)
    }

    /// So many envelopes were made of a batch.
    pub fn made(&mut self, batch: &Batch, envelopes: u64) {
        let cycle_start = batch.cycle_start.wall;
        let last = self.sequences.entry(Arc::clone(&batch.source)).or_insert((cycle_start, 0));
        if last.0 != cycle_start {
            *last = (cycle_start, 0);
        }
        last.1 += envelopes;
    }

    /// Where they go.
    pub fn spool(&self) -> &SpoolWriter {
        &self.spool
    }

    /// What would have to be made again after a crash.
    pub fn outstanding(&self) -> Outstanding {
        self.spool.outstanding()
    }
}

/// What of a publisher would have to be made again; goes on to tell when the handle has been dropped.
pub use nephometer_store::Outstanding;

/// The task that works a spool off, not started yet. It may be dropped at any time: what is not settled
/// then is held.
pub struct PublisherTask {
    label: Arc<str>,
    driver: Driver,
}

impl PublisherTask {
    /// The publisher's label.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Works until the handle has been dropped and all is settled.
    pub fn run(self) -> impl Future<Output = ()> + Send + 'static {
        self.driver.run()
    }
}
