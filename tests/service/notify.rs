//! What a program reports to a service manager, with the test in its place: readiness, state, reloads,
//! the end, and the watchdog.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Agent, Collector, Folder, PATIENCE, Running, broker, component, root};

/// The time of the watchdog. Long enough that a busy machine runs every task within half of it.
const WATCHDOG: Duration = Duration::from_secs(8);

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let path = folder.at("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path: path.display().to_string() }
    }

    /// Starts an agent under its supervision.
    fn agent(name: &str) -> (Self, Agent) {
        let agent = Agent::new(name).everything_to(&["test://"]);
        let manager = Self::new(&agent.folder);
        let usec = WATCHDOG.as_micros().to_string();
        let agent = agent.variable("NOTIFY_SOCKET", &manager.path).variable("WATCHDOG_USEC", &usec);
        (manager, agent)
    }

    /// The next message, or `None` if none comes in time.
    fn next(&self, timeout: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line. Returns the whole message.
    fn expect(&self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < end {
            let Some(message) = self.next(Duration::from_secs(1)) else { continue };
            if message.lines().any(|one| one == line) {
                return message;
            }
            seen.push(message);
        }
        panic!("{line} was not sent, but {seen:?}");
    }

    /// Waits until no ping of the watchdog has come for its whole time, and reads all messages.
    fn expect_no_watchdog(&self) {
        let end = Instant::now() + PATIENCE;
        let mut last = Instant::now();
        while last.elapsed() < WATCHDOG {
            assert!(Instant::now() < end, "the watchdog is fed");
            let message = self.next(Duration::from_millis(100)).unwrap_or_default();
            if message.contains("WATCHDOG=1") {
                last = Instant::now();
            }
        }
    }
}

/// Stopped threads of a process, as by a debugger.
struct Frozen(Child);

impl Frozen {
    fn threads(running: &Running, name: &str) -> Self {
        let mut child = Command::new("python3")
            .arg(root().join("tests/service/freeze.py"))
            .arg(running.pid().as_raw_nonzero().to_string())
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let frozen = Self(child);
        // Those for blocking work have the same name.
        assert!(line.trim().parse::<usize>().unwrap() >= 2, "stopped threads {name}: {line}");
        frozen
    }

    fn thaw(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Both fail if it has ended already. The kernel then continues the threads.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn an_agent_reports_that_it_is_ready_reloads_and_stops() {
    let (manager, agent) = Manager::agent("service-life");
    let running = agent.run();
    let ready = manager.expect("READY=1");
    assert!(ready.contains("\nSTATUS="), "{ready}");
    // A polling cycle may have ended before.
    if !ready.contains("\nSTATUS=ok\n") {
        manager.expect("STATUS=ok");
    }
    for _ in 0..2 {
        manager.expect("WATCHDOG=1");
    }
    running.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "systemd 253 and later require it");
    manager.expect("READY=1");
    agent.folder.write("pipeline.yaml", "sources: [");
    manager.expect("RELOADING=1");
    manager.expect("READY=1");
    let end = Instant::now() + PATIENCE;
    let degraded = std::iter::repeat_with(|| manager.next(Duration::from_secs(1)))
        .take_while(|_| Instant::now() < end)
        .flatten()
        .find(|message| message.contains("STATUS=degraded: the last reload was refused"));
    assert!(degraded.is_some_and(|message| message.trim().lines().count() == 1));
    running.terminate();
    manager.expect("STOPPING=1");
    running.ended(PATIENCE).code(0);
}

#[test]
fn the_watchdog_is_not_fed_while_the_threads_of_the_tasks_are_stopped() {
    let (manager, agent) = Manager::agent("service-tasks");
    let running = agent.run();
    manager.expect("WATCHDOG=1");
    let frozen = Frozen::threads(&running, "agent");
    manager.expect_no_watchdog();
    let logged = running.logged("watchdog not fed");
    assert_eq!(logged.len(), 1, "{}", running.stderr());
    frozen.thaw();
    manager.expect("WATCHDOG=1");
    assert_eq!(running.logged("watchdog fed again").len(), 1);
    running.stop().code(0);
}

#[test]
fn the_watchdog_is_not_fed_while_the_threads_of_the_components_are_stopped() {
    let (manager, agent) = Manager::agent("service-guests");
    component("rate_of_change");
    let agent =
        agent.through("[{name: rate_of_change, parameters: {target: {name: r}}}]", &["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let frozen = Frozen::threads(&running, "guest-");
    manager.expect_no_watchdog();
    let logged = running.logged("watchdog not fed");
    let task = logged[0]["task"].as_str().unwrap();
    assert!(matches!(task, "guest threads" | "transformers of a sink"), "{task}");
    // The other tasks go on.
    running.wait_for_cycles(2);
    frozen.thaw();
    manager.expect("WATCHDOG=1");
    running.stop().code(0);
}

#[test]
fn waiting_for_a_broker_feeds_the_watchdog() {
    // The broker of this agent is a closed port.
    let (manager, agent) = Manager::agent("service-broker");
    let agent = agent.everything_to(&["notifier://"]).set("shutdown_grace", "1s");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let end = Instant::now() + WATCHDOG * 2;
    while Instant::now() < end {
        manager.expect("WATCHDOG=1");
    }
    assert!(running.logged("watchdog not fed").is_empty());
    running.stop().code(69);
}

#[test]
fn a_service_manager_that_reads_nothing_delays_nothing() {
    let (manager, agent) = Manager::agent("service-silent");
    let mut running = agent.run();
    manager.expect("READY=1");
    // Each is followed by two messages: more than the socket and the thread take.
    for _ in 0..60 {
        running.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(50));
    }
    running.wait_for_cycles(2);
    drop(manager);
    running.stop().code(0);
}

#[test]
fn a_collector_reports_that_it_is_ready_reloads_and_stops() {
    let url = broker().amqp_url();
    let collector = Collector::new("service-collector").consuming(url, &["service"]);
    let manager = Manager::new(&collector.folder);
    let mut command = collector.command(&["run"]);
    let usec = WATCHDOG.as_micros().to_string();
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", usec);
    let running = Running::start(command, &collector.folder, "service");
    assert!(manager.expect("READY=1").contains("\nSTATUS="));
    manager.expect("WATCHDOG=1");
    running.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.expect("READY=1");
    running.terminate();
    manager.expect("STOPPING=1");
    running.ended(PATIENCE).code(0);
}
