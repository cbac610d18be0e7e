//! Datagrams for publishers, over `wasi:sockets`.
//!
//! [`UdpSender`] finds out an address, connects and sends, each within a deadline. Name the
//! publisher in [`export_socket_publisher!`]. Natively the calls panic: what makes the datagrams
//! belongs into functions of its own, and is tested without them. Publishers over TCP use the
//! generated `bindings::wasi::sockets::tcp`.

mod address;
pub mod bindings;
mod udp;

pub use udp::UdpSender;

/// Why something could not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketError {
    /// The host does not allow it: someone has to act.
    Refused(String),
    /// The name is not known now, or the receiver cannot be reached: it may pass.
    Failed(String),
}

impl std::fmt::Display for SocketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for SocketError {}

/// Makes a [`nephometer_guest::Publisher`] that uses sockets the component of this crate (on wasm;
/// elsewhere it does nothing).
#[macro_export]
macro_rules! export_socket_publisher {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::nephometer::metering as worlds;

            $crate::nephometer_guest::export_publisher_common!($type, worlds);

    $crate::bindings::export_socket_world!(Component with_types_in $crate::bindings);
        };
    };
}

#[doc(hidden)]
pub use nephometer_guest;
