//! TLS of broker connections. The library makes the handshake; where the broker's name is not
//! verified, it gets a connector that accepts a certificate with another name. Everything else
//! about the certificate is verified in both cases.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_rs::TokioRuntime;
use lapin::tcp::{AMQPUriTcpExt, OwnedIdentity, OwnedTLSConfig, RustlsConnector};
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::error::AmqpError;
use crate::stream::BrokerStream;
use nephometer_config::TlsSpec;

/// How connections are secured. Files are read for each connection, because certificates are renewed
/// while the program runs.
pub(crate) enum Security {
    /// By the library, or not at all.
    Library(OwnedTLSConfig),
    /// By the library with this connector.
    AnyName(RustlsConnector),
}

impl Security {
    /// Reads the PEM files, which are small and local, if the node uses TLS.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be.
    pub(crate) fn new(node: &AMQPUri, tls: &TlsSpec) -> Result<Self, AmqpError> {
        if node.scheme != AMQPScheme::AMQPS {
            return Ok(Self::Library(OwnedTLSConfig::default()));
        }
        if !tls.verify_hostname {
            return any_name(tls).map(Self::AnyName);
        }
        let cert_chain = match &tls.ca {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
            None => None,
        };
        let identity = match &tls.identity {
            Some((certificate, key)) => {
                Some(OwnedIdentity::PKCS8 { pem: read(certificate)?, key: read(key)? })
            }
            None => None,
        };
        Ok(Self::Library(OwnedTLSConfig { identity, cert_chain }))
    }

    /// Connects, and makes the handshake.
    pub(crate) async fn connect(&self, node: &AMQPUri) -> lapin::Result<BrokerStream> {
        let tokio = TokioRuntime::tokio_current();
        match self {
            Self::Library(config) => {
                Ok(node.connect_with_config_async(config.as_ref(), &tokio).await?)
            }
            Self::AnyName(connector) => {
                let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..node.clone() };
                let config = OwnedTLSConfig::default();
                let stream = plain.connect_with_config_async(config.as_ref(), &tokio).await?;
                Ok(stream.into_rustls(connector, &node.authority.host).await?)
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AmqpError> {
    let unreadable = |error| AmqpError::File { path: path.to_owned(), error };
    nephometer_files::read(path).map_err(unreadable)
}

/// A connector that verifies certificates, but not the name in them.
fn any_name(tls: &TlsSpec) -> Result<RustlsConnector, AmqpError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &tls.ca {
        roots.add_parsable_certificates(certificates(path)?);
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| AmqpError::Tls(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AmqpError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName(verifier)));
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let wrong = |error: String| AmqpError::Tls(format!("{}: {error}", key.display()));
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| wrong(error.to_string()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, secret)
                .map_err(|error| wrong(error.to_string()))?
        }
    };
    Ok(RustlsConnector::from(config))
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AmqpError> {
    let text = read(path)?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        AmqpError::File { path: path.to_owned(), error }
    })
}

/// Accepts a valid certificate for another name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is verified last, so that this error says that all else is valid.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
