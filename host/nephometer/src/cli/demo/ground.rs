//! The folder of a demo: copies of its components, one to replace a running one with, the list of stuck
//! machines, and the control socket.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The components of the demo's pipeline.
const COMPONENTS: [&str; 2] = ["rate_of_change", "unit_conversion"];
/// The component that there is another one of.
pub(super) const REPLACEABLE: &str = "rate_of_change.wasm";
/// A custom section of four bytes: the same code with another digest.
const MARK: [u8; 7] = [0, 5, 4, b'd', b'e', b'm', b'o'];

/// The folder of a demo.
pub(super) struct Ground {
    /// The folder as it was given, for commands that people type.
    pub(super) folder: PathBuf,
    /// Where the page and the metrics are, `127.0.0.1:PORT`.
    pub(super) listen: String,
}

impl Ground {
    /// Makes the folder, with the components from another one.
    pub(super) fn prepare(folder: &Path, components: &Path) -> Result<Self> {
        let ground = Self { folder: folder.to_owned(), listen: free_address()? };
        for folder in [ground.components(), ground.folder.join("new")] {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        for name in COMPONENTS.map(|name| format!("{name}.wasm")) {
            let from = components.join(&name);
            let mut bytes = fs::read(&from)
                .with_context(|| format!("{}: build it with: make build", from.display()))?;
            write(&ground.components().join(&name), &bytes)?;
            if name == REPLACEABLE {
                bytes.extend(MARK);
                write(&ground.folder.join("new").join(&name), &bytes)?;
            }
        }
        write(&ground.stuck(), b"")?;
        Ok(ground)
    }

    pub(super) fn components(&self) -> PathBuf {
        self.folder.join("components")
    }

    /// The file with the names of simulated machines that do not answer.
    pub(super) fn stuck(&self) -> PathBuf {
        self.folder.join("stuck")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// `nephometer.yaml` of the demo, with the secret that its collector knows.
    pub(super) fn configuration(&self, secret: Option<&str>) -> String {
        // JSON is YAML.
        let socket = std::path::absolute(self.socket()).unwrap_or_else(|_| self.socket());
        let mut settings = serde_json::json!({
            "control": { "socket": socket },
            "telemetry": { "listen": self.listen },
        });
        if let Some(secret) = secret {
            settings["message"] = serde_json::json!({ "telemetry_secret": secret });
        }
        settings.to_string()
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// An address that is free now, so that a demo runs beside an agent.
pub(super) fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
    Ok(listener.local_addr()?.to_string())
}
