//! Small requests over HTTP/1.1 and TLS, each on its own connection: an agent sends a few an hour.
//! Follows no redirects and uses no proxy. Size and time of every answer are bounded.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::error::CloudError;
use nephometer_config::CloudSpec;
use nephometer_model::{Bound, Exceeded, Secret};

/// The name of the header that holds a token.
pub(crate) const TOKEN: &str = "x-auth-token";

/// Sends requests.
pub(crate) struct HttpClient {
    tls: TlsConnector,
    timeout: Duration,
}

/// One request.
pub(crate) struct CloudRequest<'a> {
    pub method: Method,
    pub url: &'a Url,
    /// Header `X-Auth-Token`.
    pub token: Option<&'a Secret>,
    pub headers: &'a [(&'static str, &'a str)],
    /// Sent as JSON.
    pub body: Option<&'a Value>,
}

/// An answer with status 200 to 299, with JSON in its body.
pub(crate) struct CloudAnswer {
    pub headers: HeaderMap,
    pub json: Value,
}

impl CloudAnswer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The time at the service when it answered.
    pub(crate) fn date(&self) -> Option<&str> {
        self.header(DATE.as_str())
    }
}

impl HttpClient {
    /// A client that trusts `cafile`, or the authorities of the system.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) fn new(spec: &CloudSpec) -> Result<Self, CloudError> {
        let failed = |reason: String| CloudError::Authorities(reason);
        let mut roots = RootCertStore::empty();
        if let Some(file) = &spec.ca {
            let certificates = CertificateDer::pem_file_iter(file)
                .map_err(|error| failed(format!("{}: {error}", file.display())))?;
            for certificate in certificates {
                let certificate =
                    certificate.map_err(|error| failed(format!("{}: {error}", file.display())))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed(format!("{}: no certificate in it", file.display())));
            }
        } else {
            // Without any, only http:// can be reached: the handshake fails.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), timeout: spec.timeout })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// No answer in time, one with an error, or one that is too large or not JSON.
    pub(crate) async fn send(&self, request: CloudRequest<'_>) -> Result<CloudAnswer, CloudError> {
        let host = authority(request.url)?;
        let sent = tokio::time::timeout(self.timeout, self.exchange(&host, request)).await;
        sent.unwrap_or(Err(CloudError::Timeout { host, after: self.timeout }))
    }

    async fn exchange(
        &self,
        host: &str,
        request: CloudRequest<'_>,
    ) -> Result<CloudAnswer, CloudError> {
        let failed = |source| CloudError::Connect { host: host.to_owned(), source };
        let name = request.url.host_str().unwrap_or_default();
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = request.url.port_or_known_default().unwrap_or_default();
        let stream = TcpStream::connect((name.as_str(), port)).await.map_err(failed)?;
        if request.url.scheme() != "https" {
            return on_stream(stream, host, request).await;
        }
        let server =
            ServerName::try_from(name).map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = self.tls.connect(server, stream).await.map_err(failed)?;
        on_stream(stream, host, request).await
    }
}

async fn on_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    request: CloudRequest<'_>,
) -> Result<CloudAnswer, CloudError> {
    let what = format!("{} {}", request.method, shown(request.url));
    let failed = |source| CloudError::Http { host: host.to_owned(), source };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(Bound::CloudHead.size());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut connection = std::pin::pin!(connection);
    let message = message(host, &request, &what)?;
    let answer = async {
        let answer = sender.send_request(message).await.map_err(failed)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, Bound::CloudBody.size()).collect().await;
        // The connection ends with its sender.
        drop(sender);
        Ok((head, body))
    };
    let mut answer = std::pin::pin!(answer);
    let mut open = true;
    let (head, body) = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer?,
            // Errors of the connection are errors of the answer.
            _ = &mut connection, if open => open = false,
        }
    };
    let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => too_large(&what, Bound::CloudBody),
        Err(error) => unusable(&what, error.to_string()),
    })?;
    let status = head.status.as_u16();
    if !head.status.is_success() {
        let retry_after = retry_after(&head.headers);
        return Err(CloudError::Status { what, status, retry_after });
    }
    // Errors of serde_json quote no content.
    let json = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| unusable(&what, format!("it is not JSON: {error}")))?;
    Ok(CloudAnswer { headers: head.headers, json })
}

fn message(
    host: &str,
    request: &CloudRequest<'_>,
    what: &str,
) -> Result<Request<Full<Bytes>>, CloudError> {
    let path = match request.url.query() {
        Some(query) => format!("{}?{query}", request.url.path()),
        None => request.url.path().to_owned(),
    };
    let body = request.body.map(ToString::to_string).unwrap_or_default();
    let mut builder = Request::builder()
        .method(request.method.clone())
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("nephometer/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json");
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in request.headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| unusable(what, format!("{name} is no header")))?;
        // One of them is the token of a client.
        value.set_sensitive(true);
        builder = builder.header(*name, value);
    }
    if let Some(token) = request.token {
        let mut value = HeaderValue::from_str(token.reveal())
            .map_err(|_| unusable(what, "the token is no header".to_owned()))?;
        value.set_sensitive(true);
        builder = builder.header(TOKEN, value);
    }
    builder.body(Full::from(body)).map_err(|error| unusable(what, error.to_string()))
}

/// `Retry-After` in seconds, up to the bound. A date is not worth a parser: the usual delay applies.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_millis(Bound::RetryAfter.most())))
}

pub(crate) fn unusable(what: &str, reason: String) -> CloudError {
    CloudError::Answer { what: what.to_owned(), reason }
}

pub(crate) fn too_large(what: &str, bound: Bound) -> CloudError {
    let source = Exceeded { bound, amount: bound.most() + 1 };
    CloudError::Exceeded { what: what.to_owned(), source }
}

/// A URL without its query, for messages.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

fn authority(url: &Url) -> Result<String, CloudError> {
    let host = url.host_str().ok_or_else(|| CloudError::Url(shown(url)))?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}
