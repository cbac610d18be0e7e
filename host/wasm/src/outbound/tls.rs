//! TLS connections of guests, with the root certificates of this machine.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

use nephometer_telemetry::events;

/// Loaded on the first TLS request, for the life of the agent.
static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Performs the TLS handshake. `host` is as in the URL; the certificate must match it.
///
/// # Errors
/// If no root certificates are available, or the handshake fails.
pub(super) async fn connect(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    let address = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(address).map_err(|_| Error::HttpRequestUriInvalid)?;
    let config = CONFIG.get_or_try_init(config).await?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(Error::Tls)
}

async fn config() -> Result<Arc<ClientConfig>, Error> {
    let internal = |error: &dyn std::fmt::Display| Error::InternalError(Some(error.to_string()));
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
    let found = read.await.map_err(|error| internal(&error))?;
    let mut roots = RootCertStore::empty();
    let (good, bad) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        let reason = found.errors.first().map(ToString::to_string);
        events::outbound::no_trusted_authority(reason.as_deref().unwrap_or("none installed"), bad);
        let reason = io::Error::other("no trusted certificate authority on this machine");
        return Err(Error::Tls(reason));
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map(Arc::new)
        .map_err(|error| internal(&error))
}
