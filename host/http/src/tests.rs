//! The server against clients that are honest, silent, slow, or many.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::*;
use crate::access::Audience;
use nephometer_model::Bound;
use nephometer_telemetry::{TaskCpu, TaskTimes};

/// A running listener. Dropping it stops the listener.
struct Site {
    port: u16,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn router() -> Router {
    Router::default()
        .route(Method::GET, "/metrics", |_| async { Reply::new("text/plain", "up 1\n") })
        .route(Method::GET, "/large", |_| async { Reply::new("text/plain", vec![b'x'; 64 << 20]) })
        .route(Method::POST, "/echo/{name}", |request: Request| async move {
            let text = format!("{} {:?}", request.parameters["name"], request.caller);
            Reply::new("text/plain", [text.as_bytes(), b" ", &request.body].concat())
        })
        .route(Method::GET, "/panic", |_| async { panic!("on purpose") })
        .route(Method::GET, "/private", |_| async { Reply::new("text/plain", "secret") })
        .private()
        .route(Method::GET, "/shell", |_| async { Reply::new("text/html", "no names") })
        .open()
        .route(Method::GET, "/events", |_| async {
            let (sender, parts) = mpsc::channel(1);
            tokio::spawn(async move {
                while sender.send(Bytes::from_static(b"data: x\n\n")).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            Reply::stream("text/event-stream", parts)
        })
}

fn local() -> Access {
    let hosts = HostCheck::Names(vec!["node-1".to_owned()]);
    Access { hosts, tokens: vec![Token::new("t0"), Token::new("hunter2")], required: false }
}

async fn site(access: Access) -> Site {
    site_with(AccessRules::new(access)).await
}

async fn site_with(access: AccessRules) -> Site {
    let listener =
        listener::Listener::bind(&Address::Tcp("127.0.0.1".to_owned(), 0)).await.unwrap();
    let listener::Listener::Tcp(bound) = &listener else { panic!("a TCP listener") };
    let port = bound.local_addr().unwrap().port();
    let (stop, stopped) = watch::channel(false);
    let service = std::sync::Arc::new(connection::Service { router: router(), access });
    let running =
        server::Running { listener, tls: None, service, cpu: TaskCpu::default(), stop: stopped };
    Site { port, stop, task: tokio::spawn(running.serve()) }
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends a request on a connection of its own and returns the whole reply.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        String::from_utf8(reply).unwrap()
    }

    async fn get(&self, path: &str, fields: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n")).await
    }
}

const HERE: &str = "Host: 127.0.0.1:9464\r\n";

#[track_caller]
fn status(reply: &str, expected: u16) {
    assert!(reply.starts_with(&format!("HTTP/1.1 {expected} ")), "expected {expected}:\n{reply}");
}

#[tokio::test]
async fn routes_methods_and_parameters() {
    let site = site(local()).await;
    let reply = site.get("/metrics?x=1", HERE).await;
    status(&reply, 200);
    assert!(reply.ends_with("\r\n\r\nup 1\n") && reply.contains("content-length: 5"), "{reply}");
    let head =
        site.ask(&format!("HEAD /metrics HTTP/1.1\r\nconnection: close\r\n{HERE}\r\n")).await;
    assert!(head.contains("content-length: 5") && head.ends_with("\r\n\r\n"), "{head}");
    status(&site.get("/nothing", HERE).await, 404);
    status(&site.get("/metrics/", HERE).await, 404);
    let refused = site.get("/echo/a", HERE).await;
    status(&refused, 405);
    assert!(refused.contains("allow: POST"), "{refused}");
    let post = format!(
        "POST /echo/a%20b HTTP/1.1\r\nconnection: close\r\n{HERE}content-length: 2\r\n\r\nhi"
    );
    assert!(site.ask(&post).await.ends_with("a b Anonymous hi"));
}

// A page in a browser that resolves its own name to 127.0.0.1 could read everything.
#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let site = site(local()).await;
    for good in [
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]:80",
        "localhost:1",
        "LOCALHOST",
        "Node-1:2",
        "10.0.0.1",
    ] {
        status(&site.get("/metrics", &format!("Host: {good}\r\n")).await, 200);
    }
    for bad in [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "",
        "127.0.0.1.evil",
        "[evil]",
    ] {
        status(&site.get("/metrics", &format!("Host: {bad}\r\n")).await, 421);
    }
    status(&site.get("/metrics", "").await, 400);
    status(&site.get("/metrics", "Host: localhost\r\nHost: evil.example\r\n").await, 400);
    assert!(site.ask("GET /metrics HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn private_routes_need_a_token() {
    let open = site(local()).await;
    let with = |token: &str| format!("{HERE}Authorization: {token}\r\n");
    let refused = open.get("/private", HERE).await;
    status(&refused, 401);
    assert!(refused.contains("www-authenticate: Bearer") && !refused.contains("secret"));
    status(&open.get("/private", &with("Bearer hunter2")).await, 200);
    status(&open.get("/private", &with("bearer t0")).await, 200);
    for wrong in ["Bearer hunter", "Bearer ", "Basic aHVudGVyMg==", "hunter2"] {
        status(&open.get("/private", &with(wrong)).await, 401);
        status(&open.get("/metrics", &with(wrong)).await, 401);
    }
    status(&open.get("/metrics", HERE).await, 200);
    let closed = site(Access { required: true, ..local() }).await;
    for path in ["/metrics", "/private", "/nothing"] {
        status(&closed.get(path, HERE).await, 401);
    }
    // The files of a page, which say nothing; a wrong token is refused even there.
    status(&closed.get("/shell", HERE).await, 200);
    status(&closed.get("/shell", &with("Bearer hunter")).await, 401);
    status(&closed.get("/metrics", &with("Bearer hunter2")).await, 200);
    status(&closed.get("/nothing", &with("Bearer hunter2")).await, 404);
}

#[tokio::test]
async fn replaced_tokens_count_from_the_next_request_on() {
    let rules = AccessRules::new(Access { required: true, ..local() });
    let site = site_with(rules.clone()).await;
    let mut kept = site.connect().await;
    let ask = async |stream: &mut TcpStream, token: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\n{HERE}authorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        // Every body ends with a line, and heads end with `\r\n\r\n`.
        while !reply.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('\n')) {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            assert!(length > 0, "{reply}");
            reply.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        reply
    };
    status(&ask(&mut kept, "hunter2").await, 200);
    rules.replace(Access { tokens: vec![Token::new("other")], required: true, ..local() });
    // Also on a connection that was opened before.
    status(&ask(&mut kept, "other").await, 200);
    status(&ask(&mut kept, "hunter2").await, 401);
    status(&site.get("/metrics", &format!("{HERE}authorization: Bearer hunter2\r\n")).await, 401);
}

#[tokio::test]
async fn large_heads_and_bodies_are_refused() {
    let site = site(local()).await;
    let most = Bound::HttpHeadBytes.size();
    status(&site.get("/metrics", &format!("{HERE}X-A: {}\r\n", "a".repeat(most))).await, 431);
    let fields = "X-A: a\r\n".repeat(Bound::HttpHeaders.size() + 1);
    status(&site.get("/metrics", &format!("{HERE}{fields}")).await, 431);
    status(&site.get(&format!("/{}", "a".repeat(most)), HERE).await, 431);
    let length = Bound::HttpRequestBytes.size() + 1;
    let chunk = "a".repeat(length);
    let post = format!(
        "POST /echo/a HTTP/1.1\r\nconnection: close\r\n{HERE}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{chunk}\r\n0\r\n\r\n"
    );
    let mut stream = site.connect().await;
    let (mut reader, mut writer) = stream.split();
    let mut reply = vec![0; 12];
    let (_, read) = tokio::join!(writer.write_all(post.as_bytes()), reader.read_exact(&mut reply));
    read.unwrap();
    assert_eq!(reply, b"HTTP/1.1 413");
    // Bytes that are no HTTP, and a panicking handler, end their connection only.
    let tls = site.ask("\u{16}\u{3}\u{1}hello").await;
    assert!(tls.is_empty() || tls.starts_with("HTTP/1.1 400"), "{tls}");
    assert_eq!(site.get("/panic", HERE).await, "");
    status(&site.get("/metrics", HERE).await, 200);
}

/// Lets the server handle what it has received, in real time.
async fn caught_up() {
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
}

#[test]
fn a_certificate_is_enough_unless_there_are_tokens() {
    let admits = |access: &Access, caller| access.admit(caller, Audience::Known).is_ok();
    let with_tokens = Access { required: true, ..local() };
    // The tokens of a listener that requires none open private routes only.
    let without = local();
    for (caller, tokens, none) in [
        (Caller::Anonymous, false, false),
        (Caller::Certificate, false, true),
        (Caller::Token(0), true, true),
        (Caller::Local, true, true),
    ] {
        assert_eq!((admits(&with_tokens, caller), admits(&without, caller)), (tokens, none));
    }
}

/// Reads until the server closes the connection; returns how long that took.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    // A paused clock jumps to the next timer: the server must have set its own.
    caught_up().await;
    let mut rest = Vec::new();
    let most = Duration::from_secs(3600);
    drop(timeout(most, stream.read_to_end(&mut rest)).await.expect("the server closes it"));
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn silent_and_slow_clients_are_disconnected() {
    let head = Duration::from_millis(Bound::HttpHeadTime.most());
    let idle = Duration::from_millis(Bound::HttpIdleTime.most());
    let site = site(local()).await;
    let near = |taken: Duration, expected: Duration| {
        assert!(taken >= expected && taken < expected * 2, "{taken:?}, expected {expected:?}");
    };
    near(closed_after(&mut site.connect().await).await, head);
    // One byte of a head every second does not prolong it.
    let stream = site.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let begun = Instant::now();
    caught_up().await;
    let drip = tokio::spawn(async move {
        while writer.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    drop(reader.read_to_end(&mut Vec::new()).await);
    near(begun.elapsed(), head);
    drip.abort();
    // After a reply, a connection may be idle for longer; a second head has its own time.
    let mut kept = site.connect().await;
    let request = format!("GET /metrics HTTP/1.1\r\n{HERE}\r\n");
    let mut reply = [0; 1024];
    for _ in 0..2 {
        kept.write_all(request.as_bytes()).await.unwrap();
        assert!(kept.read(&mut reply).await.unwrap() > 0);
        caught_up().await;
        tokio::time::sleep(idle / 2).await;
    }
    kept.write_all(b"GET").await.unwrap();
    near(closed_after(&mut kept).await, head);
    let mut left = site.connect().await;
    left.write_all(request.as_bytes()).await.unwrap();
    assert!(left.read(&mut reply).await.unwrap() > 0);
    near(closed_after(&mut left).await, idle);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_disconnected() {
    let site = site(local()).await;
    let mut deaf = site.connect().await;
    deaf.write_all(format!("GET /large HTTP/1.1\r\n{HERE}\r\n").as_bytes()).await.unwrap();
    // The time is paused once the server has filled the buffers of the socket.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(Bound::HttpStallTime.most() + 1000)).await;
    tokio::time::resume();
    let mut taken = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count) = deaf.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        taken += count;
    }
    assert!(taken < 64 << 20, "all {taken} bytes arrived");
}

#[tokio::test]
async fn many_connections_never_lock_out_a_new_one() {
    let site = site(local()).await;
    let mut held = Vec::new();
    for _ in 0..Bound::HttpConnections.size() * 3 {
        held.push(site.connect().await);
    }
    status(&site.get("/metrics", HERE).await, 200);
    // The oldest have been closed, the newest are open.
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0);
    let last = held.last_mut().unwrap();
    last.write_all(format!("GET /metrics HTTP/1.1\r\n{HERE}\r\n").as_bytes()).await.unwrap();
    assert!(last.read(&mut [0; 512]).await.unwrap() > 0);
    // If all are busy, a new connection is closed, and busy ones go on.
    let mut busy = Vec::new();
    for _ in 0..Bound::HttpConnections.size() {
        let mut stream = site.connect().await;
        stream.write_all(format!("GET /events HTTP/1.1\r\n{HERE}\r\n").as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
        busy.push(stream);
    }
    assert_eq!(site.connect().await.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(busy[0].read(&mut [0; 512]).await.unwrap() > 0);
}

#[tokio::test]
async fn a_stop_closes_streams_and_lets_requests_finish() {
    let site = site(local()).await;
    let mut events = site.connect().await;
    events.write_all(format!("GET /events HTTP/1.1\r\n{HERE}\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("data: x\n\n") {
        let mut part = [0; 512];
        let count = events.read(&mut part).await.unwrap();
        assert!(count > 0, "{text}");
        text += std::str::from_utf8(&part[..count]).unwrap();
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    site.stop.send_replace(true);
    timeout(Duration::from_secs(10), site.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", site.port)).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_knows_its_callers_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/http.sock");
    // The time of connections was once that of the runtime, not of the listener's part.
    let times = TaskTimes::default();
    let spec = ListenerSpec {
        name: "test",
        address: Address::Unix(path.clone()),
        tls: None,
        access: AccessRules::new(Access { required: true, ..local() }),
        cpu: times.part("listeners"),
    };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(spec, router(), stopped));
    let mut stream = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    stream.write_all(b"GET /private HTTP/1.0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("200 OK") && reply.ends_with("secret"), "{reply}");
    assert!(times.nanos()["listeners"] > 0);
    stop.send_replace(true);
    timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    assert!(!path.exists());
}

// A port that another program has must not end the agent, and is used once it is free.
#[tokio::test]
async fn a_port_that_is_taken_is_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let spec = ListenerSpec {
        name: "test",
        address: Address::Tcp("127.0.0.1".to_owned(), port),
        tls: None,
        access: AccessRules::new(local()),
        cpu: TaskCpu::default(),
    };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(spec, router(), stopped));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!task.is_finished());
    drop(taken);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(6)).await;
    tokio::time::resume();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("up 1\n"), "{reply}");
    stop.send_replace(true);
    timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
}

