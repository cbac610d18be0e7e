//! `nephometer top`, in a terminal of tmux.

use crate::harness::{Agent, PATIENCE, Terminal, closed_port, eventually};

use super::agent;

fn start(agent: &Agent, before: &str) -> Terminal {
    let binary = env!("CARGO_BIN_EXE_nephometer");
    let command = format!(
        "cd '{}'; {before} {binary} top --socket agent.sock; echo ended with $?; exec sleep 300",
        agent.folder.path().display()
    );
    Terminal::start(agent, 120, 40, &command)
}

fn wait(terminal: &Terminal, what: &str, is: impl Fn(&str) -> bool) -> String {
    eventually(what, PATIENCE, || {
        let shown = terminal.shown();
        is(&shown).then_some(shown)
    })
}

#[test]
fn the_view_is_live_sortable_and_survives_a_restart_and_a_resize() {
    let port = closed_port();
    let agent = agent("top").set("telemetry.listen", format!("127.0.0.1:{port}"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let terminal = start(&agent, "");
    let shown = wait(&terminal, "rates", |shown| shown.contains(" samples/s,"));
    assert!(shown.starts_with("nephometer "), "{shown}");
    assert!(shown.contains("3 healthy"), "{shown}");
    for table in ["  SINKS (2)", "  COMPONENTS (1)", "  PUBLISHERS (2)", "rate_of_change@"] {
        assert!(shown.contains(table), "{table}: {shown}");
    }
    let shown = wait(&terminal, "domains", |shown| shown.contains("> DOMAINS (3)"));
    assert!(shown.lines().filter(|line| line.contains(" healthy ")).count() >= 3, "{shown}");
    terminal.tmux(&["send-keys", "Tab"]);
    let shown = wait(&terminal, "the next table", |shown| shown.contains("> SINKS (2)"));
    let order = |shown: &str| {
        let rows = shown.lines().filter(|line| line.contains(" running "));
        rows.map(|row| row.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order(&shown), ["rates", "raw"]);
    terminal.tmux(&["send-keys", "r"]);
    wait(&terminal, "the reverse order", |shown| order(shown) == ["raw", "rates"]);
    terminal.tmux(&["send-keys", "Right", "Right", "Right"]);
    wait(&terminal, "another column", |shown| shown.contains("PROCESSED^"));
    terminal.tmux(&["send-keys", "Tab"]);
    wait(&terminal, "another table", |shown| shown.contains("> COMPONENTS"));
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    wait(&terminal, "a smaller picture", |shown| {
        shown.lines().all(|line| line.chars().count() <= 60) && shown.contains("tab: next table")
    });
    terminal.tmux(&["resize-window", "-x", "120", "-y", "40"]);

    running.stop().code(0);
    let shown = wait(&terminal, "an agent that is away", |it| it.contains("agent away since 2"));
    assert!(shown.contains("PUBLISHERS (2)"), "the last picture stays: {shown}");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    wait(&terminal, "the agent again", |shown| {
        !shown.contains("agent away") && shown.contains(" samples/s,")
    });
    terminal.tmux(&["send-keys", "q"]);
    wait(&terminal, "the end", |shown| shown.contains("ended with 0"));
    let flags = terminal.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
    assert_eq!(flags.trim(), "1 0", "the terminal is as before");
    running.stop().code(0);
}

#[test]
fn without_a_terminal_or_an_agent_it_is_an_error_and_no_color_is_plain() {
    let agent = agent("top-errors");
    agent.execute(&["top"]).code(64).reports("nephometer status");
    let terminal = start(&agent, "");
    wait(&terminal, "an error", |shown| {
        shown.contains("no agent answers at") && shown.contains("ended with 69")
    });
    drop(terminal);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    for (before, styled) in [("NO_COLOR=1", false), ("", true)] {
        let terminal = start(&agent, before);
        let shown = wait(&terminal, "a picture", |shown| shown.contains("SINKS (2)"));
        assert!(shown.contains("DOMAINS (the agent has no telemetry.listen)"), "{shown}");
        let raw = terminal.tmux(&["capture-pane", "-p", "-e"]);
        assert_eq!(raw.contains('\u{1b}'), styled, "{before}: {raw:?}");
    }
    running.stop().code(0);
}
