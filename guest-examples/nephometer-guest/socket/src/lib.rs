//! UDP for publishers, over `wasi:sockets`.
//!
//! [`UdpSender`] resolves a name, connects and sends, each within a deadline. Export the publisher
//! with [`export_socket_publisher!`]. The calls panic outside of a component, so put the encoding
//! of datagrams into functions of its own and test those. Publishers over TCP use the generated
//! `bindings::wasi::sockets::tcp`.

mod address;
pub mod bindings;
mod udp;

pub use udp::UdpSender;

/// Why datagrams could not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketError {
    /// The host refused the operation. An operator has to act.
    Refused(String),
    /// The name could not be resolved, or the receiver is unreachable. A retry may succeed.
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

/// Exports a [`nephometer_guest::Publisher`] that uses sockets as the component of this crate. Does
/// nothing on targets other than wasm.
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
