//! Opens connections: directly or through a proxy, with or without TLS.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::error::RegistryError;
use nephometer_config::Proxies;
use nephometer_model::Bound;

/// The longest answer of a proxy to CONNECT.
const PROXY_HEAD: usize = 8 << 10;

/// Opens connections to one registry and what it refers to.
pub(crate) struct Connector {
    tls: TlsConnector,
    proxies: Proxies,
}

/// What a connection reads and writes, with or without TLS.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) stream: TokioIo<Box<dyn ByteStream>>,
    /// Set if requests go to a proxy in the clear: what authorizes us there, if anything.
    pub(crate) proxied: Option<Option<String>>,
}

impl Connector {
    /// `ca` has authorities to trust besides those of the system.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) fn new(ca: Option<&Path>, proxies: &Proxies) -> Result<Self, RegistryError> {
        let failed = |reason: String| RegistryError::Authorities(reason);
        let mut roots = RootCertStore::empty();
        // Without any, only plain HTTP can be reached: the handshake fails.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = ca {
            let of_file =
                |error: &dyn std::fmt::Display| failed(format!("{}: {error}", file.display()));
            let read = nephometer_files::read(file).map_err(|error| of_file(&error))?;
            let mut found = 0;
            for certificate in CertificateDer::pem_slice_iter(&read) {
                let certificate = certificate.map_err(|error| of_file(&error))?;
                roots.add(certificate).map_err(|error| of_file(&error))?;
                found += 1;
            }
            if found == 0 {
                return Err(of_file(&"no certificate in it"));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), proxies: proxies.clone() })
    }

    /// Connects to the host of a URL.
    pub(crate) async fn connect(&self, url: &Url) -> Result<Connection, RegistryError> {
        let host = authority(url);
        let most = Duration::from_millis(Bound::RegistryConnect.most());
        let what = format!("connecting to {host}");
        let Ok(connected) = timeout(most, self.open(url, &host)).await else {
            return Err(RegistryError::Timeout { what, after: most });
        };
        connected
    }

    async fn open(&self, url: &Url, host: &str) -> Result<Connection, RegistryError> {
        let failed = |source| RegistryError::Connect { host: host.to_owned(), source };
        let is_tls = url.scheme() == "https";
        let proxy = self.proxies.for_url(url).map(|text| proxy(text.reveal())).transpose()?;
        let stream = match &proxy {
            None => tcp(url).await.map_err(failed)?,
            Some((proxy, authorization)) => {
                let failed = |source| RegistryError::Connect { host: authority(proxy), source };
                let mut stream = tcp(proxy).await.map_err(failed)?;
                if is_tls {
                    tunnel(&mut stream, host, authorization.as_deref()).await.map_err(failed)?;
                }
                stream
            }
        };
        if is_tls {
            let name = bare_host(url);
            let name = ServerName::try_from(name).map_err(|error| failed(Error::other(error)))?;
            let stream = self.tls.connect(name, stream).await.map_err(failed)?;
            return Ok(Connection { stream: TokioIo::new(Box::new(stream)), proxied: None });
        }
        let proxied = proxy.map(|(_, authorization)| authorization);
        Ok(Connection { stream: TokioIo::new(Box::new(stream)), proxied })
    }
}

async fn tcp(url: &Url) -> std::io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or_default();
    let stream = TcpStream::connect((bare_host(url).as_str(), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The URL of a proxy, and the value that authorizes us there.
fn proxy(text: &str) -> Result<(Url, Option<String>), RegistryError> {
    let refused = || {
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        RegistryError::Proxy(nephometer_model::clean(shown))
    };
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|_| refused())?;
    if url.scheme() != "http" || url.host().is_none() {
        return Err(refused());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().map(decoded).unwrap_or_default();
    let authorization =
        (!url.username().is_empty()).then(|| basic(&decoded(url.username()), &password));
    Ok((url, authorization))
}

/// The value of the header that sends a user and a password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Asks a proxy for a connection to a host.
async fn tunnel(
    stream: &mut TcpStream,
    host: &str,
    authorization: Option<&str>,
) -> std::io::Result<()> {
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(value) = authorization {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD {
            return Err(Error::new(ErrorKind::InvalidData, "the proxy does not answer in HTTP"));
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if head.starts_with("HTTP/1.") && status.starts_with('2') {
        return Ok(());
    }
    let status = nephometer_model::clean(status);
    Err(Error::other(format!("the proxy refuses the connection with status {status}")))
}

/// The host without the brackets of an IPv6 address.
fn bare_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Host and port of a URL.
pub(crate) fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that answers once, and what it was asked.
    async fn asked_for_tunnel(reply: &'static str) -> (std::io::Result<()>, TcpStream, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let login = basic("u", "p");
        let opened = tunnel(&mut stream, "registry.example:443", Some(&login)).await;
        (opened, stream, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_tunnel_begins_behind_the_answer_of_the_proxy() {
        let (opened, mut stream, asked) =
            asked_for_tunnel("HTTP/1.1 200 OK\r\nA: b\r\n\r\nX").await;
        opened.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'X');
        assert!(asked.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{asked}");
        let (refused, ..) = asked_for_tunnel("HTTP/1.1 407 Login\r\n\r\n").await;
        assert!(refused.unwrap_err().to_string().contains("status 407"));
    }

    #[test]
    fn proxies_are_read_and_errors_show_no_password() {
        let (url, authorization) = proxy("http://us%40er:p%3Aw@proxy.example:3128").unwrap();
        assert_eq!(authority(&url), "proxy.example:3128");
        assert_eq!(authorization.unwrap(), basic("us@er", "p:w"));
        assert_eq!(authority(&proxy("proxy.example:3128").unwrap().0), "proxy.example:3128");
        let error = proxy("socks5://user:secret@proxy.example").unwrap_err().to_string();
        assert!(error.contains("proxy.example") && !error.contains("secret"), "{error}");
    }
}
