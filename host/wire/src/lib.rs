//! Samples on the wire: metering messages and their signatures, Ceilometer's `as_dict`, the
//! oslo.messaging notification, MessagePack datagrams and frames.
//!
//! Converts samples to the bytes that receivers of a Ceilometer release accept. Does no IO and
//! depends on no async runtime.

mod fields;
pub mod frames;
mod message;
mod msgpack;
mod notification;
mod python;
mod read;
mod rendered;
mod signature;
mod unpack;

pub use message::{MessageForm, Messages, as_dict};
pub use notification::{Head, Notifications, with_ids};
pub use python::Notation;
pub use read::{ReadError, sample_from_json};
pub use signature::{SignatureError, SignatureForm, Signer};
pub use unpack::{UnpackError, is_packed, unpack};
