//! Addresses and the sockets that listen on them.

use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::access::Caller;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an address without brackets, and a port. Of a name, its first address.
    Tcp(String, u16),
    /// The path of a socket, for this user and root.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why nothing can be served at an address.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: Address,
        /// The error of the system.
        source: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error("cannot use the TLS file {path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listening socket. Dropping it removes the socket of a path.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on an address.
    pub(super) async fn bind(address: &Address) -> Result<Self, HttpError> {
        let bound = match address {
            Address::Tcp(host, port) => tcp(host, *port).await.map(Self::Tcp),
            Address::Unix(path) => unix(path).map(|listener| Self::Unix(listener, path.to_owned())),
        };
        bound.map_err(|source| HttpError::Bind { address: address.clone(), source })
    }

    /// Accepts a connection. `None` if the peer may not connect.
    pub(super) async fn accept(&self) -> io::Result<Option<(Box<dyn Stream>, Caller)>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Replies are written at once; waiting for more would only delay them.
                drop(stream.set_nodelay(true));
                Some((Box::new(stream), Caller::Anonymous))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                is_allowed(&stream).then(|| (Box::new(stream) as Box<dyn Stream>, Caller::Local))
            }
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Best effort: the next agent replaces the socket.
            drop(std::fs::remove_file(path));
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    let first = addresses.next();
    let first = first.ok_or_else(|| io::Error::other(format!("{host} has no address")))?;
    TcpListener::bind(first).await
}

/// Creates a socket for this user. Replaces that of an agent that has crashed.
fn unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if StdStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the peer is this user or root. The mode of the socket ensures that too, but is set only
/// after the socket was created.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
