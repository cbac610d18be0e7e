//! HTTP requests of guests: to the checked address, over TLS where the scheme asks for it, without
//! a proxy and without following redirects.

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
use super::budget::Slot;
use super::policy::Refusal;
use super::resolver::LookupError;
use super::tls;
use nephometer_config::Reach;
use nephometer_model::Bound;

/// The longest wait for a connection, and for the next bytes: guests may choose shorter ones.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);

/// The requests of one guest.
pub(super) struct Requests(Arc<Access>);

impl Requests {
    pub(super) fn new(access: &Arc<Access>) -> Self {
        Self(Arc::clone(access))
    }
}

type Driving = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Driving), Error>;

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Driving,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let access = Arc::clone(&self.0);
        Box::new(async move {
            let slot = access.sockets.take().ok_or(Error::ConnectionLimitReached)?;
            let patience = Patience::new(options);
            let target = Target::of(&request)?;
            let addresses = resolve(&access, &target, &patience).await?;
            let stream = connect(&addresses, &patience).await?;
            if target.tls {
                let stream = timeout(patience.connect, tls::connect(&target.host, stream));
                let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
                exchange(stream, request, patience, slot).await
            } else {
                exchange(stream, request, patience, slot).await
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

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Patience {
    fn new(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let most = |given: Option<Duration>, most: Duration| given.unwrap_or(most).min(most);
        Self {
            connect: most(options.connect_timeout, CONNECT),
            first_byte: most(options.first_byte_timeout, SILENCE),
            between_bytes: most(options.between_bytes_timeout, SILENCE),
        }
    }
}

/// Where a request goes.
struct Target {
    tls: bool,
    /// As in the URL: an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Target {
    fn of(request: &Request<WasiBody>) -> Result<Self, Error> {
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let uri = request.uri();
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        // User and password belong into a header; before a host they only deceive readers.
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: authority.host().to_owned(), port })
    }
}

/// The addresses that may be reached, in the order in which they are tried.
async fn resolve(
    access: &Access,
    target: &Target,
    patience: &Patience,
) -> Result<Vec<SocketAddr>, Error> {
    let policy = &access.policy;
    if !access.refusals.allow(Bound::HostNameBytes, target.host.len()) {
        return Err(Error::HttpRequestUriInvalid);
    }
    let denied = |refusal: Refusal| {
        policy.tell(&refusal);
        Error::HttpRequestDenied
    };
    let name = match Reach::host(&target.host).ok_or(Error::HttpRequestUriInvalid)? {
        Reach::Range(range) => {
            let to = SocketAddr::new(range.addr(), target.port);
            policy.connect(None, to).map_err(denied)?;
            return Ok(vec![to]);
        }
        Reach::Host(name) => name,
    };
    policy.lookup(&name, Some(target.port)).map_err(denied)?;
    let found = look_up(access, &name, target.port, patience).await?;
    let (mut allowed, mut refused) = (Vec::new(), None);
    for address in found {
        match policy.connect(Some(&name), address) {
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
    patience: &Patience,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |reason: String| Error::DnsError { rcode: Some(reason), info_code: None };
    let lookup = access.lookups.begin();
    let lookup = lookup.ok_or_else(|| failed("too many look-ups are under way".to_owned()))?;
    match timeout(patience.connect, lookup.addresses(name.to_owned(), port)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(LookupError::Failed(reason))) => Err(failed(reason)),
        Ok(Err(LookupError::TimedOut)) | Err(_) => Err(Error::DnsTimeout),
    }
}

/// The first address that answers. What was checked is what is connected to: nothing is looked up
/// here.
async fn connect(addresses: &[SocketAddr], patience: &Patience) -> Result<TcpStream, Error> {
    let mut last = Error::DestinationNotFound;
    let end = Instant::now() + patience.connect;
    for address in addresses {
        match tokio::time::timeout_at(end, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Error::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Error::Connect(error),
            Err(_) => return Err(Error::ConnectionTimeout),
        }
    }
    Err(last)
}

async fn exchange<S>(
    stream: S,
    mut request: Request<WasiBody>,
    patience: Patience,
    slot: Slot,
) -> Sent
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let handshake =
        http1::Builder::new().max_buf_size(Bound::HttpHead.size()).handshake(TokioIo::new(stream));
    let (mut sender, connection) =
        timeout(patience.connect, handshake).await.map_err(|_| Error::ConnectionTimeout)??;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut connection = Some(Box::pin(connection));
    let response = async {
        let mut answer = std::pin::pin!(sender.send_request(request));
        loop {
            let Some(driven) = &mut connection else { return answer.await };
            tokio::select! {
                biased;
                response = &mut answer => return response,
                ended = driven => {
                    connection = None;
                    ended?;
                }
            }
        }
    };
    let response = timeout(patience.first_byte, response)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let response =
        response.map(|body| BoundedBody::new(body, patience.between_bytes).boxed_unsync());
    let driving = Box::new(async move {
        if let Some(connection) = connection {
            // How it ended the guest learns from the body. Whoever drives this would log it, once
            // for every request.
            drop(connection.await);
        }
        drop(slot);
        Ok(())
    });
    Ok((response, driving))
}

/// The body of a response: of bounded size, and never silent for long.
struct BoundedBody {
    incoming: Incoming,
    left: u64,
    silence: Duration,
    limit: Pin<Box<Sleep>>,
}

impl BoundedBody {
    fn new(incoming: Incoming, silence: Duration) -> Self {
        Self { incoming, left: Bound::HttpBody.most(), silence, limit: Box::pin(sleep(silence)) }
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
                let Some(left) = self.left.checked_sub(length) else {
                    let most = Some(Bound::HttpBody.most());
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(most))));
                };
                self.left = left;
                let again = Instant::now() + self.silence;
                self.limit.as_mut().reset(again);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::from(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.limit.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
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
