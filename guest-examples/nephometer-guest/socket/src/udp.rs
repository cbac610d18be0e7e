//! A UDP socket that sends to one receiver.
//!
//! Resources must be dropped child before parent, as `wasi:io` requires: pollables first, then
//! streams, then the socket.

use std::net::IpAddr;
use std::time::Duration;

use crate::SocketError;
use crate::address::{family, to_std, unspecified_like, with_port};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::sockets::instance_network::{Network, instance_network};
use crate::bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::bindings::wasi::sockets::network::ErrorCode;
use crate::bindings::wasi::sockets::udp::{
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use crate::bindings::wasi::sockets::udp_create_socket::create_udp_socket;

/// At most this many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// Sends datagrams to one receiver.
#[derive(Debug)]
pub struct UdpSender {
    // The order matters: fields are dropped from first to last, streams before the socket.
    outgoing: OutgoingDatagramStream,
    _incoming: IncomingDatagramStream,
    _socket: UdpSocket,
    created: u64,
}

impl UdpSender {
    /// Connects to the first address of `host` (a name or an address) that accepts a socket.
    ///
    /// # Errors
    /// If the name cannot be resolved within `timeout`, or the host grants none of its addresses.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self, SocketError> {
        let network = instance_network();
        let mut last = SocketError::Failed(format!("{host} has no address"));
        for address in addresses(&network, host, &Deadline::after(timeout))? {
            match Self::connect_to(&network, address, port) {
                Ok(sender) => return Ok(sender),
                Err(code) => last = classify(code, &format!("{address} port {port}")),
            }
        }
        Err(last)
    }

    fn connect_to(network: &Network, address: IpAddr, port: u16) -> Result<Self, ErrorCode> {
        let socket = create_udp_socket(family(address))?;
        socket.start_bind(network, unspecified_like(address))?;
        loop {
            match socket.finish_bind() {
                Ok(()) => break,
                Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
                Err(code) => return Err(code),
            }
        }
        let (incoming, outgoing) = socket.stream(Some(with_port(address, port)))?;
        let created = monotonic_clock::now();
        Ok(Self { outgoing, _incoming: incoming, _socket: socket, created })
    }

    /// The time since the sender was created. Reconnect now and then to follow DNS changes.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.created))
    }

    /// Sends all datagrams, in order. UDP does not confirm their arrival.
    ///
    /// # Errors
    /// If the network accepts no more datagrams within `timeout`, or refuses one. Earlier ones may
    /// have been sent.
    pub fn send(&self, datagrams: &[Vec<u8>], timeout: Duration) -> Result<(), SocketError> {
        let deadline = Deadline::after(timeout);
        let mut rest = datagrams;
        while !rest.is_empty() {
            let permitted = self.outgoing.check_send().map_err(|code| classify(code, "sending"))?;
            let count = usize::try_from(permitted).unwrap_or(usize::MAX).min(rest.len());
            if count == 0 {
                deadline.wait(&self.outgoing.subscribe())?;
                continue;
            }
            let chunk: Vec<OutgoingDatagram> = rest[..count]
                .iter()
                .map(|data| OutgoingDatagram { data: data.clone(), remote_address: None })
                .collect();
            let sent = self.outgoing.send(&chunk).map_err(|code| classify(code, "sending"))?;
            rest = &rest[usize::try_from(sent).unwrap_or(count).min(count)..];
        }
        Ok(())
    }
}

/// The addresses of a host: the host itself if it is an address, otherwise those of the name.
fn addresses(
    network: &Network,
    host: &str,
    deadline: &Deadline,
) -> Result<Vec<IpAddr>, SocketError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let stream = resolve_addresses(network, host).map_err(|code| classify(code, host))?;
    let mut all = Vec::new();
    while all.len() < MAX_ADDRESSES {
        match stream.resolve_next_address() {
            Ok(Some(address)) => all.push(to_std(address)),
            Ok(None) => break,
            Err(ErrorCode::WouldBlock) => deadline.wait(&stream.subscribe())?,
            Err(code) => return Err(classify(code, host)),
        }
    }
    Ok(all)
}

struct Deadline(Pollable);

impl Deadline {
    fn after(timeout: Duration) -> Self {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self(monotonic_clock::subscribe_duration(nanoseconds))
    }

    fn wait(&self, pollable: &Pollable) -> Result<(), SocketError> {
        let ready = poll(&[pollable, &self.0]);
        if ready.contains(&0) { Ok(()) } else { Err(SocketError::Failed("timed out".to_owned())) }
    }
}

/// Classifies an error: refused operations need an operator, failed ones may succeed later.
fn classify(code: ErrorCode, what: &str) -> SocketError {
    match code {
        ErrorCode::AccessDenied => SocketError::Refused(format!(
            "{what}: the host does not grant this address to the component"
        )),
        // These do not pass. A host that allows no name resolution returns them, too.
        ErrorCode::PermanentResolverFailure
        | ErrorCode::NotSupported
        | ErrorCode::InvalidArgument => SocketError::Refused(format!("{what}: {}", code.message())),
        // The generated message is about TCP; for UDP it is the reply to an earlier datagram.
        ErrorCode::ConnectionRefused => SocketError::Failed(format!("{what}: port unreachable")),
        other => SocketError::Failed(format!("{what}: {}", other.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_access_is_refused_and_unreachable_ports_are_failures() {
        assert!(matches!(classify(ErrorCode::AccessDenied, "x"), SocketError::Refused(_)));
        assert!(matches!(classify(ErrorCode::ConnectionRefused, "x"), SocketError::Failed(_)));
    }
}
