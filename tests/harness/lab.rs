use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use regex::Regex;

use super::{Folder, root};

/// Real services, started by `scripts/lab`. It stops them when this process ends, however it ends.
pub(crate) struct Lab {
    folder: Folder,
    environment: HashMap<String, String>,
}

/// The libvirtd with QEMU guests that all read-only tests share: linux-1, linux-2 (non-ASCII
/// display name), idle-1 (nova 1.0), paused-1 (no nova metadata), off-1.
pub(crate) fn hypervisor() -> &'static Lab {
    static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
    let options = ["--linux", "2", "--idle", "1", "--paused", "1", "--off", "1", "--no-amqp"];
    shared(&LAB, "lab-libvirt", &options)
}

/// The broker shared by all tests that leave it running. Each test has its own topics.
pub(crate) fn broker() -> &'static Lab {
    static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
    shared(&LAB, "lab-broker", &["--no-libvirt"])
}

fn shared(
    lab: &'static OnceLock<Result<Lab, String>>,
    name: &str,
    options: &[&str],
) -> &'static Lab {
    // A failure is kept as well, or each test would wait for the timeout of a lab that cannot
    // start.
    match lab.get_or_init(|| Lab::try_up(name, options)) {
        Ok(lab) => lab,
        Err(reason) => panic!("{reason}"),
    }
}

impl Lab {
    /// A lab for one test.
    pub(crate) fn up(name: &str, options: &[&str]) -> Self {
        Self::try_up(name, options).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// A lab with extra lines in the settings of its broker.
    pub(crate) fn with_settings(name: &str, settings: impl FnOnce(&Folder) -> String) -> Self {
        let folder = Folder::new(name);
        let text = settings(&folder);
        folder.write("rabbitmq.conf", text);
        Self::in_folder(folder, &["--no-libvirt"]).unwrap_or_else(|reason| panic!("{reason}"))
    }

    fn try_up(name: &str, options: &[&str]) -> Result<Self, String> {
        Self::in_folder(Folder::new(name), options)
    }

    fn in_folder(folder: Folder, options: &[&str]) -> Result<Self, String> {
        let (port, owner) = (free_ports().to_string(), std::process::id().to_string());
        let mut arguments = vec!["up", folder.path().to_str().unwrap()];
        arguments.extend_from_slice(options);
        arguments.extend(["--port", &port, "--owner", &owner]);
        let output = script(&arguments);
        if !output.status.success() {
            return Err(format!(
                "a service of this test did not start.\n{}\nTo start it: scripts/lab {}\n\
                 (make test installs its dependencies)",
                String::from_utf8_lossy(&output.stderr),
                arguments.join(" ")
            ));
        }
        let text = std::fs::read_to_string(folder.at("env")).unwrap();
        let environment = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        Ok(Self { folder, environment })
    }

    pub(crate) fn libvirt_uri(&self) -> &str {
        &self.environment["LIBVIRT_URI"]
    }

    pub(crate) fn amqp_url(&self) -> &str {
        &self.environment["AMQP_URL"]
    }

    /// The port of the broker.
    pub(crate) fn amqp_port(&self) -> u16 {
        let url = self.amqp_url();
        let port = Regex::new(r":(\d+)/").unwrap().captures(url).unwrap()[1].to_owned();
        port.parse().unwrap()
    }

    /// Runs `virsh` on the lab's libvirt; returns its output.
    pub(crate) fn virsh(&self, arguments: &[&str]) -> String {
        self.command("virsh", arguments)
    }

    /// Runs `rabbitmqctl` on the lab's broker; returns its output.
    pub(crate) fn rabbit(&self, arguments: &[&str]) -> String {
        self.command("rabbit", arguments)
    }

    pub(crate) fn stop_amqp(&self) {
        self.command("stop-amqp", &[]);
    }

    pub(crate) fn start_amqp(&self) {
        self.command("start-amqp", &[]);
    }

    /// Kills libvirtd with SIGKILL.
    pub(crate) fn kill_libvirt(&self) {
        self.command("kill-libvirt", &[]);
    }

    /// Sends a signal to libvirtd.
    pub(crate) fn signal_libvirt(&self, signal: &str) {
        self.command("signal-libvirt", &[signal]);
    }

    /// Starts libvirtd again for the same guests.
    pub(crate) fn start_libvirt(&self) {
        self.command("start-libvirt", &[]);
    }

    /// Sends a signal to a guest's QEMU.
    pub(crate) fn signal_guest(&self, guest: &str, signal: &str) {
        as_root("kill", &[signal, &self.guest_pid(guest)]);
    }

    /// Removes the interface of a guest on the host's side, so that libvirt has no counters of it.
    pub(crate) fn remove_interface(&self, guest: &str) {
        let listed = self.virsh(&["domiflist", guest]);
        let name = listed.split_whitespace().next().unwrap();
        let pid = self.guest_pid(guest);
        as_root("nsenter", &["-t", &pid, "-n", "ip", "link", "delete", name]);
    }

    fn guest_pid(&self, guest: &str) -> String {
        let file = PathBuf::from(&self.environment["QEMU_PIDS"]).join(format!("{guest}.pid"));
        as_root("cat", &[file.to_str().unwrap()]).trim().to_owned()
    }

    /// Kills the broker with SIGKILL.
    pub(crate) fn kill_amqp(&self) {
        self.signal_amqp("-KILL");
    }

    /// A file of the lab's folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.at(name)
    }

    /// Sends a signal to the broker.
    pub(crate) fn signal_amqp(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.at("rabbitmq/pid")).unwrap();
        let pid = pid.trim();
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(comm.trim(), "beam.smp");
        run(Command::new("kill").args([signal, pid]));
    }

    fn command(&self, command: &str, arguments: &[&str]) -> String {
        let mut all = vec![command, self.folder.path().to_str().unwrap()];
        all.extend_from_slice(arguments);
        let output = script(&all);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/lab {}: {stderr}{stdout}", all.join(" "));
        stdout
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = script(&["down", self.folder.path().to_str().unwrap()]);
        if !output.status.success() {
            eprintln!("scripts/lab down: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn script(arguments: &[&str]) -> Output {
    let path = root().join("scripts/lab");
    // The script redirects its daemons: one that inherited our pipes would block `output()`.
    Command::new(&path)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs a program as root: directly, or through sudo.
fn as_root(program: &str, arguments: &[&str]) -> String {
    if rustix::process::geteuid().is_root() {
        run(Command::new(program).args(arguments))
    } else {
        run(Command::new("sudo").arg("-n").arg(program).args(arguments))
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first of three consecutive free ports. They are below the ephemeral range, so that no client
/// is assigned one of them, and never repeat within one process.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent test processes start at different ports.
    let start = u16::try_from(std::process::id() % 4000).unwrap();
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Relaxed);
        let port = 20_000 + (start + step) % 4000 * 3;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 1) && free(port + 2) {
            return port;
        }
    }
    panic!("no three consecutive free ports between 20000 and 32000");
}

/// A port without a listener.
pub(crate) fn closed_port() -> u16 {
    free_ports()
}

/// Forwards connections from an IPv6 address to a port of this machine.
pub(crate) struct Relay {
    address: SocketAddr,
}

impl Relay {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("::1 on this machine");
        let address = listener.local_addr().unwrap();
        // Ends with the process. A failed connection is skipped.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone())
                else {
                    continue;
                };
                std::thread::spawn(move || forward(from_client, server));
                std::thread::spawn(move || forward(from_server, client));
            }
        });
        Self { address }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16_384];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            length => to.write_all(&buffer[..length])?,
        }
    }
}
