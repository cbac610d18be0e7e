//! `udp://` and `tcp://`: metering messages in MessagePack, directly to a collector.
//!
//! Neither protocol acknowledges. What counts as acknowledged is documented at each publisher.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use nephometer_config::SocketSpec;

pub(crate) use tcp::TcpPublisher;
pub(super) use udp::MAX_DATAGRAM_BYTES;
pub(crate) use udp::UdpPublisher;

/// Timeout of a name lookup, of connecting, and of a write that makes no progress.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks up the addresses of a receiver, IPv6 first.
async fn resolve(target: &SocketSpec) -> io::Result<Vec<SocketAddr>> {
    let lookup = lookup_host((&*target.host, target.port));
    let found =
        timeout(TIMEOUT, lookup).await.map_err(|_| timed_out("the name is not resolved"))??;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv4);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// The error for what did not happen within [`TIMEOUT`].
fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} after {TIMEOUT:?}"))
}
