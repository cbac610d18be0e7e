//! Why a connection is ended before the AMQP library has parsed what the broker sent.

use thiserror::Error;

use nephometer_model::Exceeded;

/// Why a connection ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// More than a bound allows.
    #[error(transparent)]
    Bound(#[from] Exceeded),
    /// More than this connection asked for, which is less than the bound.
    #[error(
        "size of a frame: {size} bytes, at most {most} bytes (frame_max of this connection); \
         check what answers at amqp.url"
    )]
    FrameMax {
        /// With all that belongs to it.
        size: usize,
        /// What was asked for.
        most: usize,
    },
    /// Nothing that a publisher's broker sends.
    #[error(
        "method {0}.{1} is not one that a broker sends to a publisher; \
         check what answers at amqp.url"
    )]
    Method(u16, u16),
    /// Most likely another protocol.
    #[error("frame type {0} is not of AMQP 0-9-1; check what answers at amqp.url")]
    Kind(u8),
    /// Messages or bytes.
    #[error("the broker returns more {0} than were sent to it; check what answers at amqp.url")]
    Returned(&'static str),
    /// Anything else that is not AMQP 0-9-1.
    #[error("malformed frame: {0}; check what answers at amqp.url")]
    Malformed(&'static str),
}
