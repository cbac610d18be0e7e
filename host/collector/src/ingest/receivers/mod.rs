//! Takes what `udp://` and `tcp://` of agents send: metering messages in MessagePack, without a
//! broker.
//!
//! Neither protocol acknowledges. What was read is committed before more is read from the same
//! connection, so that little is in memory when the collector is killed. While the store fails,
//! connections are reset: their senders keep what they have.

mod batch;
mod tcp;
mod udp;

use std::io;
use std::sync::Arc;

use nephometer_config::{ReceiverSpec, Transport};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::watch;

use super::{Handover, Health};
use crate::sample::Shared;

/// What the system keeps of one connection before the collector reads it, in bytes. It is little,
/// because senders take it for received.
const SYSTEM_BUFFER: u32 = 256 << 10;
/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 128;

/// A bound address.
pub(crate) struct Receiver {
    socket: ReceiverSocket,
    url: String,
}

enum ReceiverSocket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

/// The way from a receiver to the writer.
#[derive(Clone)]
struct Inlet {
    /// The URL of the receiver.
    origin: Shared,
    handover: Handover,
    health: Arc<Health>,
    /// Becomes true when the collector ends.
    ending: watch::Receiver<bool>,
}

impl Receiver {
    /// Binds the address.
    pub(crate) async fn bind(spec: &ReceiverSpec) -> io::Result<Self> {
        let (socket, address) = match spec.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(spec.listen).await?;
                let address = socket.local_addr()?;
                (ReceiverSocket::Udp(socket), address)
            }
            Transport::Tcp => {
                let socket =
                    if spec.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.set_reuseaddr(true)?;
                socket.set_recv_buffer_size(SYSTEM_BUFFER)?;
                socket.bind(spec.listen)?;
                let listener = socket.listen(BACKLOG)?;
                let address = listener.local_addr()?;
                (ReceiverSocket::Tcp(listener), address)
            }
        };
        let url = ReceiverSpec { transport: spec.transport, listen: address }.to_string();
        Ok(Self { socket, url })
    }

    /// Its URL, with the port that was bound.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Receives until the collector ends.
    pub(crate) async fn run(
        self,
        handover: Handover,
        health: Arc<Health>,
        ending: watch::Receiver<bool>,
    ) {
        let inlet = Inlet { origin: self.url.into(), handover, health, ending };
        match self.socket {
            ReceiverSocket::Udp(socket) => udp::run(socket, inlet).await,
            ReceiverSocket::Tcp(listener) => tcp::run(listener, inlet).await,
        }
    }
}
