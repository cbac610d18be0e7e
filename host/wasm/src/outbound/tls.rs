//! TLS towards the places that guests reach, with the roots that this machine trusts.

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

/// Read at the first request over TLS, and then as long as the agent lives.
static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Speaks TLS over the stream. `host` as in the URL; its certificate has to be for that.
pub(super) async fn connect(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    let unconfigured = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(unconfigured).map_err(|_| Error::HttpRequestUriInvalid)?;
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
        events::outbound::no_trusted_authority(
            reason.as_deref().unwrap_or("none is installed"),
            bad,
        );
        let reason = io::Error::other("this machine trusts no certificate authority");
        return Err(Error::Tls(reason));
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map(Arc::new)
        .map_err(|error| internal(&error))
}
