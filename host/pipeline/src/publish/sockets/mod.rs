//! `udp://` and `tcp://`: metering messages in MessagePack, straight to a collector.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use nephometer_config::SocketSpec;

pub(crate) use tcp::TcpPublisher;
pub(super) use udp::LARGEST;
pub(crate) use udp::UdpPublisher;

/// How long a name may take until it is looked up, a connection until it stands, and a receiver
/// that takes nothing.
const LIMIT: Duration = Duration::from_secs(10);

/// The addresses of a receiver, those of IPv6 first.
async fn resolve(target: &SocketSpec) -> io::Result<Vec<SocketAddr>> {
    let looking = lookup_host((&*target.host, target.port));
    let found = timeout(LIMIT, looking).await.map_err(|_| late("the name is not looked up"))??;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv4);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// What did not happen within [`LIMIT`].
fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} after {LIMIT:?}"))
}
