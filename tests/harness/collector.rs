use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::agent::{Ended, Running};
use super::openapi::assert_described;
use super::{Folder, PATIENCE, eventually, ndjson};

/// A configuration of the collector in its own folder, to be run by the real binary.
pub(crate) struct Collector {
    pub(crate) folder: Folder,
    settings: Value,
    runs: std::sync::atomic::AtomicUsize,
}

/// An answer of the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The text of an error.
    pub(crate) fn fault(&self) -> &str {
        self.body["error_message"]["faultstring"].as_str().unwrap_or_default()
    }
}

impl Collector {
    /// A collector without brokers, with an open API on a free port.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let settings = json!({
            "store": { "path": folder.at("store") },
            "commit": { "time": "50ms" },
            "api": { "listen": "127.0.0.1:0", "access": "loopback" },
        });
        Self { folder, settings, runs: 0.into() }
    }

    /// Sets a key of `collector.yaml`, named by a path such as `store.window`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.settings;
        for name in key.split('.') {
            let map = at.as_object_mut().expect("a key below a mapping");
            at = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        *at = value.into();
        self
    }

    /// Consumes the queue of a topic.
    pub(crate) fn consuming(self, url: &str, topics: &[&str]) -> Self {
        let queues: Vec<String> = topics.iter().map(|topic| format!("{topic}.sample")).collect();
        self.set("brokers", json!([{"url": url, "queues": queues}]))
    }

    fn program() -> std::path::PathBuf {
        let agent = Path::new(env!("CARGO_BIN_EXE_nephometer"));
        let path = agent.with_file_name("nephometer-collector");
        assert!(path.is_file(), "{} does not exist; build it with: make build", path.display());
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // In one step, because a program that was just started may read it now.
        let written = self.folder.write("collector.yaml.new", self.settings.to_string());
        let config = self.folder.at("collector.yaml");
        std::fs::rename(written, &config).unwrap();
        let mut command = Command::new(Self::program());
        // `--config` is an option of the innermost subcommand.
        command.args(arguments);
        if arguments.first() != Some(&"token") && arguments.get(1) != Some(&"verify") {
            command.arg("--config").arg(config);
        }
        command.env_remove("NEPHOMETER_COLLECTOR_CONFIG").env_remove("NEPHOMETER_LOG");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Starts `run`.
    pub(crate) fn run(&self) -> Running {
        self.start(self.command(&["run", "--log-json", "--log", "debug"]))
    }

    pub(crate) fn start(&self, command: Command) -> Running {
        let number = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Running::start(command, &self.folder, &format!("collector-{number}"))
    }

    /// Starts `run` with its store on its own small disk, in its own mount namespace. A file
    /// `ballast` of this many bytes nearly fills it.
    pub(crate) fn run_on_small_disk(&self, disk: &Path, size: &str, ballast: u32) -> Running {
        let script = format!(
            "mount -t tmpfs -o size={size} none '{0}'; head -c {ballast} /dev/zero > '{0}/ballast'; exec \"$@\"",
            disk.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-ec", &script, "sh"]);
        let inner = self.command(&["run", "--log-json", "--log", "debug"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.current_dir(self.folder.path());
        self.start(command)
    }

    /// Runs a command to its end.
    pub(crate) fn execute(&self, arguments: &[&str]) -> Ended {
        self.start(self.command(arguments)).ended(PATIENCE)
    }

    /// The rows of a query as JSON.
    pub(crate) fn query(&self, arguments: &[&str]) -> Vec<Value> {
        let all = [&["query"], arguments, &["--format", "json"]].concat();
        ndjson(&self.execute(&all).code(0).stdout)
    }

    /// All stored samples, newest first.
    pub(crate) fn samples(&self) -> Vec<Value> {
        self.query(&["samples", "--limit", "1000000"])
    }

    /// The output of `status --json`.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.execute(&["status", "--json"]).code(0).stdout).unwrap()
    }
}

/// Waits until the collector serves; returns the address of its API.
pub(crate) fn api_of(running: &Running) -> String {
    eventually("the collector has started", PATIENCE, || {
        let started = running.logged("collector started");
        started.first().map(|line| line["api"].as_str().unwrap().to_owned())
    })
}

/// Sends a request to an API; the headers are whole lines. The answer has to be as the API's OpenAPI
/// document describes it.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    if method == "POST" {
        head.push_str("Content-Type: application/json\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    let reply = Reply { status, body };
    assert_described(method, path, &reply);
    reply
}
