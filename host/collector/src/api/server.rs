//! The listener of the API: HTTP/1.1 by hyper. It bounds connections, heads, bodies and times, and
//! passes whole requests on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use nephometer_model::Bound;
use nephometer_page::POLICY;
use nephometer_telemetry::events::collector as events;
use percent_encoding::percent_decode_str;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::endpoints::Endpoint;
use super::request::Request;
use super::routes::{Answer, Api};

/// The bound listener.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    /// Binds the address.
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// The address with its port.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the collector ends.
    pub(crate) async fn run(self, api: Arc<Api>, mut ending: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(Bound::QueryConnections.size()));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Such as too many open files: it passes.
                    events::accept_failed(&error.to_string());
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let (api, ending) = (Arc::clone(&api), ending.clone());
            tokio::spawn(async move {
                connection(stream, api, ending).await;
                drop(permit);
            });
        }
    }
}

async fn connection(stream: TcpStream, api: Arc<Api>, mut ending: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(respond(request, api).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    builder.header_read_timeout(Duration::from_millis(Bound::QueryTime.most()));
    builder.max_buf_size(Bound::QueryHead.size());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let over = async { drop(ending.wait_for(|ending| *ending).await) };
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = over => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        events::query_connection_failed(&error.to_string());
    }
}

async fn respond(request: hyper::Request<Incoming>, api: Arc<Api>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, Bound::QueryBody.size()).collect();
    let within = Duration::from_millis(Bound::QueryTime.most());
    let body = match tokio::time::timeout(within, body).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, &Bound::QueryBody.refusal()),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, &Bound::QueryTime.refusal()),
    };
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let query = head.uri.query().unwrap_or_default();
    let request = Request {
        method: head.method.to_string(),
        path: percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned(),
        parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        token: text("x-auth-token"),
        host: text("host"),
        content_type: text("content-type"),
        body,
    };
    let path = request.path.clone();
    // Reading the store blocks.
    let replied = tokio::task::spawn_blocking(move || api.answer(&request)).await;
    match replied {
        Ok(Answer { status, body, kind }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = response(status, Bytes::from(body), kind);
            let allowed = Endpoint::methods(&path).join(", ");
            if status == StatusCode::METHOD_NOT_ALLOWED
                && let Ok(allowed) = header::HeaderValue::from_str(&allowed)
            {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
        // The thread of the query panicked, which its hook has reported.
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, Bytes::from(format!("{text}\n")), "text/plain")
}

fn response(status: StatusCode, body: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    // Browsers are to take nothing for a page that is none, and to keep nothing of a project.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(POLICY));
    if status == StatusCode::UNAUTHORIZED {
        let value = header::HeaderValue::from_static("Keystone");
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
