//! Connections to AMQP 0-9-1 brokers: for the agent's publisher, and for the collector. The only
//! crate that uses `lapin`.
//!
//! The broker is not trusted: its frames are validated before the library parses them, what it may
//! send is bounded, and its texts are sanitized before they are logged.

mod allowance;
mod change;
mod connection;
mod consuming;
#[cfg(test)]
mod consuming_tests;
mod error;
mod frame_error;
mod frames;
#[cfg(test)]
mod frames_consuming_tests;
#[cfg(test)]
mod frames_tests;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod headers;
#[cfg(test)]
mod hostile_tests;
mod node;
mod publishing;
mod stream;
mod tables;
mod tls;

pub use change::BrokerChange;
pub use connection::Broker;
pub use consuming::{BrokerDelivery, Consumption, QueueConsumer, Unacknowledged};
pub use error::AmqpError;
pub use headers::MessageHeaders;
pub use publishing::{BrokerReply, PendingConfirm, PublishingConnection};
