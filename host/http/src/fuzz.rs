//! The entry point of the fuzz target `http` in `host/fuzz`.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::connection::{self, Service};
use super::exchange::ConnectionState;
use super::{Access, AccessRules, Caller, HostCheck, Method, Reply, Request, Router, Token};

/// What the private route replies.
const SECRET: &str = "only for holders of the token";

fn service() -> Arc<Service> {
    let router = Router::default()
        .route(Method::GET, "/open", |_| async { Reply::new("text/plain", "ok\n") })
        .open()
        .route(Method::POST, "/echo/{name}", |request: Request| async move {
            let name = request.parameters["name"].clone();
            Reply::new("application/octet-stream", [name.as_bytes(), &request.body].concat())
        })
        .route(Method::GET, "/private", |_| async { Reply::new("text/plain", SECRET) })
        .private();
    // A token that no input has.
    let tokens = vec![Token::new(&format!("{:?}", std::time::Instant::now()))];
    let hosts = HostCheck::Names(Vec::new());
    let access = AccessRules::new(Access { hosts, tokens, required: false });
    Arc::new(Service { router, access })
}

/// Any bytes from a client, in two pieces, end with complete replies or a closed connection. Nothing
/// private is among them, and they are not larger than what was sent and a head for each request.
///
/// # Panics
/// If that is not so.
pub fn http(data: &[u8]) {
    let Some((&split, data)) = data.split_first() else { return };
    let (first, second) = data.split_at(usize::from(split).min(data.len()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let replies = runtime.expect("a runtime").block_on(async {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let (_stop, stopped) = watch::channel(false);
        let parts = (ConnectionState::new(), Caller::Anonymous);
        let serving = tokio::spawn(connection::serve(server, parts, service(), stopped));
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let sending = async {
            // The server may close the connection meanwhile.
            if writer.write_all(first).await.is_ok() {
                tokio::task::yield_now().await;
                drop(writer.write_all(second).await);
            }
            drop(writer.shutdown().await);
        };
        let mut replies = Vec::new();
        let both = async { tokio::join!(sending, reader.read_to_end(&mut replies)).1 };
        let read = tokio::time::timeout(Duration::from_secs(5), both).await;
        read.expect("the server ends the connection").expect("reading from memory");
        drop(serving.await.expect("no request panics"));
        replies
    });
    let text = String::from_utf8_lossy(&replies);
    assert!(replies.is_empty() || text.starts_with("HTTP/1."), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    // The shortest request has 16 bytes.
    let requests = data.len() / 16 + 1;
    let most = data.len() + requests * 512;
    assert!(replies.len() <= most, "{} bytes for {}", replies.len(), data.len());
}
