//! A UDP socket that sends to one receiver. Resources are dropped child before parent, as
//! `wasi:io` asks for: pollables first, then streams, then the socket.

use std::net::IpAddr;
use std::time::Duration;

use crate::SocketError;
use crate::address::{any_like, family, standard, with_port};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::sockets::instance_network::{Network, instance_network};
use crate::bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::bindings::wasi::sockets::network::ErrorCode;
use crate::bindings::wasi::sockets::udp::{
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use crate::bindings::wasi::sockets::udp_create_socket::create_udp_socket;

/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;

/// Sends datagrams to one receiver.
#[derive(Debug)]
pub struct UdpSender {
    // In this order: fields are dropped from first to last, and streams have to go before sockets.
    outgoing: OutgoingDatagramStream,
    _incoming: IncomingDatagramStream,
    _socket: UdpSocket,
    made: u64,
}

impl UdpSender {
    /// A socket for the first address of `host` (a name or an address) that one can be had for.
    ///
    /// # Errors
    /// If the name is not known within `timeout`, or the host grants none of its addresses.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self, SocketError> {
        let network = instance_network();
        let mut last = SocketError::Failed(format!("{host} has no address"));
        for address in addresses(&network, host, &Deadline::after(timeout))? {
            match Self::connect_to(&network, address, port) {
                Ok(sender) => return Ok(sender),
                Err(code) => last = sort(code, &format!("{address} port {port}")),
            }
        }
        Err(last)
    }

    fn connect_to(network: &Network, address: IpAddr, port: u16) -> Result<Self, ErrorCode> {
        let socket = create_udp_socket(family(address))?;
        socket.start_bind(network, any_like(address))?;
        loop {
            match socket.finish_bind() {
                Ok(()) => break,
                Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
                Err(code) => return Err(code),
            }
        }
        let (incoming, outgoing) = socket.stream(Some(with_port(address, port)))?;
        let made = monotonic_clock::now();
        Ok(Self { outgoing, _incoming: incoming, _socket: socket, made })
    }

    /// How long ago it was made: names move to other addresses, so a sender should not get old.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.made))
    }

    /// Hands all datagrams to the network, in order. That says nothing about their arrival.
    ///
    /// # Errors
    /// If the network takes no more within `timeout`, or refuses one. Some may have gone out.
    pub fn send(&self, datagrams: &[Vec<u8>], timeout: Duration) -> Result<(), SocketError> {
        let clock = Deadline::after(timeout);
        let mut rest = datagrams;
        while !rest.is_empty() {
            let room = self.outgoing.check_send().map_err(|code| sort(code, "sending"))?;
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            if room == 0 {
                clock.wait(&self.outgoing.subscribe())?;
                continue;
            }
            let some: Vec<OutgoingDatagram> = rest[..room]
                .iter()
                .map(|data| OutgoingDatagram { data: data.clone(), remote_address: None })
                .collect();
            let sent = self.outgoing.send(&some).map_err(|code| sort(code, "sending"))?;
            rest = &rest[usize::try_from(sent).unwrap_or(room).min(room)..];
        }
        Ok(())
    }
}

/// The addresses of a host: itself if it is one, else what the name stands for.
fn addresses(network: &Network, host: &str, clock: &Deadline) -> Result<Vec<IpAddr>, SocketError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let stream = resolve_addresses(network, host).map_err(|code| sort(code, host))?;
    let mut all = Vec::new();
    while all.len() < ADDRESSES {
        match stream.resolve_next_address() {
            Ok(Some(address)) => all.push(standard(address)),
            Ok(None) => break,
            Err(ErrorCode::WouldBlock) => clock.wait(&stream.subscribe())?,
            Err(code) => return Err(sort(code, host)),
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

    fn wait(&self, for_what: &Pollable) -> Result<(), SocketError> {
        let ready = poll(&[for_what, &self.0]);
        if ready.contains(&0) { Ok(()) } else { Err(SocketError::Failed("timed out".to_owned())) }
    }
}

/// Whether someone has to act, or time may help.
fn sort(code: ErrorCode, what: &str) -> SocketError {
    match code {
        ErrorCode::AccessDenied => SocketError::Refused(format!(
            "{what}: the host does not grant this address to the component"
        )),
        // The resolver will not know better later; a host that allows no look-up answers so, too.
        ErrorCode::PermanentResolverFailure
        | ErrorCode::NotSupported
        | ErrorCode::InvalidArgument => SocketError::Refused(format!("{what}: {}", code.message())),
        // The generated words speak of TCP; here it is the answer to an earlier datagram.
        ErrorCode::ConnectionRefused => {
            SocketError::Failed(format!("{what}: nobody listens there"))
        }
        other => SocketError::Failed(format!("{what}: {}", other.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_told_apart_from_what_may_pass() {
        assert!(matches!(sort(ErrorCode::AccessDenied, "x"), SocketError::Refused(_)));
        assert!(matches!(sort(ErrorCode::ConnectionRefused, "x"), SocketError::Failed(_)));
    }
}
