//! Samples on the wire: metering messages and their signatures, Ceilometer's `as_dict`, the
//! oslo.messaging notification, MessagePack datagrams and frames.
//!
//! Given: samples. Gives back: the bytes that the receivers of a release of Ceilometer take. Must not
//! do IO; knows no runtime.

mod fields;
pub mod frames;
mod message;
mod msgpack;
mod notification;
mod python;
mod read;
mod signature;

pub use message::{MessageForm, Messages, as_dict};
pub use notification::{Head, notification};
pub use python::Notation;
pub use read::{ReadError, sample_from_json};
pub use signature::{SignatureError, SignatureForm, Signer};
