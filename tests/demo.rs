//! `nephometer demo`: the picture, with and without a terminal, and the way of all samples through the
//! collector.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Agent, PATIENCE, Terminal, eventually, root};

/// The demo with a simulation, started in the folder of `agent`.
fn arguments(agent: &Agent, seconds: &str) -> Vec<String> {
    let components = root().join("target/components").canonicalize().unwrap();
    let file = agent.folder.at("demo.ndjson");
    ["demo", "--libvirt", "sim://?domains=10&seed=1", "--seconds", seconds, "--components"]
        .map(str::to_owned)
        .into_iter()
        .chain([components.display().to_string(), "--file".to_owned(), file.display().to_string()])
        .collect()
}

/// The commands below TRY.
fn commands(picture: &str) -> Vec<&str> {
    let lines = picture.lines().skip_while(|line| !line.starts_with("TRY")).skip(1);
    lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with('#')).collect()
}

/// The digest of the component of a sink, as a picture shows it.
fn digest<'a>(picture: &'a str, sink: &str) -> &'a str {
    let line = picture.lines().find(|line| line.starts_with(sink) && line.contains('@')).unwrap();
    line.split('@').nth(1).unwrap().split_whitespace().next().unwrap()
}

#[test]
fn without_a_terminal_the_picture_is_plain_text_and_its_commands_work() {
    let agent = Agent::new("demo-plain");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(arguments(&agent, "16")).current_dir(agent.folder.path()).env_remove("AMQP_URL");
    let running = agent.start(command, None);
    let first = eventually("the first picture", PATIENCE, || {
        Some(running.stdout()).filter(|out| commands(out).len() == 4)
    });
    let shell = |command: &str| {
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", command]).current_dir(agent.folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = commands(&first).into_iter().map(shell).collect::<String>();
    assert!(printed.contains("http://127.0.0.1:") && printed.contains("/#token="), "{printed}");
    // The fourth one asks the collector, which has the samples of ten machines already.
    assert!(printed.contains("RESOURCE_ID") && printed.lines().count() > 10, "{printed}");
    let ended = running.ended(PATIENCE).code(0);
    let out = &ended.stdout;
    assert!(!out.contains('\u{1b}'), "{out}");
    assert!(out.matches("MACHINE").count() >= 2, "after the second cycle and at the end: {out}");
    // A component was replaced, and a machine has stopped.
    let last = &out[out.rfind("nephometer: a SIMULATION").unwrap()..];
    assert_ne!(digest(&first, "cpu_util"), digest(last, "cpu_util"), "{last}");
    assert!(!first.contains("1 stuck") && last.contains(", 1 stuck"), "{last}");
    let row = first.lines().find(|line| line.starts_with("mail-05")).unwrap();
    let units = ["project-6", "%", "GiB", "KiB"];
    assert!(units.iter().all(|unit| row.contains(unit)), "{row}");
    assert!(row.chars().any(|c| ('▁'..='█').contains(&c)), "{row}");
    assert!(last.contains("rate_of_change@") && last.contains(" 0 waiting"), "{last}");
    let commands = commands(last);
    assert_eq!(commands.len(), 4, "{last}");
    let is_command = |line: &&str| commands.contains(line) || line.contains(" --config ");
    let pictures = out.lines().filter(|line| !is_command(line));
    let wide: Vec<_> = pictures.filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(!ended.stderr.contains(" 0 readings failed"), "{}", ended.stderr);
    collected(&agent, last);
}

/// What the collector has is what the agent has sent, and nothing is left running.
fn collected(agent: &Agent, last: &str) {
    let line = last.lines().find(|line| line.contains(" samples collected in ")).unwrap();
    let count: usize = line.split(' ').next().unwrap().parse().unwrap();
    // The file got the same samples.
    let file = std::fs::read_to_string(agent.folder.at("demo.ndjson")).unwrap();
    assert_eq!(count, file.lines().count(), "{last}");
    assert!(count > 500, "{count}");
    let rows = last.lines().skip_while(|line| !line.starts_with("COLLECTED")).skip(1);
    let counted = rows.map_while(|row| row.get(31..39)?.trim().parse::<usize>().ok());
    assert_eq!(counted.sum::<usize>(), count, "{last}");
    let way = last.lines().find(|line| line.starts_with("collector: tcp://")).unwrap();
    let page = way.split("http://").nth(1).unwrap().trim_end_matches('/');
    assert!(std::net::TcpStream::connect(page).is_err(), "{page} is still served");
    let again = last.lines().rfind(|line| line.contains(" run --config ")).unwrap();
    let state = again.replace(" run --config ", " status --json --config ");
    let output = Command::new("sh").args(["-c", &state]).current_dir(agent.folder.path()).output();
    let state: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(state["samples"], count, "{state}");
}

/// A file that cannot be written, and an output that is closed: the demo reports the first, and ends with both.
#[test]
fn what_is_not_acknowledged_is_reported_and_a_closed_output_ends_it() {
    let agent = Agent::new("demo-failing");
    let mut words = arguments(&agent, "2");
    *words.last_mut().unwrap() = "/proc/nephometer-demo".to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(words).current_dir(agent.folder.path()).env_remove("AMQP_URL");
    let ended = agent.start(command, None).ended(PATIENCE).code(69);
    // The other publisher, to the collector, is not delayed.
    assert!(ended.stderr.contains("messages: 6 acknowledged, "), "{}", ended.stderr);
    assert!(!ended.stderr.contains(" 0 waiting"), "{}", ended.stderr);

    let words: Vec<_> = arguments(&agent, "300").iter().map(|word| format!("'{word}'")).collect();
    let binary = env!("CARGO_BIN_EXE_nephometer");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{binary} {} | head -n 1", words.join(" ")));
    shell.current_dir(agent.folder.path()).env_remove("AMQP_URL");
    let ended = agent.start(shell, None).ended(PATIENCE).code(0);
    assert!(ended.stdout.starts_with("nephometer: a SIMULATION"), "{}", ended.stdout);
}

#[test]
fn on_a_terminal_the_picture_is_redrawn_follows_its_size_and_leaves_it_clean() {
    let agent = Agent::new("demo-terminal");
    let binary = env!("CARGO_BIN_EXE_nephometer");
    let words: Vec<_> = arguments(&agent, "300").iter().map(|word| format!("'{word}'")).collect();
    let command = format!("{binary} {}; echo ended with $?; exec sleep 300", words.join(" "));
    let terminal = Terminal::start(&agent, 80, 40, &command);
    eventually("a row with rates", PATIENCE, || {
        let shown = terminal.shown();
        let row = shown.lines().find(|line| line.starts_with("mail-05"))?;
        row.contains('%').then_some(())
    });
    let shown = terminal.shown();
    assert!(shown.starts_with("nephometer: a SIMULATION"), "{shown}");
    assert!(shown.contains("TRY IN ANOTHER TERMINAL"), "{shown}");
    // A small window has fewer machines, and everything below them.
    terminal.tmux(&["resize-window", "-x", "100", "-y", "24"]);
    eventually("a picture of the new size", PATIENCE, || {
        let shown = terminal.shown();
        let ends = |end| shown.lines().any(|line| line.trim_end().ends_with(end));
        let whole = ends(" more") && ends("agent.sock");
        whole.then_some(())
    });
    terminal.tmux(&["send-keys", "C-c"]);
    eventually("the end", PATIENCE, || {
        let shown = terminal.shown();
        (shown.contains("samples polled") && shown.contains("ended with 0")).then_some(())
    });
    eventually("the cursor", PATIENCE, || {
        let flag = terminal.tmux(&["display-message", "-p", "#{cursor_flag}"]);
        (flag.trim() == "1").then_some(())
    });
}
