//! One connection and its requests.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::access::{AccessRules, Caller};
use super::body::ReplyBody;
use super::exchange::{ConnectionState, Exchange};
use super::router::Router;
use super::stream::TimedStream;
use nephometer_model::Bound;

/// What all connections of a listener share.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) access: AccessRules,
}

/// Serves the requests of a connection until it ends. `stop` lets it end after the request that is
/// under way.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (state, caller): (Arc<ConnectionState>, Caller),
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let stream = TimedStream::new(stream, Arc::clone(&state));
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let exchange = Exchange::begin(&state);
        let service = Arc::clone(&service);
        async move {
            Ok::<_, std::convert::Infallible>(answer(&service, request, caller, exchange).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(Bound::HttpHeadBytes.size())
        .max_headers(Bound::HttpHeaders.size())
        // The stream has its own time limits.
        .header_read_timeout(None)
        .serve_connection(stream, answer);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn answer(
    service: &Service,
    request: hyper::Request<Incoming>,
    connected: Caller,
    exchange: Exchange,
) -> hyper::Response<ReplyBody> {
    let access = service.access.now();
    let reply = service.router.answer(&access, request, connected).await;
    exchange.reply_begins();
    reply.response(exchange)
}
