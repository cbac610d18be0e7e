use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

use super::{Folder, closed_port, ndjson, root};

/// A real Keystone, Nova API and Glance, started by `scripts/openstack`. They end with this process.
pub(crate) struct Cloud {
    folder: Folder,
    port: u16,
    credentials: Value,
}

/// The services that all tests share. Each test has its own hosts and servers.
pub(crate) fn cloud() -> &'static Cloud {
    static CLOUD: OnceLock<Result<Cloud, String>> = OnceLock::new();
    match CLOUD.get_or_init(Cloud::up) {
        Ok(cloud) => cloud,
        Err(reason) => panic!("{reason}"),
    }
}

impl Cloud {
    fn up() -> Result<Self, String> {
        let (folder, port) = (Folder::new("cloud"), closed_port());
        let (number, owner) = (port.to_string(), std::process::id().to_string());
        let arguments = ["--port", &number, "--owner", &owner];
        let output = Command::new(root().join("scripts/openstack"))
            .arg("up")
            .arg(folder.path())
            .args(arguments)
            .output()
            .map_err(|error| format!("scripts/openstack: {error}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("OpenStack did not start; scripts/openstack up: {stderr}"));
        }
        let text = fs::read_to_string(folder.at("credentials.json")).unwrap();
        Ok(Self { folder, port, credentials: serde_json::from_str(&text).unwrap() })
    }

    /// Writes servers and groups into Nova's database: see `tests/openstack/seed.py`.
    pub(crate) fn seed(&self, what: &Value) {
        // SQLite has one writer at a time.
        static SEEDING: Mutex<()> = Mutex::new(());
        let _one = SEEDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut script = Command::new(root().join("scripts/openstack"))
            .arg("seed")
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        script.stdin.take().unwrap().write_all(what.to_string().as_bytes()).unwrap();
        let output = script.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `auth_url`
    pub(crate) fn auth_url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.port)
    }

    /// A value of `credentials.json`.
    pub(crate) fn credential(&self, pointer: &str) -> &str {
        self.credentials.pointer(pointer).and_then(Value::as_str).unwrap()
    }

    /// `service_credentials` with the password.
    pub(crate) fn password(&self) -> Value {
        json!({
            "auth_type": "password", "auth_url": self.auth_url(), "username": "ceilometer",
            "password": "ceilometer-password", "project_name": "service",
            "region_name": "RegionOne", "interface": "internal",
        })
    }

    /// The requests to Nova whose path contains a text.
    pub(crate) fn nova_requests(&self, part: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.at("nova.requests")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let path = |request: &Value| request["path"].as_str().unwrap().to_owned();
        ndjson(whole).iter().map(path).filter(|path| path.contains(part)).collect()
    }

    /// Makes Nova answer this to everybody who asks for the servers of a host, while the test holds
    /// it.
    pub(crate) fn nova_fault(&self, host: &str, fault: &str) -> Fault {
        let file = Fault { file: self.folder.at(&format!("nova.fault.{host}")) };
        file.becomes(fault);
        file
    }

    /// Changes an object through Nova's API, as its owner would.
    pub(crate) fn nova(&self, method: &str, path: &str, body: &Value) {
        let token = self.token("ceilometer", "ceilometer-password", "service");
        let url = format!("http://127.0.0.1:{}/v2.1{path}", self.port + 1);
        curl(&["-f", "-X", method, "-H", &format!("X-Auth-Token: {token}"), &url], body);
    }
}

impl Cloud {
    /// A new token of a user for a project.
    pub(crate) fn token(&self, user: &str, password: &str, project: &str) -> String {
        let who = json!({"user": {"name": user, "domain": {"id": "default"},
            "password": password}});
        let scope = json!({"project": {"name": project, "domain": {"id": "default"}}});
        self.token_with(&json!({"methods": ["password"], "password": who}), Some(&scope))
    }

    /// A new token; without a scope it is for no project.
    pub(crate) fn token_with(&self, identity: &Value, scope: Option<&Value>) -> String {
        let mut auth = json!({"identity": identity});
        auth["scope"] = scope.cloned().unwrap_or_else(|| json!("unscoped"));
        let url = format!("{}/auth/tokens", self.auth_url());
        let answer = curl(&["-i", &url], &json!({"auth": auth}));
        let token = answer.lines().find_map(|line| line.strip_prefix("X-Subject-Token: "));
        token.unwrap_or_else(|| panic!("no token: {answer}")).trim().to_owned()
    }

    /// Ends a token.
    pub(crate) fn revoke(&self, token: &str) {
        let url = format!("{}/auth/tokens", self.auth_url());
        let own = format!("X-Auth-Token: {token}");
        let subject = format!("X-Subject-Token: {token}");
        curl(&["-f", "-X", "DELETE", "-H", &own, "-H", &subject, &url], &Value::Null);
    }

    /// A request to Keystone; returns the answer, or null without one.
    pub(crate) fn keystone(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let (url, own) = (format!("{}{path}", self.auth_url()), format!("X-Auth-Token: {token}"));
        let answer = curl(&["-f", "-X", method, "-H", &own, &url], body);
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// Adds a service to Keystone's catalog, with the endpoint that [`Self::password`] selects.
    pub(crate) fn add_service(&self, kind: &str, url: &str) {
        let token = self.token("ceilometer", "ceilometer-password", "service");
        let token = format!("X-Auth-Token: {token}");
        let add = |what: &str, body: Value| {
            let url = format!("{}/{what}s", self.auth_url());
            let answer = curl(&["-f", "-H", &token, &url], &json!({ what: body }));
            serde_json::from_str::<Value>(&answer).unwrap()[what]["id"].clone()
        };
        let service = add("service", json!({"type": kind, "name": kind}));
        add(
            "endpoint",
            json!({"service_id": service, "interface": "internal", "region_id": "RegionOne", "url": url}),
        );
    }
}

fn curl(arguments: &[&str], body: &Value) -> String {
    // Without a body, Keystone would refuse one.
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let data: &[&str] = if body.is_empty() { &[] } else { &["-d", &body] };
    let output = Command::new("curl")
        .args(["-sS", "-H", "Content-Type: application/json"])
        .args(data)
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl: {stderr}");
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

/// A fault of Nova. It ends with its scope.
pub(crate) struct Fault {
    file: PathBuf,
}

impl Fault {
    pub(crate) fn becomes(&self, fault: &str) {
        fs::write(&self.file, fault).unwrap();
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.file));
    }
}
