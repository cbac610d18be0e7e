//! Debian's docker-registry with TLS and a password, on a port of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Agent, Folder, Server, certificate, closed_port};

pub(super) const USER: &str = "builder";
pub(super) const PASSWORD: &str = "s3cret";
/// bcrypt of the password, the only form that this registry reads.
const HTPASSWD: &str = "builder:$2b$04$a9gbb1dFVhUOQLU5G4LHB.1ASP9h5006Axkwiad5jIM/MUPIVfDb2\n";

/// The registry's files, and the process while it runs.
pub(super) struct RegistryService {
    pub(super) folder: Folder,
    port: u16,
    server: Option<Server>,
}

impl RegistryService {
    pub(super) fn start() -> Self {
        let mut service = Self::stopped();
        service.resume();
        service
    }

    /// The same before it is started.
    pub(super) fn stopped() -> Self {
        let (folder, port) = (Folder::new("registry"), closed_port());
        certificate(&folder);
        folder.write("htpasswd", HTPASSWD);
        let file = |name: &str| folder.at(name).display().to_string();
        let config = serde_json::json!({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": file("storage")}},
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "tls": {"certificate": file("certificate.pem"), "key": file("key.pem")},
            },
            "auth": {"htpasswd": {"realm": "tests", "path": file("htpasswd")}},
        });
        folder.write("config.yml", config.to_string());
        Self { folder, port, server: None }
    }

    /// Starts the process, again if it was killed.
    pub(super) fn resume(&mut self) {
        let config = self.folder.at("config.yml");
        self.server = Some(Server::start_at(self.port, "docker-registry", |_, _| {
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(config);
            command
        }));
    }

    /// Kills the process.
    pub(super) fn kill(&mut self) {
        self.server = None;
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The reference of a tag.
    pub(super) fn reference(&self, repository: &str, tag: &str) -> String {
        format!("oci://{}/{repository}:{tag}", self.host())
    }

    /// Trusts its certificate, and logs in.
    pub(super) fn known_to(&self, agent: Agent) -> Agent {
        let at = format!("components.registries.{}", self.host());
        let ca = self.folder.at("certificate.pem").display().to_string();
        agent
            .set(&format!("{at}.ca"), ca)
            .set(&format!("{at}.username"), USER)
            .set(&format!("{at}.password"), PASSWORD)
    }

    /// What the registry has stored as a blob or manifest.
    pub(super) fn stored(&self, digest: &str) -> Vec<u8> {
        let digits = digest.strip_prefix("sha256:").unwrap();
        let path = format!("docker/registry/v2/blobs/sha256/{}/{digits}/data", &digits[..2]);
        fs::read(self.folder.at("storage").join(path)).unwrap()
    }

    /// The digest that a tag stands for.
    pub(super) fn tagged(&self, repository: &str, tag: &str) -> String {
        let link = format!(
            "docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        );
        let path: PathBuf = self.folder.at("storage").join(link);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
