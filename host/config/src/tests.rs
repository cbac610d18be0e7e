use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::parse_pipeline;
use super::*;

const BROKER: &str = "amqp://guest:guest@127.0.0.1:5672/%2F";

fn broker() -> BrokerSpec {
    BrokerSpec { urls: vec![Secret::new(BROKER)], ..BrokerSpec::default() }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

pub(super) fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn parse(path: &Path) -> Result<(PipelineSpec, Vec<Problem>), ConfigError> {
    let name = path.file_name().unwrap().to_str().unwrap();
    parse_pipeline(&std::fs::read(path).unwrap(), name, &broker())
}

fn good(name: &str) -> PipelineSpec {
    parse(&folder("tests/config/good").join(name)).unwrap().0
}

/// Compares with `FILE.expected` and collects the differences.
fn compare(path: &Path, found: &str, wrong: &mut String) {
    let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
    if found != expected {
        wrong.push_str(&format!("== {}\n{found}", path.display()));
    }
}

#[test]
fn bad_files_give_their_faults() {
    let mut wrong = String::new();
    for path in files("tests/config/bad") {
        match parse(&path) {
            Ok(_) => wrong.push_str(&format!("== {} loads\n", path.display())),
            Err(error) => {
                let warnings: String =
                    error.warnings.iter().map(|w| format!("warning: {w}\n")).collect();
                compare(&path, &(warnings + &lines(&error.problems)), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn good_files_load_with_their_warnings() {
    let mut wrong = String::new();
    for path in files("tests/config/good") {
        match parse(&path) {
            Ok((_, warnings)) => compare(&path, &lines(&warnings), &mut wrong),
            Err(error) => wrong.push_str(&format!("== {}\n{error}\n", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn example_pipeline_is_parsed_exactly() {
    let spec = good("issue.yaml");
    let [source] = &spec.sources[..] else { panic!("{:?}", spec.sources) };
    assert_eq!(&*source.name, "cpu_source");
    assert_eq!(source.interval, Duration::from_secs(600));
    assert!(source.meters.matches("cpu") && !source.meters.matches("cpu_util"));
    assert_eq!(source.sinks, ["cpu_sink".into()]);
    let [sink] = &spec.sinks[..] else { panic!("{:?}", spec.sinks) };
    let [transformer] = &sink.transformers[..] else { panic!("{:?}", sink.transformers) };
    assert_eq!(&*transformer.name, "rate_of_change");
    assert_eq!(transformer.parameters["target"]["type"], "gauge");
    let location = transformer.locations.location("/target/scale");
    assert_eq!(location.to_string(), "issue.yaml:17:28");
    let [publisher] = &sink.publishers[..] else { panic!("{:?}", sink.publishers) };
    let PublisherTarget::Notifier(notifier) = &publisher.target else { panic!("{publisher:?}") };
    assert_eq!(notifier.broker.urls[0].reveal(), BROKER);
    assert_eq!(notifier.topics, ["metering"]);
    assert_eq!(notifier.max_queue_length, Some(1024));
    assert!(!notifier.per_meter_topic);
}

#[test]
fn intervals_are_pythons() {
    let spec = good("intervals.yaml");
    let found: Vec<u64> = spec.sources.iter().map(|source| source.interval.as_secs()).collect();
    assert_eq!(found, [30, 1, 1, 90, 8, 1000, 1]);
    // An unquoted `yes` is a boolean, which Python prints as `True`.
    assert_eq!(&*spec.sources[6].name, "True");
    assert_eq!(good("defaults.yaml").sources[0].interval, Duration::from_secs(600));
}

#[test]
fn meters_match_like_the_reference() {
    let names = ["cpu", "cpu_util", "disk.read.bytes", "network.incoming.bytes", "CPU"];
    let expected = [
        "yyyyy", "ynnnn", "nyyyy", "nyyyy", "nnynn", "nnnyn", "ynyyn", "yyyyy", "ynnnn", "ynnnn",
        "nnnnn", "yyyyy", "yyyyy", "nyyyy",
    ];
    let spec = good("meters.yaml");
    assert_eq!(spec.sources.len(), expected.len());
    for (source, expected) in spec.sources.iter().zip(expected) {
        let found: String =
            names.iter().map(|name| if source.meters.matches(name) { 'y' } else { 'n' }).collect();
        assert_eq!(found, expected, "{}", source.name);
    }
}

#[test]
fn anchors_and_merges() {
    let spec = good("anchors.yaml");
    let found: Vec<(&str, u64)> =
        spec.sources.iter().map(|s| (&*s.name, s.interval.as_secs())).collect();
    assert_eq!(found, [("cpu", 60), ("memory", 60), ("disk", 5)]);
    let transformers = &spec.sinks[0].transformers;
    assert_eq!(transformers[0].parameters["target"]["scale"], true);
    assert_eq!(transformers[1].parameters["target"]["name"], "cpu_util");
    assert_eq!(transformers[1].parameters["target"]["unit"], "ratio");
    assert_eq!(transformers[1].locations.location("/target/name").line, 19);
    assert!(transformers[2].parameters.is_empty());
}

#[test]
fn publisher_urls_are_parsed() {
    let spec = good("publishers.yaml");
    let publishers = &spec.sinks[0].publishers;
    let notifier = |at: usize| match &publishers[at].target {
        PublisherTarget::Notifier(notifier) => notifier,
        other => panic!("{other:?}"),
    };
    let brokers: Vec<&str> = (0..5).map(|at| notifier(at).broker.urls[0].reveal()).collect();
    assert_eq!(
        brokers,
        [
            BROKER,
            BROKER,
            "amqp://guest:guest@broker:5672/%2F",
            "amqp://us%40er:p%2Fw%25@[2001:db8::1]:5673/v%2Fhost",
            "amqp://us:er@broker:5672/%2F",
        ]
    );
    let full = notifier(1);
    assert_eq!(full.topics, ["one", "two"]);
    assert_eq!((full.per_meter_topic, full.policy), (true, Policy::Queue));
    assert_eq!(full.max_queue_length, Some(5));
    assert_eq!((notifier(4).policy, notifier(4).max_queue_length), (Policy::Drop, None));
    let labels: Vec<&str> = publishers.iter().map(|publisher| &*publisher.label).collect();
    assert_eq!(labels[3], "notifier://[2001:db8::1]:5673/v%2fhost?driver=rabbit");
    assert_eq!(labels[0], "notifier://");
    let files: Vec<&FileSpec> = publishers
        .iter()
        .filter_map(|publisher| match &publisher.target {
            PublisherTarget::File(file) => Some(file),
            _ => None,
        })
        .collect();
    let rotation = Some(Rotation { max_bytes: 10_000_000, backup_count: 5 });
    let path = PathBuf::from("/var/log/samples");
    assert_eq!(*files[0], FileSpec { path, rotation, json: true, provable: false });
    // Ceilometer does not decode the path.
    assert_eq!(files[1].path, PathBuf::from("/var/log/a%20b"));
    let sockets: Vec<String> = publishers
        .iter()
        .filter_map(|publisher| match &publisher.target {
            PublisherTarget::Udp(receiver) => Some(format!("udp {receiver}")),
            PublisherTarget::Tcp(receiver) => Some(format!("tcp {receiver}")),
            PublisherTarget::Test => Some(publisher.label.to_string()),
            _ => None,
        })
        .collect();
    let expected = [
        "udp collector:4952",
        "udp [2001:db8::1]:5000",
        "tcp collector.lan:4953",
        "test://",
        "test://",
    ];
    assert_eq!(sockets, expected);
}

#[test]
fn shipped_files_load() {
    let text = |name: &str| std::fs::read_to_string(folder("config").join(name)).unwrap();
    let demo = text("demo-pipeline.yaml").replace("@FILE@", "file:///tmp/samples");
    for pipeline in [text("pipeline.yaml"), demo] {
        let inputs = Inputs {
            config: Origin::Text { name: "nephometer.yaml".into(), text: text("nephometer.yaml") },
            pipeline: Origin::Text { name: "pipeline.yaml".into(), text: pipeline },
            hostname: "compute-1".into(),
            ..Inputs::default()
        };
        let loaded = load(&inputs).unwrap_or_else(|error| panic!("{error}"));
        let warnings = lines(&loaded.warnings);
        // The demo has an interval shorter than the deadline of the file; the other one has a
        // publisher that signs.
        let expected = if loaded.spec.libvirt.deadline < Duration::from_secs(3) {
            "`deadline` is more than half"
        } else {
            "messages are signed with the default secret"
        };
        assert!(loaded.warnings.len() == 1 && warnings.contains(expected), "{warnings}");
    }
}

/// A file with every default written out equals no file at all.
#[test]
fn the_shipped_file_is_the_defaults() {
    let text = std::fs::read_to_string(folder("config/nephometer.yaml")).unwrap();
    let mut shipped = host(&text, &[]).unwrap().spec;
    let absent = host("", &[]).unwrap().spec;
    assert_eq!(shipped.components.by_name.remove("rate_of_change"), Some(ComponentSpec::default()));
    assert_eq!(shipped.amqp.broker.urls[0].reveal(), absent.amqp.broker.urls[0].reveal());
    assert_eq!(shipped.message.telemetry_secret.reveal(), absent.message.telemetry_secret.reveal());
    assert_eq!(format!("{shipped:?}"), format!("{absent:?}"));
}

pub(super) fn inputs(text: &str, environment: &[(&str, &str)]) -> Inputs {
    let pipeline = std::fs::read_to_string(folder("tests/config/good/issue.yaml")).unwrap();
    Inputs {
        config: Origin::Text { name: "n.yaml".into(), text: text.into() },
        pipeline: Origin::Text { name: "pipeline.yaml".into(), text: pipeline },
        environment: environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        hostname: "compute-1".into(),
        folders: Folders { system_runtime: true, ..Folders::default() },
        ..Inputs::default()
    }
}

fn host(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(&inputs(text, environment))
}

fn faults(text: &str, environment: &[(&str, &str)]) -> String {
    lines(&host(text, environment).unwrap_err().problems)
}

#[test]
fn host_faults_all_at_once() {
    let text = "\
hots: a
host: 5
control: {sock: /x}
libvirt: {uri: system, deadline: soon, parallel: 0, unowned: maybe}
amqp: {url: 'amqps:/user:hunter2@host', queues: soft, tls: {key: /etc/hostname}}
message: [a]
components:
  path: 5
  by_name:
    rate_of_change: {grants: {}, on_eror: hold, on_error: retry}
    b: {limits: {memory: 5GiB, cpu: 0s, wall: fast, returned: -1}}
store: {path: ''}
shutdown_grace: [5]
compatibility: zet
quirks: [stopped-cpu, unused]
";
    assert_eq!(
        faults(text, &[]),
        "\
n.yaml:1:1: the key \"hots\" is unknown; did you mean `host`?
n.yaml:2:7: `host` is a number; write text, in quotes if necessary
n.yaml:3:11: the key \"sock\" is unknown; did you mean `socket`?
n.yaml:4:16: the libvirt URI \"system\" has no scheme; write qemu:///system, sim://?domains=10 or replay:///FOLDER
n.yaml:4:34: `deadline` is \"soon\"; write a time above zero with its unit, such as 3s or 500ms
n.yaml:4:50: `parallel` is 0; write a whole number from 1 to 64
n.yaml:4:62: `unowned` is \"maybe\"; write true or false
n.yaml:5:13: the broker's URL has no scheme; write amqp://USER:PASSWORD@HOST:PORT/VHOST
n.yaml:5:49: `queues` is \"soft\"; write transient, durable or quorum
n.yaml:5:60: `certificate` and `key` belong together, and one is missing; name both, or none
n.yaml:6:10: `message` is a list; write a mapping of `key: value` lines
n.yaml:8:9: `path` is a number; write a list of folders
n.yaml:10:34: the key \"on_eror\" is unknown; did you mean `on_error`?
n.yaml:10:59: `on_error` is \"retry\"; write hold, drop or keep
n.yaml:11:26: `memory` is \"5GiB\"; write a size of at most 4GiB, such as 64MiB
n.yaml:11:37: `cpu` is \"0s\"; write a time above zero with its unit, such as 3s or 500ms
n.yaml:11:47: `wall` is \"fast\"; write a time above zero with its unit, such as 3s or 500ms
n.yaml:11:63: `returned` is -1; write a size above zero with its unit, such as 64MiB
n.yaml:12:15: `path` is empty; write text, or leave the key out
n.yaml:13:17: `shutdown_grace` is a list; write a time above zero with its unit, such as 3s or 500ms
n.yaml:14:16: unknown compatibility \"zet\"; did you mean `zed`?
n.yaml:15:10: the quirk \"stopped-cpu\" is liberty's, and compatibility is current; remove it, or write `compatibility: liberty`
n.yaml:15:23: unknown quirk \"unused\"; there are outgoing-packets-delta, stopped-cpu, unused-zero
"
    );
}

#[test]
fn the_environment_overrides_single_keys() {
    let text = "amqp: {url_file: /nowhere}\nlibvirt: {deadline: 1s}\n";
    let environment = [
        ("NEPHOMETER_AMQP__URL", "rabbit://a:b@c//?heartbeat=5"),
        ("NEPHOMETER_LIBVIRT__UNOWNED", "false"),
        ("NEPHOMETER_LIBVIRT__PARALLEL", "4"),
        ("NEPHOMETER_COMPONENTS__PATH", "/a:/b"),
        ("NEPHOMETER_COMPONENTS__BY_NAME__RATE_OF_CHANGE__LIMITS__MEMORY", "1MiB"),
        ("NEPHOMETER_MESSAGE__TELEMETRY_SECRET", "yes"),
    ];
    let spec = host(text, &environment).unwrap().spec;
    assert_eq!(spec.amqp.broker.urls[0].reveal(), "amqp://a:b@c:5672/%2F?heartbeat=5");
    assert_eq!((spec.libvirt.unowned, spec.libvirt.parallel), (false, 4));
    assert_eq!(spec.libvirt.deadline, Duration::from_secs(1));
    assert_eq!(spec.components.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(spec.components.by_name["rate_of_change"].limits.memory, 1 << 20);
    assert_eq!(spec.message.telemetry_secret.reveal(), "yes");

    let environment = [
        ("NEPHOMETER_LIBVIRT__PARALEL", "4"),
        ("NEPHOMETER_LIBVIRT__DEADLINE", "never"),
        ("NEPHOMETER_HOST__NAME", "x"),
    ];
    assert_eq!(
        faults("host: a\n", &environment),
        "\
NEPHOMETER_HOST__NAME: the configuration has no place for this key; write NEPHOMETER_ and the keys in capitals with two underscores between them
NEPHOMETER_LIBVIRT__DEADLINE: `deadline` is \"never\"; write a time above zero with its unit, such as 3s or 500ms
NEPHOMETER_LIBVIRT__PARALEL: the key \"paralel\" is unknown; did you mean `parallel`?
"
    );
}

#[test]
fn the_command_line_wins() {
    let mut inputs = inputs(
        "libvirt: {uri: 'test:///default'}\n",
        &[("NEPHOMETER_LIBVIRT__URI", "test:///x"), ("NEPHOMETER_AMQP__URL_FILE", "/nowhere")],
    );
    inputs.libvirt = Some("sim://".into());
    inputs.amqp_url = Some("amqp://host".into());
    inputs.components = vec!["/a".into(), "/b".into()];
    let spec = load(&inputs).unwrap().spec;
    assert_eq!(spec.libvirt.uri, "sim://");
    assert_eq!(spec.amqp.broker.urls[0].reveal(), "amqp://guest:guest@host:5672/%2F");
    assert_eq!(spec.components.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "two words\r\n").unwrap();
    let text = format!("message: {{telemetry_secret_file: {}}}\n", file.display());
    let spec = host(&text, &[]).unwrap().spec;
    assert_eq!(spec.message.telemetry_secret.reveal(), "two words");

    let both = "message:\n  telemetry_secret: hunter2\n  telemetry_secret_file: /x\n";
    assert_eq!(
        faults(both, &[]),
        "n.yaml:3:26: both `telemetry_secret` and `telemetry_secret_file` are set; set one\n"
    );
    let found = faults("amqp: {url_file: /nowhere/at/all}\n", &[]);
    assert!(found.starts_with("n.yaml:1:18: the file \"/nowhere/at/all\" cannot be read: "));
}

#[test]
fn deadline_is_at_most_half_the_shortest_interval() {
    let mut inputs = inputs("libvirt: {deadline: 400s}\n", &[]);
    let secret = ("NEPHOMETER_MESSAGE__TELEMETRY_SECRET", "one of our own");
    inputs.environment.push((secret.0.to_owned(), secret.1.to_owned()));
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.spec.libvirt.deadline, Duration::from_secs(300));
    assert_eq!(
        lines(&loaded.warnings),
        "n.yaml:1:21: `deadline` is more than half the shortest interval; 300 s are used; \
         shorten it, or poll less often\n"
    );
    // The default deadline was not set by the user, so it is shortened without a warning.
    inputs.config = Origin::Text { name: "n.yaml".into(), text: String::new() };
    let Origin::Text { text, .. } = &mut inputs.pipeline else { panic!() };
    *text = text.replace("600", "1");
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.spec.libvirt.deadline, Duration::from_millis(500));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn folders_without_write_access_to_the_system() {
    let mut inputs = inputs("", &[]);
    inputs.folders = Folders {
        system: false,
        state_home: Some("/home/a/state".into()),
        cache_home: None,
        ..Folders::default()
    };
    let spec = load(&inputs).unwrap().spec;
    assert_eq!(spec.store.path, PathBuf::from("/home/a/state/nephometer"));
    assert_eq!(spec.cache, PathBuf::from("/var/cache/nephometer"));
    inputs.folders.system = true;
    assert_eq!(load(&inputs).unwrap().spec.store.path, PathBuf::from("/var/lib/nephometer"));
}

#[test]
fn all_files_are_checked_before_the_first_fault_counts() {
    let mut inputs = inputs("hots: a\n", &[]);
    inputs.pipeline = Origin::File("/nowhere/pipeline.yaml".into());
    let found = lines(&load(&inputs).unwrap_err().problems);
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains("/nowhere/pipeline.yaml: the file cannot be read: "), "{found}");
}

#[test]
fn no_secret_is_ever_shown() {
    for name in ["bad", "good"] {
        for path in files(&format!("tests/config/{name}")) {
            let shown = match parse(&path) {
                Ok((spec, warnings)) => format!("{spec:?}{}", lines(&warnings)),
                Err(error) => format!("{error}{error:?}"),
            };
            for secret in ["hunter2", "ter2", "p%2Fw", "p/w"] {
                assert!(!shown.contains(secret), "{}: {shown}", path.display());
            }
        }
    }
    let text = "amqp: {url: 'http://user:hunter2@host'}\nmessage: {telemetry_secret: hunter2}\n";
    let error = host(text, &[]).unwrap_err();
    assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
    let text = "message: {telemetry_secret: hunter2}\n";
    assert!(!format!("{:?}", host(text, &[]).unwrap()).contains("hunter2"));
}
