//! `docs/reference/cli.md`: the help of every command, and the exit codes.

use std::fmt::Write as _;
use std::process::Command;

use super::compare;

fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nephometer"))
        .args(command)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
fn commands(text: &str) -> Vec<String> {
    let Some((_, list)) = text.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| !line.trim().is_empty());
    // Continued lines are indented further.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn section(page: &mut String, command: &[String]) {
    let text = help(command);
    if !command.is_empty() {
        writeln!(page, "\n## nephometer {}", command.join(" ")).unwrap();
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    write!(page, "\n```text\n{}\n```\n", lines.join("\n").trim_end()).unwrap();
    for name in commands(&text) {
        section(page, &[command, &[name]].concat());
    }
}

#[test]
fn cli_page_has_the_help_of_every_command() {
    let mut page = "# Command line\n".to_owned();
    section(&mut page, &[]);
    let text = help(&[]);
    let (_, codes) = text.split_once("Exit codes: ").expect("the help ends with the exit codes");
    page += "\n## Exit codes\n\n| code | meaning |\n|---|---|\n";
    for code in codes.split_whitespace().collect::<Vec<_>>().join(" ").split("; ") {
        let (number, meaning) = code.split_once(' ').unwrap();
        writeln!(page, "| {number} | {} |", meaning.trim_end_matches('.')).unwrap();
    }
    compare("cli.md", &page);
}
