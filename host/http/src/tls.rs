//! TLS of a listener: its files, which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::listener::HttpError;
use nephometer_telemetry::events::http as events;

/// How often the files are checked, when a client connects.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// PEM files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The authority that must have signed the certificates of clients. `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// The TLS settings in use. A renewed certificate is used without a restart.
pub(super) struct Tls {
    files: TlsFiles,
    acceptor: TlsAcceptor,
    loaded: Vec<Option<SystemTime>>,
    next_check: Instant,
}

impl Tls {
    /// Reads the files.
    pub(super) async fn load(files: TlsFiles) -> Result<Self, HttpError> {
        let (loaded, acceptor) = read(&files).await;
        Ok(Self { files, acceptor: acceptor?, loaded, next_check: Instant::now() + CHECK_EVERY })
    }

    /// Settings for the next connection.
    pub(super) async fn acceptor(&mut self) -> TlsAcceptor {
        if Instant::now() >= self.next_check {
            self.next_check = Instant::now() + CHECK_EVERY;
            self.refresh().await;
        }
        self.acceptor.clone()
    }

    /// Whether clients have certificates.
    pub(super) fn knows_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    async fn refresh(&mut self) {
        let files = self.files.clone();
        let now = tokio::task::spawn_blocking(move || modified(&files)).await;
        if now.is_ok_and(|now| now == self.loaded) {
            return;
        }
        let (loaded, acceptor) = read(&self.files).await;
        // Not tried again before the files change once more.
        self.loaded = loaded;
        match acceptor {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                events::certificate_reloaded(&self.files.certificate);
            }
            Err(error) => events::certificate_not_reloaded(&error),
        }
    }
}

/// Reads the files off the runtime. The times are taken first, so that a change while they are read
/// is seen later.
async fn read(files: &TlsFiles) -> (Vec<Option<SystemTime>>, Result<TlsAcceptor, HttpError>) {
    let (copy, path) = (files.clone(), files.certificate.clone());
    let task = tokio::task::spawn_blocking(move || (modified(&copy), acceptor(&copy)));
    task.await.unwrap_or_else(|error| {
        (Vec::new(), Err(HttpError::Tls { path, reason: error.to_string() }))
    })
}

fn modified(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    let time = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    paths.into_iter().flatten().map(time).collect()
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, HttpError> {
    let chain = certificates(&files.certificate)?;
    let text = text(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| failed(&files.key, format!("no private key in it ({error})")))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for one in certificates(path)? {
                roots.add(one).map_err(|error| failed(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| failed(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        failed(&files.certificate, format!("{error}; check that the key belongs to it"))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let text = text(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(failed(path, "no certificate in it; name a PEM file".to_owned())),
        Err(error) => Err(failed(path, error.to_string())),
    }
}

fn text(path: &Path) -> Result<String, HttpError> {
    nephometer_files::read_text(path).map_err(|error| failed(path, error.to_string()))
}

fn failed(path: &Path, reason: String) -> HttpError {
    HttpError::Tls { path: path.to_owned(), reason }
}
