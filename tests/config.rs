//! `nephometer check` on folders of files: all problems at once, each with its location.

use std::path::{Path, PathBuf};

use crate::harness::{Agent, root};

/// The `.yaml` files of a folder under `tests/config`.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/config").join(folder).canonicalize().unwrap();
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// Exit code and output of `check` for a pipeline file; the file is named as in `.expected`.
fn check(agent: &Agent, path: &Path) -> (Option<i32>, String) {
    let mut command = agent.command(&["check", "--pipeline", path.to_str().unwrap()]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let folder = format!("{}/", path.parent().unwrap().display());
    let folder_of = |name| root().join("target").join(name).display().to_string();
    let text = text
        .replace(&folder, "")
        .replace(&folder_of("components"), "COMPONENTS")
        .replace(&folder_of("test-components"), "TEST-COMPONENTS");
    (output.status.code(), text)
}

fn expected(path: &Path) -> Option<String> {
    std::fs::read_to_string(path.with_extension("expected")).ok()
}

#[test]
fn bad_files_are_refused_with_all_that_is_wrong() {
    let agent = Agent::new("config-bad");
    let mut wrong = String::new();
    // Problems of the files alone, and problems that require the components.
    for path in files("bad").into_iter().chain(files("components")) {
        let (code, output) = check(&agent, &path);
        if code != Some(78) || Some(&output) != expected(&path).as_ref() {
            wrong.push_str(&format!("== {}: {code:?}\n{output}", path.display()));
        }
        assert!(!output.contains("hunter2"), "a secret of {} in:\n{output}", path.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn good_files_are_taken_with_their_warnings() {
    let agent = Agent::new("config-good");
    let mut wrong = String::new();
    for path in files("good") {
        let (code, output) = check(&agent, &path);
        // Warnings about known secrets and about the file's mode are tested in ceilometer_conf.rs.
        let unwise = ["guest:guest opens it", "holds a secret"];
        let warnings: String = output
            .lines()
            .filter_map(|line| line.strip_prefix("warning: "))
            .filter(|line| line.starts_with(path.file_name().unwrap().to_str().unwrap()))
            .filter(|line| !unwise.iter().any(|what| line.contains(what)))
            .map(|line| format!("{line}\n"))
            .collect();
        // A valid file may name transformers that do not exist.
        let about_components = output.contains(" not found: no ");
        let code_fits = code == Some(0) || (code == Some(78) && about_components);
        if !code_fits || warnings != expected(&path).unwrap_or_default() {
            wrong.push_str(&format!("== {}: {code:?}\n{output}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_shipped_files_are_good() {
    let agent = Agent::new("config-shipped");
    let config = root().join("config");
    let (settings, pipeline) = (config.join("nephometer.yaml"), config.join("pipeline.yaml"));
    let text = std::fs::read_to_string(&settings).unwrap();
    // Replaces the folders of an installation.
    let folder = agent.folder.path().display().to_string();
    let components = root().join("target/components").canonicalize().unwrap();
    let text = text
        .replace("/usr/lib/nephometer/components", components.to_str().unwrap())
        .replace("/var/lib/nephometer", &format!("{folder}/store"))
        .replace("/var/cache/nephometer", &format!("{folder}/cache"))
        .replace("qemu:///system", "sim://");
    let settings = agent.folder.write("shipped.yaml", text);
    // Both forms: sources in pipeline.yaml, and sources in polling.yaml.
    let polling = config.join("polling.yaml");
    for beside in [None, Some(&polling)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.arg("check").arg("--config").arg(&settings).arg("--pipeline").arg(&pipeline);
        command.args(beside.iter().flat_map(|file| ["--polling".as_ref(), file.as_os_str()]));
        let sources = if beside.is_some() { "1 sources" } else { "4 sources" };
        agent.start(command, None).ended(crate::harness::PATIENCE).code(0).reports(sources);
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let agent = Agent::new("config-missing");
    let missing = agent.folder.at("nowhere.yaml");
    let missing = missing.to_str().unwrap();
    for command in ["check", "run", "once"] {
        agent.execute(&[command, "--pipeline", missing]).code(78).reports(missing);
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(["check", "--config", missing]);
    agent.start(command, None).ended(crate::harness::PATIENCE).code(78).reports(missing);
}

#[test]
fn faults_of_the_hosts_file_are_reported_at_once_too() {
    let agent = Agent::new("config-host")
        .everything_to(&["notifier://"])
        .set("libvirt.deadline", "soon")
        .set("libvrit.uri", "sim://")
        .set("message.telemetry_secret", "hunter2")
        .set("shutdown_grace", "-1s");
    let ended = agent.execute(&["check"]).code(78);
    for text in ["soon", "libvrit", "libvirt", "-1s", "nephometer.yaml:1:"] {
        assert!(ended.stdout.contains(text), "{text} is not in:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("hunter2"));
}

#[test]
fn components_are_named_with_line_and_column() {
    let agent = Agent::new("config-components").pipeline(
        "sources: [{name: s, meters: ['*'], sinks: [k, l]}]\n\
         sinks:\n\
         - name: k\n\
         \x20 transformers:\n\
         \x20 - name: rate_of_chnage\n\
         \x20   parameters: {}\n\
         \x20 publishers: [file:///dev/null]\n\
         - name: l\n\
         \x20 transformers:\n\
         \x20 - name: rate_of_change\n\
         \x20   parameters:\n\
         \x20     target:\n\
         \x20       scale: '1 +'\n\
         \x20 publishers: [file:///dev/null]\n",
    );
    let ended = agent.execute(&["check"]).code(78);
    let line = |place: &str, text: &str| {
        let has =
            |line: &&str| line.contains(&format!("pipeline.yaml:{place}: ")) && line.contains(text);
        assert!(ended.stdout.lines().any(|line| has(&line)), "{place} {text}:\n{}", ended.stdout);
    };
    line("5:11", "rate_of_change");
    line("13:16", "scale");
}

#[test]
fn wrong_usage_is_64() {
    let agent = Agent::new("config-usage").everything_to(&["notifier://"]);
    agent.execute(&["run", "--no-such-flag"]).code(64);
    agent.execute(&["once", "--sink", "nowhere"]).code(64).reports("known sinks: out");
    agent.execute(&["once", "--log", "a=b=c"]).code(64);
    agent.execute(&["component", "run", "file.wasm", "--options", "[]"]).code(64);
}

#[test]
fn earlier_command_names_still_work() {
    let agent = Agent::new("config-names");
    for (earlier, name) in
        [(&["rerun"][..], "replay"), (&["dead-letters", "replay"], "dead-letters retry")]
    {
        let help = agent.execute(&[earlier, &["--help"]].concat()).code(0).stdout;
        assert!(help.contains(&format!("nephometer {name} ")), "{help}");
    }
    let help = agent.execute(&["--help"]).code(0).stdout;
    assert!(!help.contains("rerun"), "{help}");
}

/// Regression: the demo passed the URL of its broker on the command line, which all users of the
/// host can read.
#[test]
fn secrets_are_no_arguments() {
    let agent = Agent::new("config-arguments");
    let demo = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(["demo", "--libvirt", "sim://?domains=1", "--components"]);
        command.arg(root().join("target/components")).args(arguments).env_remove("AMQP_URL");
        command.arg("--file").arg(agent.folder.at("samples")).current_dir(agent.folder.path());
        command
    };
    let ended =
        agent.start(demo(&["--amqp", "amqp://u:hunter2@h"]), None).ended(crate::harness::PATIENCE);
    assert!(!ended.code(64).reports("--amqp-file").stderr.contains("hunter2"));

    let greeted = |name: &str, start: &dyn Fn(String) -> std::process::Command| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let running = agent.start(start(format!("amqp://u:hunter2@127.0.0.1:{port}")), None);
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = [0; 4];
        std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
        assert_eq!(&greeting, b"AMQP", "{name}");
        let line = format!("/proc/{}/cmdline", running.pid().as_raw_nonzero());
        assert!(!std::fs::read_to_string(line).unwrap().contains("hunter2"), "{name}");
        drop((stream, listener));
        // The exit code is not checked: samples for the stopped broker may be pending.
        assert!(!running.stop().stderr.contains("hunter2"), "{name}");
    };
    greeted("of the environment", &|url| {
        let mut command = demo(&[]);
        command.env("AMQP_URL", url);
        command
    });
    greeted("of a file", &|url| {
        let file = agent.folder.write("url", url + "\n");
        demo(&["--amqp-file", file.to_str().unwrap()])
    });

    // Options of a component may be secrets, too.
    let options = agent.folder.write("options.json", "{\"token\": hunter2}");
    let file = format!("@{}", options.display());
    for options in ["{\"token\": hunter2}", &file] {
        let ended =
            agent.execute(&["component", "run", "file.wasm", "--options", options]).code(64);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        assert!(ended.stderr.contains("not a JSON object (line 1, column 11)"), "{}", ended.stderr);
    }
    let missing = ["component", "run", "file.wasm", "--options", "@nowhere"];
    agent.execute(&missing).code(64).reports("@nowhere");
}