/// Requests with random bytes in random places: the server answers or closes, and serves the next one.
#[tokio::test]
async fn malformed_requests_end_their_own_connection() {
    let site = site(local()).await;
    let valid = format!(
        "POST /echo/a HTTP/1.1\r\n{HERE}Authorization: Bearer t0\r\nContent-Length: 5\r\n\r\nhello"
    );
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |most: usize| {
        // Xorshift: the same requests in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most as u64).unwrap()
    };
    for _ in 0..500 {
        let mut request = valid.clone().into_bytes();
        for _ in 0..1 + random(8) {
            let at = random(request.len());
            match random(4) {
                0 => request[at] = u8::try_from(random(256)).unwrap(),
                1 => request.truncate(at.max(1)),
                2 => drop(request.splice(at..at, [b'\r', b'\n', 0, b':'])),
                _ => request.extend_from_within(at..),
            }
        }
        let mut stream = site.connect().await;
        drop(stream.write_all(&request).await);
        drop(stream.shutdown().await);
        let mut reply = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut reply)).await;
        assert!(read.is_ok(), "no end for {request:?}");
    }
    status(&site.get("/metrics", HERE).await, 200);
    assert!(!site.task.is_finished());
}

/// Requests that are honest, and ones that are cut, repeated and changed. `make fuzz` finds more.
#[test]
fn any_bytes_get_bounded_replies() {
    let seeds = [
        "GET /open HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /echo/a%20b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n\r\nabc",
        "POST /echo/x HTTP/1.1\r\nhost: [::1]:80\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "GET /private HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\n\r\n",
        "HEAD /open HTTP/1.0\r\n\r\n",
    ];
    let mut state = 27_u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    for _ in 0..3_000 {
        let mut input = vec![u8::try_from(below(256)).unwrap()];
        for _ in 0..=below(3) {
            input.extend(seeds[below(seeds.len())].as_bytes());
        }
        for _ in 0..below(4) {
            let at = below(input.len());
            match below(3) {
                0 => input[at] = u8::try_from(below(256)).unwrap(),
                1 => input.truncate(at + 1),
                _ => input.insert(at, b"\r\n:% 0"[below(6)]),
            }
        }
        fuzz::http(&input);
    }
}
