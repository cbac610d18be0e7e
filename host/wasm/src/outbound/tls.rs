//! TLS connections of guests, with the root certificates of this machine, or those of a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

use nephometer_telemetry::events;

/// Loaded on the first TLS request, for the life of the agent.
static OF_MACHINE: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// The authorities that one publisher trusts.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    /// Instead of those of this machine.
    file: Option<PathBuf>,
    /// Made from the file as it was: when it was written, and its length.
    read: Mutex<Option<(FileState, Arc<ClientConfig>)>>,
}

type FileState = (Option<SystemTime>, u64);

impl Authorities {
    /// Those in a file, or those of this machine.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, read: Mutex::default() }
    }

    /// Performs the TLS handshake. `host` is as in the URL; the certificate must match it.
    ///
    /// # Errors
    /// If no root certificates are available, or the handshake fails.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let address = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(address).map_err(|_| Error::HttpRequestUriInvalid)?;
        let config = match &self.file {
            Some(file) => self.of_file(file).map_err(Error::Tls)?,
            None => Arc::clone(OF_MACHINE.get_or_try_init(of_machine).await?),
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(Error::Tls)
    }

    /// Reads the file again only if it has changed.
    fn of_file(&self, file: &Path) -> io::Result<Arc<ClientConfig>> {
        let failed = |reason: String| io::Error::other(format!("{}: {reason}", file.display()));
        let metadata = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        let state = (metadata.modified().ok(), metadata.len());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = &*read
            && *known == state
        {
            return Ok(Arc::clone(config));
        }
        let bytes = nephometer_files::read(file).map_err(|error| failed(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("no certificate in it".to_owned()));
        }
        let config = trusting(roots).map_err(|error| failed(error.to_string()))?;
        *read = Some((state, Arc::clone(&config)));
        Ok(config)
    }
}

async fn of_machine() -> Result<Arc<ClientConfig>, Error> {
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
    trusting(roots).map_err(|error| internal(&error))
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, tokio_rustls::rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
