//! Real Ceilometer: its notification agent and its library accept the agent's messages.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{
    Agent, Arrival, Consumer, Folder, PATIENCE, broker, end, eventually, ndjson, number, root, text,
};

/// A program of the Ceilometer that `scripts/ceilometer` installs.
fn program(name: &str) -> PathBuf {
    let path = root().join("target/tools/ceilometer/bin").join(name);
    assert!(
        path.is_file(),
        "{} is not there; the command that makes it: scripts/ceilometer",
        path.display()
    );
    path
}

/// A running `ceilometer-agent-notification`. It ends with the test.
struct NotificationAgent {
    child: Child,
    log: PathBuf,
    samples: PathBuf,
}

impl NotificationAgent {
    /// Starts it with this topic; it writes a file of JSON lines.
    fn start(folder: &Folder, url: &str, topic: &str) -> Self {
        let samples = folder.at("through-ceilometer");
        let pipeline = format!(
            "sources: [{{name: s, meters: ['*'], sinks: [k]}}]\n\
             sinks: [{{name: k, publishers: ['file://{}?json']}}]\n",
            samples.display()
        );
        let pipeline = folder.write("ceilometer-pipeline.yaml", pipeline);
        let locks = folder.at("locks");
        fs::create_dir(&locks).unwrap();
        let transport = url.replacen("amqp://", "rabbit://", 1).replace("%2f", "");
        let conf = format!(
            "[DEFAULT]\ntransport_url = {transport}\npipeline_cfg_file = {}\n\
             [notification]\npipelines = meter\nnotification_control_exchanges = ceilometer\n\
             [oslo_messaging_notifications]\ntopics = {topic}\n\
             [oslo_concurrency]\nlock_path = {}\n",
            pipeline.display(),
            locks.display()
        );
        let conf = folder.write("ceilometer.conf", conf);
        let log = folder.at("ceilometer.log");
        let child = Command::new(program("ceilometer-agent-notification"))
            .arg("--config-file")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(File::create(folder.at("ceilometer.out")).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, samples }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for this many samples in its file.
    fn samples(&self, count: usize) -> Vec<Value> {
        eventually("samples that went through Ceilometer's pipeline", PATIENCE, || {
            let text = fs::read_to_string(&self.samples).unwrap_or_default();
            (text.lines().count() >= count).then(|| ndjson(&text))
        })
    }
}

impl Drop for NotificationAgent {
    fn drop(&mut self) {
        // Its workers end with it.
        end(&mut self.child);
    }
}

/// An agent that replays the recording of the golden data.
fn agent(name: &str, url: &str) -> Agent {
    let recording = root().join("tests/golden/27.0.0").canonicalize().unwrap();
    Agent::new(name).libvirt(&format!("replay://{}", recording.display())).amqp(url)
}

#[test]
fn real_notification_agent_accepts_mode_polling() {
    let url = broker().amqp_url();
    let agent = agent("ceilometer-notification", url).set("mode", "polling");
    let agent = agent.everything_to(&["notifier://"]);
    // Both declare the queue, which keeps messages until the other is running.
    let ended = agent.execute(&["run"]).code(0);
    let polled = usize::try_from(ended.ledger().polled).unwrap();
    let theirs = NotificationAgent::start(&agent.folder, url, "notifications");
    let through = theirs.samples(polled);
    let sent = ndjson(
        &agent.execute(&["once", "--samples", "2", "--raw", "--format", "ndjson"]).code(0).stdout,
    );
    assert_eq!((through.len(), sent.len()), (polled, polled));
    let key = |sample: &Value| {
        let time = text(sample, "timestamp").to_owned();
        (text(sample, "name").to_owned(), text(sample, "resource_id").to_owned(), time)
    };
    let sorted = |mut samples: Vec<Value>| {
        samples.sort_by_key(key);
        samples
    };
    for (ours, theirs) in sorted(sent).iter().zip(&sorted(through)) {
        assert_eq!(key(ours), key(theirs));
        assert!((number(ours) - number(theirs)).abs() < 1e-9);
        for field in ["type", "unit", "user_id", "project_id", "source", "resource_metadata"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
    }
    let log = theirs.log();
    assert!(!log.contains("ERROR") && !log.contains("Traceback"), "{log}");
}

#[test]
fn real_library_verifies_mode_notification() {
    let url = broker().amqp_url();
    let agent = agent("ceilometer-signature", url).everything_to(&["notifier://?topic=ceilometer"]);
    let consumer = Consumer::new(url, "ceilometer");
    let polled = usize::try_from(agent.execute(&["run"]).code(0).ledger().polled).unwrap();
    let arrivals = consumer.wait_until("all samples", |arrivals| {
        arrivals.iter().map(|arrival| arrival.samples().len()).sum::<usize>() >= polled
    });
    let script = "import json, sys\n\
        from ceilometer.publisher.utils import verify_signature\n\
        print(sum(verify_signature(json.loads(line), 'change this for valid signing') for line in sys.stdin))\n";
    let mut python = Command::new(program("python"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    for sample in arrivals.iter().flat_map(Arrival::samples) {
        writeln!(stdin, "{sample}").unwrap();
    }
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), polled.to_string());
}
