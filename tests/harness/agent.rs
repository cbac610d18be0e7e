use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use super::{Folder, Ledger, PATIENCE, eventually, faketime, root};

/// A configuration in its own folder, to be run by the real binary.
pub(crate) struct Agent {
    pub(crate) folder: Folder,
    settings: Value,
    environment: Vec<(String, String)>,
    log: &'static str,
    runs: AtomicUsize,
}

/// The file of a component built by `make components`.
pub(crate) fn component(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    let shipped = root().join("target/components").join(&file);
    let path =
        if shipped.is_file() { shipped } else { root().join("target/test-components").join(&file) };
    assert!(path.is_file(), "{} does not exist; build it with: make components", path.display());
    path.canonicalize().unwrap()
}

impl Agent {
    /// A configuration that writes into its folder only, without a reachable broker.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let components = |name: &str| root().join("target").join(name);
        let settings = json!({
            "host": "compute-1",
            "libvirt": { "uri": "sim://?domains=3&seed=1" },
            "amqp": { "url": format!("amqp://guest:guest@127.0.0.1:{}/%2f", super::closed_port()) },
            "components": { "path": [components("components"), components("test-components")] },
            "store": { "path": folder.at("store") },
            "cache": { "path": folder.at("cache") },
            // Relative to the folder: the length of a socket path is limited.
            "control": { "socket": "agent.sock" },
            // Tests run at once, and would share the port.
            "telemetry": { "listen": "none" },
            "shutdown_grace": "5s",
        });
        Self { folder, settings, environment: Vec::new(), log: "debug", runs: AtomicUsize::new(0) }
    }

    /// Sets a key of `nephometer.yaml`, named by a path such as `libvirt.uri`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.settings;
        for name in key.split('.') {
            let map = at.as_object_mut().expect("a key below a mapping");
            at = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        *at = value.into();
        self
    }

    /// Sets `libvirt.uri`.
    pub(crate) fn libvirt(self, uri: &str) -> Self {
        self.set("libvirt.uri", uri)
    }

    /// Sets `amqp.url`, the target of `notifier://` without a host.
    pub(crate) fn amqp(self, url: &str) -> Self {
        self.set("amqp.url", url)
    }

    /// Writes `pipeline.yaml`.
    pub(crate) fn pipeline(self, text: &str) -> Self {
        self.folder.write("pipeline.yaml", text);
        self
    }

    /// A pipeline with one source of all meters, every second, and one sink without transformers.
    pub(crate) fn everything_to(self, publishers: &[&str]) -> Self {
        self.through("[]", publishers)
    }

    /// The same with transformers, as a YAML value on one line.
    pub(crate) fn through(self, transformers: &str, publishers: &[&str]) -> Self {
        self.pipeline(&format!(
            "sources: [{{name: everything, interval: 1, meters: ['*'], sinks: [out]}}]\n\
             sinks: [{{name: out, transformers: {transformers}, publishers: {publishers:?}}}]\n"
        ))
    }

    /// Sets a variable in the agent's environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the agent's wall clock be off by what a file has, such as `+60` seconds, which may change.
    pub(crate) fn wall_clock(self, offset: &Path) -> Self {
        self.variable("LD_PRELOAD", faketime())
            .variable("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Compiles `tests/faults/NAME.c` and loads it into the agent, with its settings as variables.
    pub(crate) fn preload(self, name: &str, settings: &[(&str, &str)]) -> Self {
        let library = self.folder.at(&format!("{name}.so"));
        let source = root().join(format!("tests/faults/{name}.c"));
        let arguments = ["-shared", "-fPIC", "-O2", "-o"];
        let mut compiler = Command::new("gcc");
        let output = compiler.args(arguments).arg(&library).arg(source).arg("-ldl").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let agent = self.variable("LD_PRELOAD", library.to_str().unwrap());
        settings.iter().fold(agent, |agent, (name, value)| agent.variable(name, value))
    }

    /// Sets the log filter; the default is `debug`.
    pub(crate) fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    /// Starts `nephometer run`.
    pub(crate) fn run(&self) -> Running {
        self.start(self.command(&["run", "--log-format", "json", "--log", self.log]), None)
    }

    /// Runs a command with this configuration to its end.
    pub(crate) fn execute(&self, arguments: &[&str]) -> Ended {
        self.start(self.command(arguments), None).ended(PATIENCE)
    }

    /// The same with something on standard input.
    pub(crate) fn execute_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        self.start(self.command(arguments), Some(input)).ended(PATIENCE)
    }

    /// A command that runs the binary with these arguments and this configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
        self.prepare(&mut command, arguments);
        command
    }

    /// A command that runs a shell script with the binary's command line as `"$@"`.
    pub(crate) fn within(&self, wrapper: &[&str], script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args(["sh", "-ec", script, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_nephometer"));
        self.prepare(&mut command, arguments);
        command
    }

    fn prepare(&self, command: &mut Command, arguments: &[&str]) {
        let config = self.folder.write("nephometer.yaml", self.settings.to_string());
        command.args(arguments).arg("--config").arg(config);
        let pipeline = self.folder.at("pipeline.yaml");
        let without_pipeline = [
            "status",
            "tap",
            "explain",
            "top",
            "reload",
            "spool",
            "gaps",
            "keys",
            "dead-letters",
            "page",
        ];
        let takes_none = |first: &&str| without_pipeline.contains(first);
        if pipeline.exists() && !arguments.first().is_some_and(takes_none) {
            command.arg("--pipeline").arg(pipeline);
        }
        command.current_dir(self.folder.path());
        // The agent must not see settings from the environment of the tests.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"NEPHOMETER_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Starts `run` with its own small disk at `disk`, in its own mount namespace. A file `ballast`
    /// of this many bytes nearly fills it.
    pub(crate) fn run_on_small_disk(&self, disk: &Path, size: &str, ballast: u32) -> Running {
        let script = format!(
            "mount -t tmpfs -o size={size} none '{0}'; head -c {ballast} /dev/zero > '{0}/ballast'; exec \"$@\"",
            disk.display()
        );
        let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
            &["unshare", "--mount", "--propagation", "private"]
        } else {
            &["unshare", "--mount", "--map-root-user", "--propagation", "private"]
        };
        let arguments = ["run", "--log-format", "json", "--log", self.log];
        self.start(self.within(wrapper, &script, &arguments), None)
    }

    /// Starts a command. Its output goes to files in the folder.
    pub(crate) fn start(&self, mut command: Command, input: Option<&str>) -> Running {
        let number = self.runs.fetch_add(1, Relaxed);
        match input {
            // From a file: a pipe could fill up while the agent does not read.
            Some(input) => {
                let path = self.folder.write(&format!("stdin-{number}"), input);
                command.stdin(File::open(path).unwrap());
            }
            None => {
                command.stdin(Stdio::null());
            }
        }
        Running::start(command, &self.folder, &number.to_string())
    }
}

/// A running process. Killed when dropped, also by a panicking test.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts a command. Its output goes to files in the folder, named after `name`.
    pub(crate) fn start(mut command: Command, folder: &Folder, name: &str) -> Self {
        let stdout = folder.at(&format!("stdout-{name}"));
        let stderr = folder.at(&format!("stderr-{name}"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The log lines with this message, as objects.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        logged(&self.stderr(), message)
    }

    /// Number of finished polling cycles.
    pub(crate) fn cycles(&self) -> usize {
        self.logged("polling cycle finished").len()
    }

    /// Waits until this many more polling cycles have finished.
    pub(crate) fn wait_for_cycles(&mut self, more: usize) {
        let wanted = self.cycles() + more;
        eventually(&format!("{wanted} polling cycles"), PATIENCE, || {
            let over = self.child.try_wait().unwrap();
            assert!(over.is_none(), "the agent ended by itself ({over:?}):\n{}", self.stderr());
            (self.cycles() >= wanted).then_some(())
        });
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self, timeout: Duration) -> Ended {
        let end = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() >= end {
                panic!("the agent did not end within {timeout:?}; log:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ended { status, stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }

    /// Sends SIGTERM and waits until it has ended.
    pub(crate) fn stop(self) -> Ended {
        self.terminate();
        self.ended(PATIENCE)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Exit status and output of a process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Asserts the exit code.
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(expected),
            "exit code; standard output:\n{}\nstandard error:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that standard output or standard error contains a text.
    pub(crate) fn reports(self, expected: &str) -> Self {
        assert!(
            self.stdout.contains(expected) || self.stderr.contains(expected),
            "{expected:?} is not in standard output:\n{}\nnor in standard error:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Parses the ledger and asserts that it adds up.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::read(&self.stderr)
    }

    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        logged(&self.stderr, message)
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

fn logged(stderr: &str, message: &str) -> Vec<Value> {
    stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == message)
        .collect()
}
