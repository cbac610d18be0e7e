//! A registry that answers whatever a test needs: lies, delays, endless layers. No real one does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::Agent;

/// How a request is answered.
#[derive(Clone)]
pub(super) enum Reply {
    /// This status, these header lines and this body.
    Whole(u16, Vec<String>, Vec<u8>),
    /// A body of this many bytes that is only announced.
    Announced(u64),
    /// Chunks without end.
    Endless,
    /// One byte each 200 ms.
    Trickle(Vec<u8>),
    /// Asks for a login, and then answers this.
    Login(Box<Self>),
}

/// Replies by path.
type Replies = HashMap<String, Reply>;

/// Path and `Authorization` of each request.
type Requests = Vec<(String, Option<String>)>;

/// The registry. Its threads end with the process.
pub(super) struct LyingRegistry {
    pub(super) port: u16,
    replies: Arc<Mutex<Replies>>,
    requests: Arc<Mutex<Requests>>,
}

/// A manifest with one layer, and what it names.
pub(super) struct Artifact {
    pub(super) manifest: Vec<u8>,
    pub(super) digest: String,
    pub(super) layer: String,
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

impl Artifact {
    /// The manifest of this content, with this size.
    pub(super) fn new(content: &[u8], size: u64) -> Self {
        let config = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let layer = sha256(content);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/wasm", "digest": layer, "size": size}],
        });
        let manifest = manifest.to_string().into_bytes();
        Self { digest: sha256(&manifest), manifest, layer }
    }
}

impl LyingRegistry {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let registry = Self { port, replies: Arc::default(), requests: Arc::default() };
        let (replies, requests) = (Arc::clone(&registry.replies), Arc::clone(&registry.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (replies, requests) = (Arc::clone(&replies), Arc::clone(&requests));
                // An error is a client that has left.
                std::thread::spawn(move || drop(serve(stream, &replies, &requests)));
            }
        });
        registry
    }

    /// Sets the reply to a path below `/v2/price/`.
    pub(super) fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(format!("/v2/price/{path}"), reply);
    }

    /// Serves content under a whole URL, as a proxy.
    pub(super) fn proxied(&self, url: &str, content: impl Into<Vec<u8>>) {
        let reply = Reply::Whole(200, Vec::new(), content.into());
        self.replies.lock().unwrap().insert(url.to_owned(), reply);
    }

    /// Serves content with status 200.
    pub(super) fn content(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.set(path, Reply::Whole(200, Vec::new(), content.into()));
    }

    /// Serves an artifact honestly, under `tag` and by digest, without signatures.
    pub(super) fn artifact(&self, tag: &str, artifact: &Artifact, content: &[u8]) {
        self.content(&format!("manifests/{tag}"), artifact.manifest.clone());
        self.content(&format!("manifests/{}", artifact.digest), artifact.manifest.clone());
        self.content(&format!("blobs/{}", artifact.layer), content);
    }

    pub(super) fn requests(&self) -> Requests {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(super) fn reference(&self, tag: &str) -> String {
        format!("oci://{}/price:{tag}", self.host())
    }

    /// Reached without TLS, with a login.
    pub(super) fn known_to(&self, agent: Agent) -> Agent {
        let at = format!("components.registries.{}", self.host());
        agent
            .set(&format!("{at}.plain_http"), Value::Bool(true))
            .set(&format!("{at}.username"), "u")
            .set(&format!("{at}.password"), "p")
    }
}

fn serve(
    mut stream: TcpStream,
    replies: &Mutex<Replies>,
    requests: &Mutex<Requests>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut authorization = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        let header = header.to_lowercase();
        let login = header.strip_prefix("authorization:");
        if let Some(value) = login.or(header.strip_prefix("proxy-authorization:")) {
            authorization = Some(value.trim().to_owned());
        }
    }
    requests.lock().unwrap().push((path.clone(), authorization.clone()));
    let reply = replies.lock().unwrap().get(&path).cloned();
    let challenge = vec!["WWW-Authenticate: Basic realm=\"r\"".to_owned()];
    let reply = match reply.unwrap_or_else(|| Reply::Whole(404, Vec::new(), Vec::new())) {
        Reply::Login(_) if authorization.is_none() => Reply::Whole(401, challenge, Vec::new()),
        Reply::Login(inner) => *inner,
        reply => reply,
    };
    match reply {
        Reply::Login(_) => panic!("a login within a login"),
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            head.extend(headers.iter().map(|line| format!("{line}\r\n")));
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Announced(bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n")?;
            wait(&mut reader)
        }
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let chunk = [b'x'; 65_536];
            loop {
                write!(stream, "10000\r\n")?;
                stream.write_all(&chunk)?;
                write!(stream, "\r\n")?;
            }
        }
        Reply::Trickle(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            for byte in body {
                std::thread::sleep(Duration::from_millis(200));
                stream.write_all(&[byte])?;
            }
            Ok(())
        }
    }
}

/// Until the client leaves.
fn wait(reader: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut rest = String::new();
    while reader.read_line(&mut rest)? > 0 {}
    Ok(())
}
