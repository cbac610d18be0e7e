//! A real Prometheus.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Folder, PATIENCE, closed_port, end, eventually};

/// A running server. It ends with the test.
pub(super) struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    /// Scrapes `target` every second with the settings `scrape`, and evaluates the rules in the file
    /// `rules`, if any.
    pub(super) fn start(folder: &Folder, target: &str, scrape: &str, rules: &str) -> Self {
        let files =
            if rules.is_empty() { String::new() } else { format!("rule_files: [{rules:?}]\n") };
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{files}\
             scrape_configs:\n  - job_name: agent\n    static_configs: [{{targets: [{target:?}]}}]\n    {scrape}\n"
        );
        let config = folder.write("prometheus.yml", config);
        let port = closed_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.at("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.at("prometheus.log")).unwrap())
            .spawn()
            .expect("prometheus; the command that installs it: scripts/install test");
        Self { child, port }
    }

    /// The answer to a request to its API.
    pub(super) fn api(&self, path: &str) -> Value {
        eventually(&format!("Prometheus: {path}"), PATIENCE, || {
            // Long answers come in chunks, which curl puts together.
            let url = format!("http://127.0.0.1:{}{path}", self.port);
            let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
            serde_json::from_slice(&output.stdout).ok()
        })
    }

    /// The series of a query, once there are at least as many.
    pub(super) fn query(&self, query: &str, least: usize) -> Vec<Value> {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        eventually(&format!("{least} series of {query}"), PATIENCE * 2, || {
            let answer = self.api(&format!("/api/v1/query?query={encoded}"));
            assert_ne!(answer["status"], "error", "{answer}");
            let series = answer["data"]["result"].as_array()?.clone();
            (series.len() >= least).then_some(series)
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What `promtool` prints for this input.
pub(super) fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool; the command that installs it: scripts/install test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Makes an authority (`ca.pem`) and certificates that it has signed: for `localhost`
/// (`certificate.pem`, `key.pem`) and for a client (`client.pem`, `client-key.pem`).
pub(super) fn authority(folder: &Folder) {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem
        sign() {
            openssl req -newkey rsa:2048 -nodes -subj \"/CN=$1\" -keyout \"$2\" -out request.pem
            printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out \"$3\"
        }
        sign localhost key.pem certificate.pem
        sign client client-key.pem client.pem";
    let output =
        Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
