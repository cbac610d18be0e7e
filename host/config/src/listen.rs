//! Settings of listeners: where they listen, and who may ask.

use std::fmt;
use std::path::PathBuf;

use super::loopback::is_loopback;
use nephometer_model::Secret;

/// The listener for meters of guests: `prometheus`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrometheusSpec {
    /// Where it listens; without addresses there is none.
    pub listen: ListenSpec,
    /// `form`
    pub form: PrometheusForm,
}

/// The names and labels of the guests' meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrometheusForm {
    /// Those of the exporter of Ceilometer 27.
    #[default]
    Ceilometer,
    /// In the conventions of Prometheus.
    Native,
}

/// Addresses of a listener and their protection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenSpec {
    /// `listen`
    pub addresses: Vec<ListenAddress>,
    /// `hosts`: names in the `Host` header that are accepted on loopback addresses.
    pub hosts: Vec<String>,
    /// `token` or the content of `token_file`.
    pub token: Option<Secret>,
    /// `tls`
    pub tls: Option<ListenTls>,
}

/// An address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `HOST:PORT`, without the brackets of an IPv6 address.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:PATH`
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only processes of this host can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => is_loopback(host),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// PEM files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// `certificate`
    pub certificate: PathBuf,
    /// `key`
    pub key: PathBuf,
    /// `client_ca`: the authority of the clients' certificates, which are then required.
    pub client_ca: Option<PathBuf>,
}
