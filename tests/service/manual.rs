//! Manual pages and completions agree with `--help`: every command has a page with all of its
//! options, and every shell a script that names all commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::harness::Folder;

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of a program with their options, from `--help`.
fn commands(program: &Path, path: &[&str], found: &mut Vec<(Vec<String>, BTreeSet<String>)>) {
    let text = run(program, &[path, &["--help"]].concat());
    let option = Regex::new(r"(?m)^ {2,6}(?:-\w, )?(--[a-z][a-z-]*)").unwrap();
    let options = option.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    found.push((path.iter().map(|word| (*word).to_owned()).collect(), options));
    let Some((_, list)) = text.split_once("\nCommands:\n") else { return };
    let list = list.lines().take_while(|line| !line.trim().is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            commands(program, &[path, &[name]].concat(), found);
        }
    }
}

fn programs() -> [(&'static str, PathBuf); 2] {
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_nephometer"));
    let collector = agent.with_file_name("nephometer-collector");
    [("nephometer", agent), ("nephometer-collector", collector)]
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    for (name, program) in programs() {
        let folder = Folder::new("manual");
        run(&program, &["man", folder.at("man").to_str().unwrap()]);
        let mut found = Vec::new();
        commands(&program, &[], &mut found);
        let mut pages = BTreeSet::new();
        for (path, options) in found {
            let words: Vec<&str> =
                [name].into_iter().chain(path.iter().map(String::as_str)).collect();
            let page = format!("{}.1", words.join("-"));
            let text = fs::read_to_string(folder.at("man").join(&page));
            let text = text.unwrap_or_else(|error| panic!("{page}: {error}")).replace('\\', "");
            for option in options {
                assert!(text.contains(&option), "{page} does not have {option}");
            }
            pages.insert(page);
        }
        let written = fs::read_dir(folder.at("man")).unwrap();
        let written = written.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // Those of the command `help`, which clap adds.
        let written: BTreeSet<String> = written.filter(|page| !page.contains("-help")).collect();
        assert_eq!(written, pages);
        assert!(pages.len() > 9, "{pages:?}");
    }
}

#[test]
fn every_shell_completes_all_commands() {
    for (_, program) in programs() {
        let mut found = Vec::new();
        commands(&program, &[], &mut found);
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = run(&program, &["completions", shell]);
            for (path, _) in &found {
                let Some(last) = path.last() else { continue };
                assert!(script.contains(last), "{shell}: no {last}");
            }
        }
    }
}

#[test]
fn the_completions_for_bash_are_a_script() {
    for (_, program) in programs() {
        let folder = Folder::new("completions");
        let script = folder.write("script", run(&program, &["completions", "bash"]));
        let status = Command::new("bash").arg("-n").arg(script).status().unwrap();
        assert!(status.success());
    }
}
