//! Publishers: encode samples into envelopes and deliver envelopes to receivers.
//!
//! The sink writes encoded envelopes into a spool; a driver hands them to the publisher, retries
//! with a backoff and acknowledges. An envelope leaves the spool only when the receiver has
//! acknowledged or rejected it, or a configured bound or policy drops it.

mod amqp;
mod backoff;
mod catalog;
mod component;
mod contents;
mod counting;
mod driver;
mod encode;
mod encoding;
mod file;
mod fixture;
mod open;
mod records;
mod rotation;
mod sockets;

use async_trait::async_trait;

use nephometer_model::DeliveryResult;

pub use amqp::{AmqpPublisher, try_broker};
pub(crate) use backoff::Backoff;
pub use catalog::ServiceCatalog;
pub use component::try_component;
pub(crate) use contents::contents;
pub use driver::Driver;
pub use encode::{Encoder, SampleOrigin};
pub use encoding::Encoding;
pub use fixture::render_fixture;
pub use nephometer_store::Envelope;
pub use open::{
    PublisherError, PublisherHandle, PublisherSettings, PublisherTask, UnwrittenEnvelopes, open,
};
pub(crate) use records::BatchRecords;
pub use records::StreamContext;
pub use rotation::Rotation;

/// Delivers envelopes to one receiver.
#[async_trait]
pub trait Publisher: Send {
    /// Sends the envelopes in their order, and returns one result for each, in the same order. The
    /// publisher reconnects by itself; the driver waits between attempts. The future may be dropped
    /// at any time: envelopes without a result are sent again.
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult>;

    /// Number of envelopes to pass at once.
    fn window(&self) -> usize;

    /// Waits until a reload has changed how the receiver is reached, and takes that: the next call of
    /// [`Self::publish`] connects anew. Cancel safe.
    async fn renewed(&mut self) {
        std::future::pending::<()>().await;
    }
}
