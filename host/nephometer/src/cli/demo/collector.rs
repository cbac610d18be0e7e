//! The collector of a demo: a process of its own that takes what the agent sends over loopback, stores
//! it in SQLite, and has a page and an API. It ends with the demo; its store stays until the next one.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ground::free_address;
use super::{quoted, shortened};
use crate::cli::columns;

/// The program, beside this one.
const PROGRAM: &str = "nephometer-collector";
/// How long it may take to start, and how often it is looked for meanwhile.
const START: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A running collector.
pub(super) struct DemoCollector {
    program: PathBuf,
    /// Its folder as it was given, for commands that people type.
    folder: PathBuf,
    /// Where it takes samples, `127.0.0.1:PORT`.
    receiver: String,
    /// Where its page is.
    listen: String,
    /// What the agent signs samples with.
    secret: String,
    child: Child,
}

impl DemoCollector {
    /// Starts the collector with an empty store below a folder, and waits until it listens. `None` if
    /// the program is not installed.
    pub(super) fn start(folder: &Path) -> Result<Option<Self>> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        if !program.is_file() {
            return Ok(None);
        }
        let folder = folder.join("collector");
        // What an earlier demo has stored would be in the sums of this one.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| folder.display().to_string());
            }
            _ => {}
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (receiver, listen) = (free_address()?, free_address()?);
        let secret = Uuid::new_v4().simple().to_string();
        let configuration = json!({
            "store": { "path": std::path::absolute(folder.join("store"))? },
            "receivers": [format!("tcp://{receiver}")],
            "secrets": [{ "name": "demo", "secret": &secret }],
            "api": { "listen": listen, "access": "loopback" },
        });
        let config = folder.join("collector.yaml");
        let mut private = fs::OpenOptions::new();
        private.write(true).create(true).truncate(true).mode(0o600);
        // JSON is YAML.
        let written =
            private.open(&config).and_then(|mut file| writeln!(file, "{configuration:#}"));
        written.with_context(|| format!("cannot write {}", config.display()))?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new(&program);
        command.args(["run", "--with-parent", "--config"]).arg(&config);
        // Ctrl-C in the terminal is for the agent, which sends what it has before the collector ends.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let mut collector = Self { program, folder, receiver, listen, secret, child };
        collector.wait_until_it_listens()?;
        Ok(Some(collector))
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let address: std::net::SocketAddr = self.listen.parse()?;
        for _ in 0..START.as_millis() / PAUSE.as_millis() {
            // The log is written when all addresses are bound.
            if fs::read_to_string(self.log()).is_ok_and(|log| log.contains("collector started"))
                && TcpStream::connect_timeout(&address, PAUSE).is_ok()
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{PROGRAM} ended ({status}); see {}", self.log().display());
            }
            std::thread::sleep(PAUSE);
        }
        bail!("{PROGRAM} did not start within {} s; see {}", START.as_secs(), self.log().display())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The URL of the publisher that hands over to it.
    pub(super) fn publisher(&self) -> String {
        format!("tcp://{}", self.receiver)
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The way of samples through it, in a line.
    pub(super) fn line(&self) -> String {
        format!("collector: tcp://{} > SQLite > http://{}/", self.receiver, self.listen)
    }

    /// A command of the collector that works beside it.
    pub(super) fn command(&self, arguments: &str) -> String {
        let path = |path: &Path| quoted(&shortened(path));
        let config = path(&self.folder.join("collector.yaml"));
        format!("{} {arguments} --config {config}", path(&self.program))
    }

    /// Ends it: it commits what was sent to it.
    pub(super) fn end(&mut self) -> Result<()> {
        let status = self.terminate()?;
        if !status.success() {
            bail!("{PROGRAM} ended with {status}; see {}", self.log().display());
        }
        Ok(())
    }

    fn terminate(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.child.try_wait()? {
            return Ok(ended);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()
    }

    /// Asks the store, in JSON.
    fn ask(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(self.folder.join("collector.yaml"));
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("{PROGRAM} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        Ok(values.collect::<Result<_, _>>()?)
    }

    /// Writes statistics of all meters that it has, and how many samples there are; returns that
    /// number.
    pub(super) fn write_statistics(&self, out: &mut impl Write) -> Result<u64> {
        let mut meters: Vec<String> = Vec::new();
        for row in self.ask(&["query", "meters", "--limit", "100000", "--format", "json"])? {
            meters.extend(row["name"].as_str().map(str::to_owned));
        }
        meters.sort_unstable();
        meters.dedup();
        let mut lines = Vec::new();
        for meter in &meters {
            let arguments = ["query", "statistics", "--format", "json", "--meter", meter];
            for row in self.ask(&arguments)? {
                let [min, avg, max] = ["min", "avg", "max"].map(|name| figure(&row[name]));
                let count = row["count"].as_u64().unwrap_or(0);
                let unit = row["unit"].as_str().unwrap_or_default();
                let meter = columns::padded(meter, 31);
                lines.push(format!("{meter} {count:>7} {min:>9} {avg:>9} {max:>9} {unit}"));
            }
        }
        let columns = ["SAMPLES", "LOWEST", "AVERAGE", "HIGHEST"];
        let [samples, min, avg, max] = columns;
        writeln!(out, "{:<31} {samples:>7} {min:>9} {avg:>9} {max:>9}", "COLLECTED")?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        let state = self.ask(&["status", "--json"])?;
        let total = state.iter().filter_map(|state| state["samples"].as_u64()).sum();
        writeln!(out, "{total} samples collected in {}", shortened(&self.folder.join("store")))?;
        writeln!(out, "serve http://{}/ again:", self.listen)?;
        writeln!(out, "{}", self.command("run"))?;
        Ok(total)
    }
}

impl Drop for DemoCollector {
    /// Also after an error, nothing is left running. What is wrong was reported then.
    fn drop(&mut self) {
        drop(self.terminate());
    }
}

/// A number in at most nine characters.
fn figure(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return "-".to_owned() };
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let found = units.into_iter().find(|(factor, _)| value.abs() >= *factor);
    match found {
        Some((factor, unit)) => format!("{:.1} {unit}", value / factor),
        None => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.0, -12.34, 999.94, 1000.0, 6.2e9, 1e14].map(|value| figure(&json!(value)));
        assert_eq!(shown, ["0.0", "-12.3", "999.9", "1.0 k", "6.2 G", "100.0 T"]);
        assert_eq!(figure(&Value::Null), "-");
    }
}
