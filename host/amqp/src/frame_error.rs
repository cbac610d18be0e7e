//! Errors of the frame guard. Each of them ends the connection.

use thiserror::Error;

use nephometer_model::Exceeded;

/// A frame of the broker is rejected before the AMQP library parses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// A bound is exceeded.
    #[error(transparent)]
    Bound(#[from] Exceeded),
    /// The frame is within the bound, but larger than this connection negotiates.
    #[error(
        "frame of {size} bytes, at most {most} bytes (frame_max of this connection); \
         check what answers at the broker's URL"
    )]
    FrameMax {
        /// Size of the whole frame in bytes.
        size: usize,
        /// Negotiated maximum in bytes.
        most: usize,
    },
    /// A method that no broker sends to such a client.
    #[error(
        "method {0}.{1} is not one that a broker sends to this client; \
         check what answers at the broker's URL"
    )]
    Method(u16, u16),
    /// An unknown frame type, most likely of another protocol.
    #[error("frame type {0} is not of AMQP 0-9-1; check what answers at the broker's URL")]
    Kind(u8),
    /// More messages or bytes are returned than were sent.
    #[error(
        "the broker returns more {0} than were sent to it; check what answers at the broker's URL"
    )]
    Returned(&'static str),
    /// More messages or bytes are delivered than may be unacknowledged.
    #[error(
        "the broker delivers more {0} than may be unacknowledged; check what answers at the broker's URL"
    )]
    Delivered(&'static str),
    /// The frame is not AMQP 0-9-1.
    #[error("malformed frame: {0}; check what answers at the broker's URL")]
    Malformed(&'static str),
}
