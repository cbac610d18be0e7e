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

#[cfg(any(fuzzing, test))]
pub use amqp::fuzz;
pub use amqp::{AmqpError, AmqpPublisher};
pub use backoff::Backoff;
pub use component::try_component;
pub use counting::CountingPublisher;
pub use driver::Driver;
pub use encode::{Encoder, MAX_SAMPLES, Origin};
pub use encoding::Encoding;
pub use file::FilePublisher;
pub use fixture::fixture;
pub use nephometer_store::Envelope;
pub use open::{Outstanding, PublisherError, PublisherHandle, PublisherTask, Settings, open, pair};
pub use sockets::{TcpPublisher, UdpPublisher};

/// What became of one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Confirmed,
    /// Not now: it stays in the spool and is sent again, in order.
    Later(String),
    /// Never: it is dropped and counted.
    Never(String),
}

/// Sends envelopes somewhere.
#[async_trait]
pub trait Publisher: Send {
    /// Sends these, in this order: as many outcomes, in the same order. Reconnects by itself when
    /// called again; waiting between tries is the driver's. May be dropped half-way: what has no
    /// outcome is sent again.
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<Outcome>;

    /// How many envelopes are best handed over at once.
    fn window(&self) -> usize;

    /// How long to wait after what was just tried, where the receiver has said so.
    fn wait(&self) -> Option<std::time::Duration> {
        None
    }
}
