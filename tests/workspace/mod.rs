//! Compares the code with `host/ARCHITECTURE.md`: the dependencies between crates, the owner of each
//! external crate, and countable house rules.

mod documents;
mod imports;
mod picture;
mod public;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::harness;
use imports::{cycles, imports};
use public::{PublicInterface, public_interface};
use source::{Source, sources};

/// A crate of the agent's workspace.
struct Package {
    name: String,
    description: String,
    root: PathBuf,
    /// The crates of the workspace that it uses outside tests.
    internal: BTreeSet<String>,
    /// The external crates that it uses outside tests.
    external: BTreeSet<String>,
}

impl Package {
    fn sources(&self) -> BTreeMap<Vec<String>, Source> {
        sources(&self.root)
    }
}

fn repository() -> PathBuf {
    harness::root().canonicalize().unwrap()
}

/// The crates of the workspace, without benchmarks, from `cargo metadata`.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = metadata["packages"].as_array().unwrap();
    let crates =
        all.iter().filter(|package| !text(&package["name"]).starts_with("nephometer-bench"));
    crates
        .map(|package| {
            let root =
                package["targets"].as_array().unwrap().iter().find(|target| {
                    target["kind"].as_array().unwrap().iter().any(|kind| kind == "lib")
                });
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let used = dependencies.filter(|one| one["kind"].is_null() && one["target"].is_null());
            let (internal, external) = used.partition::<Vec<_>, _>(|one| one["path"].is_string());
            let names = |of: Vec<&Value>| of.into_iter().map(|one| text(&one["name"])).collect();
            Package {
                name: text(&package["name"]),
                description: text(&package["description"]),
                root: text(&root.unwrap()["src_path"]).into(),
                internal: names(internal),
                external: names(external),
            }
        })
        .collect()
}

/// A row of the table of crates in ARCHITECTURE.md.
struct Row {
    may_use: BTreeSet<String>,
    owns: BTreeSet<String>,
}

