//! Requests to one server over its HTTP interface, each on its own connection.
//!
//! Queries are sent in bodies, so that ids do not stand in logs of proxies. An answer is held back by
//! the server until it is whole (`wait_end_of_query`): what has failed half way is an error, never a
//! short answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use nephometer_config::ClickHouseSpec;
use nephometer_model::{Bound, Secret};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::wire::{RowReader, RowWriter};
use crate::sample::clip;
use crate::store::StoreError;

/// Settings of every query. Lists of ids are long; blocks of one insert are written as one part.
const SETTINGS: &str = "wait_end_of_query=1&max_query_size=268435456&max_ast_elements=10000000&\
    max_expanded_ast_elements=10000000";
/// Settings that the first version does not know: answers wait until rows are stored.
const LATER_SETTINGS: &str = "&async_insert=0";

/// One server.
pub(super) struct ClickHouseServer {
    /// Its URL, for messages.
    pub(super) label: String,
    url: Url,
    database: String,
    user: String,
    password: Option<Secret>,
    timeout: Duration,
    tls: Option<TlsConnector>,
    /// The first part of its version, such as 18; 0 until it was asked.
    pub(super) version: u32,
}

/// What a request is about.
enum Sending<'a> {
    Query(&'a str),
    Rows { into: String, rows: &'a [u8] },
}

impl ClickHouseServer {
    /// A server that was not asked yet.
    pub(super) fn new(spec: &ClickHouseSpec, label: &str) -> Result<Self, StoreError> {
        let failed = |what: String| StoreError::Server { server: label.to_owned(), what };
        let url = Url::parse(label).map_err(|error| failed(error.to_string()))?;
        let tls = (url.scheme() == "https").then(|| connector(spec).map_err(failed)).transpose()?;
        Ok(Self {
            label: label.to_owned(),
            url,
            database: spec.database.clone(),
            user: spec.user.clone(),
            password: spec.password.clone(),
            timeout: spec.timeout,
            tls,
            version: 0,
        })
    }

    /// An error of this server.
    pub(super) fn error(&self, what: impl Into<String>) -> StoreError {
        StoreError::Server { server: self.label.clone(), what: what.into() }
    }

    /// Runs a statement that returns nothing.
    pub(super) fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.send(&Sending::Query(sql)).map(drop)
    }

    /// Runs a query. Its rows are read in the order of its columns.
    pub(super) fn query(&self, sql: &str) -> Result<RowReader<'_>, StoreError> {
        let answer = self.send(&Sending::Query(&format!("{sql} FORMAT RowBinary")))?;
        Ok(RowReader::new(&self.label, answer))
    }

    /// Inserts rows, if there are any. `columns` are those of the rows.
    pub(super) fn insert(
        &self,
        table: &str,
        columns: &str,
        rows: &RowWriter,
    ) -> Result<(), StoreError> {
        if rows.bytes().is_empty() {
            return Ok(());
        }
        let into = format!("INSERT INTO {}.{table} ({columns}) FORMAT RowBinary", self.database);
        self.send(&Sending::Rows { into, rows: rows.bytes() }).map(drop)
    }

    /// Sends a request and waits for all of its answer. Must not be called on a thread of async tasks.
    fn send(&self, sending: &Sending<'_>) -> Result<Bytes, StoreError> {
        let exchange = async {
            let within = tokio::time::timeout(self.timeout, self.exchange(sending)).await;
            let slow = |_| {
                let after = self.timeout.as_secs();
                self.error(format!(
                    "no answer within {after} s; check the server, or raise store.clickhouse.timeout"
                ))
            };
            within.map_err(slow)?
        };
        runtime()?.block_on(exchange)
    }

    async fn exchange(&self, sending: &Sending<'_>) -> Result<Bytes, StoreError> {
        let unreachable = |error: std::io::Error| {
            self.error(format!(
                "cannot be reached: {error}; start it, or correct store.clickhouse.servers"
            ))
        };
        let name = self.url.host_str().unwrap_or_default();
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = self.url.port_or_known_default().unwrap_or(8123);
        let stream = TcpStream::connect((name.as_str(), port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &self.tls else { return self.on_stream(stream, sending).await };
        let server = ServerName::try_from(name)
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        let stream = tls.connect(server, stream).await.map_err(unreachable)?;
        self.on_stream(stream, sending).await
    }

    async fn on_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        sending: &Sending<'_>,
    ) -> Result<Bytes, StoreError> {
        let failed = |error: hyper::Error| {
            self.error(format!("the connection failed: {error}; check the log of the server"))
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        // It ends with its sender. Its errors are those of the answer.
        tokio::spawn(connection);
        let answer = sender.send_request(self.request(sending)?).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), Bound::EngineAnswer.size()).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => StoreError::Bound(Bound::EngineAnswer.refusal()),
            Err(error) => self.error(format!("the answer ended early: {error}")),
        })?;
        let body = body.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(self.refused(status.as_u16(), &String::from_utf8_lossy(&body)))
    }

    /// An answer with an error. Texts of 18.16 have the stack of the server behind the message.
    fn refused(&self, status: u16, body: &str) -> StoreError {
        let text = body.split(", e.what()").next().unwrap_or_default().trim();
        let what = match clip(text) {
            _ if [401, 403, 516].contains(&status) || text.starts_with("Code: 516") => {
                "refuses the login; correct user and password of store.clickhouse".to_owned()
            }
            "" => format!("answers with status {status}; check that it is ClickHouse"),
            _ => format!("reports {}; see its log", &text[..text.floor_char_boundary(400)]),
        };
        self.error(what)
    }

    fn request(&self, sending: &Sending<'_>) -> Result<Request<Full<Bytes>>, StoreError> {
        let later = if self.version >= 22 { LATER_SETTINGS } else { "" };
        let (query, body) = match sending {
            Sending::Query(sql) => (String::new(), Bytes::from((*sql).to_owned())),
            Sending::Rows { into, rows } => {
                let query = utf8_percent_encode(into, NON_ALPHANUMERIC);
                (format!("&query={query}"), Bytes::copy_from_slice(rows))
            }
        };
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        let request = Request::post(format!("/?{SETTINGS}{later}{query}"))
            .header(HOST, host)
            .header(USER_AGENT, concat!("nephometer-collector/", env!("CARGO_PKG_VERSION")))
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", self.password.as_ref().map_or("", Secret::reveal))
            .body(Full::from(body));
        request.map_err(|_| self.error("user or password cannot stand in a header; use others"))
    }
}

/// One runtime for the requests of all threads. It lives as long as the process: a runtime must not end
/// within another one.
fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("clickhouse").enable_all();
        builder.build().map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|what| StoreError::Bound(format!("cannot start a thread: {what}")))
}

fn connector(spec: &ClickHouseSpec) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &spec.ca {
        let failed =
            |error: String| format!("{}: {error}; correct store.clickhouse.ca", file.display());
        let all = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
        for certificate in all {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("no certificate in it".to_owned()));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
