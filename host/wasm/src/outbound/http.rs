//! HTTP requests of guests: to checked addresses, over TLS for https. Uses no proxy and follows no
//! redirects.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::http::uri::{PathAndQuery, Scheme, Uri};
use hyper::{Method, Request, Response};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::access::Access;
use super::budget::SocketPermit;
use super::policy::Refusal;
use super::resolver::LookupError;
use nephometer_config::ConnectTarget;
use nephometer_model::Bound;

/// Maximum time to connect. Guests may choose a shorter one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time until the next bytes. Guests may choose a shorter one.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends the requests of one guest.
pub(super) struct HttpHooks(Arc<Access>);

impl HttpHooks {
    pub(super) fn new(access: &Arc<Access>) -> Self {
        Self(Arc::clone(access))
    }
}

type ConnectionTask = Box<dyn Future<Output = Result<(), Error>> + Send>;
type SentRequest = Result<(Response<WasiBody>, ConnectionTask), Error>;

impl WasiHttpHooks for HttpHooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: ConnectionTask,
    ) -> Box<dyn Future<Output = SentRequest> + Send> {
        let access = Arc::clone(&self.0);
        Box::new(async move {
            let permit = access.sockets.try_acquire().ok_or(Error::ConnectionLimitReached)?;
            let timeouts = Timeouts::new(options);
            let target = RequestTarget::new(&request)?;
            let addresses = resolve(&access, &target, &timeouts).await?;
            let stream = connect(&addresses, &timeouts).await?;
            if target.tls {
                let connected = access.authorities.connect(&target.host, stream);
                let stream = timeout(timeouts.connect, connected);
                let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
                exchange(stream, request, timeouts, permit).await
            } else {
                exchange(stream, request, timeouts, permit).await
            }
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        Bound::HttpChunk.size()
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        ErrorCode::InternalError(Some(format!("{error}{cause}")))
    }

    fn p2_error_from_connect(&mut self, error: &io::Error) -> ErrorCode {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::InternalError(Some(error.to_string())),
        }
    }

    fn p2_error_from_tls(&mut self, error: &io::Error) -> ErrorCode {
        ErrorCode::InternalError(Some(format!("TLS: {error}")))
    }
}

/// The timeouts of one request.
#[derive(Debug, Clone, Copy)]
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn new(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let capped = |given: Option<Duration>, max: Duration| given.unwrap_or(max).min(max);
        Self {
            connect: capped(options.connect_timeout, CONNECT_TIMEOUT),
            first_byte: capped(options.first_byte_timeout, READ_TIMEOUT),
            between_bytes: capped(options.between_bytes_timeout, READ_TIMEOUT),
        }
    }
}

/// The destination of a request.
struct RequestTarget {
    tls: bool,
    /// As in the URL: IPv6 addresses in brackets.
    host: String,
    port: u16,
}

impl RequestTarget {
    fn new(request: &Request<WasiBody>) -> Result<Self, Error> {
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let uri = request.uri();
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        // Credentials belong in a header; in a URL they only disguise the host.
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: authority.host().to_owned(), port })
    }
}

/// The allowed addresses of the target, in the order in which they are tried.
async fn resolve(
    access: &Access,
    target: &RequestTarget,
    timeouts: &Timeouts,
) -> Result<Vec<SocketAddr>, Error> {
    let policy = &access.policy;
    if !access.refusals.allow(Bound::HostNameBytes, target.host.len()) {
        return Err(Error::HttpRequestUriInvalid);
    }
    let denied = |refusal: Refusal| {
        policy.report(&refusal);
        Error::HttpRequestDenied
    };
    let name = match ConnectTarget::host(&target.host).ok_or(Error::HttpRequestUriInvalid)? {
        ConnectTarget::Range(range) => {
            let to = SocketAddr::new(range.addr(), target.port);
            policy.check_address(None, to).map_err(denied)?;
            return Ok(vec![to]);
        }
        ConnectTarget::Host(name) => name,
    };
    policy.check_name(&name, Some(target.port)).map_err(denied)?;
    let found = look_up(access, &name, target.port, timeouts).await?;
    let (mut allowed, mut refused) = (Vec::new(), None);
    for address in found {
        match policy.check_address(Some(&name), address) {
            Ok(()) => allowed.push(address),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if allowed.is_empty() => Err(denied(refusal)),
        _ if allowed.is_empty() => Err(Error::DestinationNotFound),
        _ => Ok(allowed),
    }
}

async fn look_up(
    access: &Access,
    name: &str,
    port: u16,
    timeouts: &Timeouts,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |reason: String| Error::DnsError { rcode: Some(reason), info_code: None };
    let lookup = access.lookups.try_start();
    let lookup = lookup.ok_or_else(|| failed("too many lookups in progress".to_owned()))?;
    match timeout(timeouts.connect, lookup.addresses(name.to_owned(), port)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(LookupError::Failed(reason))) => Err(failed(reason)),
        Ok(Err(LookupError::TimedOut)) | Err(_) => Err(Error::DnsTimeout),
    }
}

/// Connects to the first address that accepts. The addresses were checked and must not be resolved
/// again.
async fn connect(addresses: &[SocketAddr], timeouts: &Timeouts) -> Result<TcpStream, Error> {
    let mut last_error = Error::DestinationNotFound;
    let deadline = Instant::now() + timeouts.connect;
    for address in addresses {
        match tokio::time::timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Error::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last_error = Error::Connect(error),
            Err(_) => return Err(Error::ConnectionTimeout),
        }
    }
    Err(last_error)
}

async fn exchange<S>(
    stream: S,
    mut request: Request<WasiBody>,
    timeouts: Timeouts,
    permit: SocketPermit,
) -> SentRequest
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let handshake =
        http1::Builder::new().max_buf_size(Bound::HttpHead.size()).handshake(TokioIo::new(stream));
    let (mut sender, connection) =
        timeout(timeouts.connect, handshake).await.map_err(|_| Error::ConnectionTimeout)??;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut connection = Some(Box::pin(connection));
    let response = async {
        let mut response = std::pin::pin!(sender.send_request(request));
        loop {
            let Some(running) = &mut connection else { return response.await };
            tokio::select! {
                biased;
                result = &mut response => return result,
                ended = running => {
                    connection = None;
                    ended?;
                }
            }
        }
    };
    let response = timeout(timeouts.first_byte, response)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let response =
        response.map(|body| BoundedBody::new(body, timeouts.between_bytes).boxed_unsync());
    let task = Box::new(async move {
        if let Some(connection) = connection {
            // Errors are dropped: the guest sees them in the body, and the caller would log them
            // for every request.
            drop(connection.await);
        }
        drop(permit);
        Ok(())
    });
    Ok((response, task))
}

/// The body of a response, with bounds on its size and on the time between bytes.
struct BoundedBody {
    incoming: Incoming,
    bytes_left: u64,
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl BoundedBody {
    fn new(incoming: Incoming, timeout: Duration) -> Self {
        let sleep = Box::pin(sleep(timeout));
        Self { incoming, bytes_left: Bound::HttpBody.most(), timeout, sleep }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.bytes_left.checked_sub(length) else {
                    let max = Some(Bound::HttpBody.most());
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(max))));
                };
                self.bytes_left = left;
                let deadline = Instant::now() + self.timeout;
                self.sleep.as_mut().reset(deadline);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::from(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.sleep.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