fn table() -> BTreeMap<String, Row> {
    let page = std::fs::read_to_string(repository().join("host/ARCHITECTURE.md")).unwrap();
    let table = page.split("<!-- crates -->").nth(1).unwrap();
    let table = table.split("<!-- /crates -->").next().unwrap();
    let words = |cell: &str| {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`'));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        (name, Row { may_use: words(cells[1]), owns: words(cells[2]) })
    })
    .collect()
}

/// `host/architecture.svg` is drawn from the manifests; `NEPHOMETER_TEST_UPDATE=1` draws it again.
#[test]
fn the_picture_of_the_crates_is_up_to_date() {
    let path = repository().join("host/architecture.svg");
    let drawn = picture::picture(&packages());
    if std::env::var_os("NEPHOMETER_TEST_UPDATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == drawn, "out of date: draw it with NEPHOMETER_TEST_UPDATE=1 set for this test");
}

/// `nephometer-model` is `model` in the table.
fn short(name: &str) -> &str {
    name.strip_prefix("nephometer-").unwrap_or(name)
}

#[test]
fn crates_have_exactly_the_dependencies_of_the_table() {
    let table = table();
    let packages = packages();
    let known: BTreeSet<&str> = packages.iter().map(|package| short(&package.name)).collect();
    let listed: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(known, listed, "crates of the workspace and of the table");
    for package in &packages {
        let name = short(&package.name);
        let used: BTreeSet<String> = package.internal.iter().map(|one| short(one).into()).collect();
        assert_eq!(
            used, table[name].may_use,
            "dependencies of {name}, and of its row in the table"
        );
    }
}

#[test]
fn an_external_crate_is_used_by_its_owner_only() {
    let table = table();
    let owner = |external: &str| {
        let mut owners = table.iter().filter(|(_, row)| row.owns.contains(external));
        owners.next().map(|(name, _)| name.as_str())
    };
    let mut wrong = Vec::new();
    let packages = packages();
    for package in &packages {
        let name = short(&package.name);
        for external in &package.external {
            match owner(external) {
                Some(owner) if owner != name => {
                    wrong.push(format!("{name} uses {external}, which belongs to {owner}"));
                }
                _ => {}
            }
        }
        let idle = table[name].owns.difference(&package.external);
        wrong.extend(idle.map(|one| format!("{name} owns {one} and does not use it")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let mut wrong = Vec::new();
    for package in packages() {
        let texts = code(package.root.parent().unwrap());
        for name in package.external.iter().chain(&package.internal) {
            let named = Regex::new(&format!(r"\b{}\b", name.replace('-', "_"))).unwrap();
            if !texts.iter().any(|(_, text)| named.is_match(text)) {
                wrong.push(format!("{} does not use {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_a_crate_have_no_import_cycles() {
    let mut wrong = Vec::new();
    for package in packages() {
        let edges = imports(&package.sources());
        for cycle in cycles(&edges) {
            wrong.push(format!("{}: a cycle of {} files", package.name, cycle.len()));
            for from in &cycle {
                for (to, names) in edges[from].iter().filter(|(to, _)| cycle.contains(to)) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let (from, to) = (from.join("::"), to.join("::"));
                    wrong.push(format!("  {from} -> {to}: {}", names.join(", ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_type_name_is_unique_in_its_crate() {
    let mut wrong = Vec::new();
    for package in packages() {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (module, source) in package.sources() {
            for name in source.types {
                places.entry(name).or_default().push(module.join("::"));
            }
        }
        for (name, places) in places.iter().filter(|(_, places)| places.len() > 1) {
            wrong.push(format!("{}: {name} in {}", package.name, places.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn public_items_of_internal_crates_are_used_by_other_crates() {
    let packages = packages();
    let words = Regex::new(r"\w+").unwrap();
    let named = |folder: &Path| -> BTreeSet<String> {
        let texts = code(folder);
        let words = texts.iter().flat_map(|(_, text)| words.find_iter(text));
        words.map(|word| word.as_str().to_owned()).collect()
    };
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &packages {
        names.insert(&package.name, named(package.root.parent().unwrap()));
    }
    names.insert("benches", named(&repository().join("host/benches")));
    names.insert("fuzz", named(&repository().join("host/fuzz/targets")));
    names.insert("reference", named(&repository().join("tests/reference")));
    // The harness verifies messages as a receiver does.
    names.insert("harness", named(&repository().join("tests/harness")));
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| package.name != "nephometer") {
        let PublicInterface { items, mentioned } = public_interface(&package.sources());
        let outside = |item: &&String| {
            let others = names.iter().filter(|(other, _)| **other != package.name);
            others.into_iter().any(|(_, names)| names.contains(*item))
        };
        let idle = items.iter().filter(|item| !mentioned.contains(*item) && !outside(item));
        wrong.extend(idle.map(|item| format!("{}: {item} is not used", package.name)));
    }
    assert!(wrong.is_empty(), "public, but\n{}", wrong.join("\n"));
}

#[test]
fn countable_house_rules_hold() {
    let logging = Regex::new(r"\b(info|warn|error)!\(").unwrap();
    let unsafe_code = Regex::new(r"\bunsafe\s*(\{|fn|impl)").unwrap();
    let mut wrong = Vec::new();
    for package in packages() {
        for (path, text) in code(package.root.parent().unwrap()) {
            let shown = path.strip_prefix(repository()).unwrap().display().to_string();
            let lines = text.lines().count();
            if lines > 500 {
                wrong.push(format!("{shown}: {lines} lines, at most 500 are allowed"));
            }
            if logging.is_match(&text) && package.name != "nephometer-telemetry" {
                wrong.push(format!("{shown}: logs directly, not through telemetry::events"));
            }
            let allowed = path.ends_with("wasm/src/code.rs")
                || path.ends_with("nephometer/src/memory.rs")
                || path.ends_with("nephometer/src/cli/doctor/clock.rs")
                || path.starts_with(repository().join("host/libvirt/src/libvirt"));
            if unsafe_code.is_match(&text) && !allowed {
                wrong.push(format!("{shown}: unsafe code outside its four modules"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files below a folder, without comments and unit tests.
fn code(folder: &Path) -> Vec<(PathBuf, String)> {
    let comment = Regex::new(r"(?m)//.*$").unwrap();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, comment.replace_all(&without_tests(&text), "").into_owned()));
            }
        }
    }
    found
}

/// Cuts off the module of unit tests, which is the last one in a file.
fn without_tests(text: &str) -> String {
    let at = text.find("#[cfg(test)]\nmod ");
    let inline = at.filter(|at| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{')));
    inline.map_or(text, |at| &text[..at]).to_owned()
}
