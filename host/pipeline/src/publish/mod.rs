//! Publishers: envelopes leave the process here.
//!
//! Given: the samples that came through a sink. Gives back: nothing; what has not been confirmed
//! is held in the publisher's spool. Forgetting is never delivering.

mod amqp;
mod backoff;
mod component;
mod counting;
mod driver;
mod encode;
mod encoding;
mod file;
mod fixture;
mod open;
mod sockets;

use async_trait::async_trait;

use nephometer_model::DeliveryResult;

#[cfg(any(fuzzing, test))]
pub use amqp::fuzz;
pub use amqp::{AmqpError, AmqpPublisher};
pub(crate) use backoff::Backoff;
pub use component::try_component;
pub use driver::Driver;
pub use encode::{Encoder, SampleOrigin};
pub use encoding::Encoding;
pub use fixture::render_fixture;
pub use nephometer_store::Envelope;
pub use open::{
    PublisherError, PublisherHandle, PublisherSettings, PublisherTask, UnwrittenEnvelopes, open,
};

/// Sends envelopes somewhere.
#[async_trait]
pub trait Publisher: Send {
    /// Sends these, in this order: as many results, in the same order. Reconnects by itself when
    /// called again; waiting between tries is the driver's. May be dropped half-way: what has no
    /// result is sent again.
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult>;

    /// How many envelopes are best handed over at once.
    fn window(&self) -> usize;
}
