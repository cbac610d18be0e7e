//! Holds the code against `host/ARCHITECTURE.md`: which crate uses which, which crate owns which
//! foreign crate, and the house rules that can be counted.

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
use imports::{circles, imports};
use public::{Offer, offer};
use source::{Source, sources};

/// A crate of the workspace that the agent is made of.
struct Package {
    name: String,
    description: String,
    root: PathBuf,
    /// Crates of the workspace that it uses outside tests.
    inner: BTreeSet<String>,
    /// Crates of others that it uses outside tests.
    foreign: BTreeSet<String>,
}

impl Package {
    fn sources(&self) -> BTreeMap<Vec<String>, Source> {
        sources(&self.root)
    }
}

fn repository() -> PathBuf {
    harness::root().canonicalize().unwrap()
}

/// The workspace as cargo sees it, without benchmarks.
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
    let wanted = all.iter().filter(|package| package["name"] != "nephometer-bench");
    wanted
        .map(|package| {
            let root =
                package["targets"].as_array().unwrap().iter().find(|target| {
                    target["kind"].as_array().unwrap().iter().any(|kind| kind == "lib")
                });
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let used = dependencies.filter(|one| one["kind"].is_null() && one["target"].is_null());
            let (inner, foreign) = used.partition::<Vec<_>, _>(|one| one["path"].is_string());
            let names = |of: Vec<&Value>| of.into_iter().map(|one| text(&one["name"])).collect();
            Package {
                name: text(&package["name"]),
                description: text(&package["description"]),
                root: text(&root.unwrap()["src_path"]).into(),
                inner: names(inner),
                foreign: names(foreign),
            }
        })
        .collect()
}

/// A row of the table of crates.
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

/// `host/architecture.svg` is drawn from the manifests; `NEPHOMETER_TEST_UPDATE=1` draws it anew.
#[test]
fn the_picture_of_the_crates_is_the_one_of_today() {
    let path = repository().join("host/architecture.svg");
    let drawn = picture::picture(&packages());
    if std::env::var_os("NEPHOMETER_TEST_UPDATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == drawn, "draw it with NEPHOMETER_TEST_UPDATE=1 set for this test");
}

/// `nephometer-model` is `model` in the table.
fn short(name: &str) -> &str {
    name.strip_prefix("nephometer-").unwrap_or(name)
}

#[test]
fn crates_use_exactly_what_the_table_says() {
    let table = table();
    let packages = packages();
    let known: BTreeSet<&str> = packages.iter().map(|package| short(&package.name)).collect();
    let listed: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(known, listed, "the crates of the workspace, and those of the table");
    for package in &packages {
        let name = short(&package.name);
        let used: BTreeSet<String> = package.inner.iter().map(|one| short(one).into()).collect();
        assert_eq!(used, table[name].may_use, "what {name} uses, and what the table says");
    }
}

#[test]
fn a_foreign_crate_is_used_by_its_owner_only() {
    let table = table();
    let owner = |foreign: &str| {
        let mut owners = table.iter().filter(|(_, row)| row.owns.contains(foreign));
        owners.next().map(|(name, _)| name.as_str())
    };
    let mut wrong = Vec::new();
    let packages = packages();
    for package in &packages {
        let name = short(&package.name);
        for foreign in &package.foreign {
            match owner(foreign) {
                Some(owner) if owner != name => {
                    wrong.push(format!("{name} uses {foreign}, which belongs to {owner}"));
                }
                _ => {}
            }
        }
        let idle = table[name].owns.difference(&package.foreign);
        wrong.extend(idle.map(|one| format!("{name} owns {one} and does not use it")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let mut wrong = Vec::new();
    for package in packages() {
        let texts = code(package.root.parent().unwrap());
        for name in package.foreign.iter().chain(&package.inner) {
            let named = Regex::new(&format!(r"\b{}\b", name.replace('-', "_"))).unwrap();
            if !texts.iter().any(|(_, text)| named.is_match(text)) {
                wrong.push(format!("{} does not use {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_a_crate_do_not_import_each_other_in_circles() {
    let mut wrong = Vec::new();
    for package in packages() {
        let edges = imports(&package.sources());
        for circle in circles(&edges) {
            wrong.push(format!("{}: a circle of {} files", package.name, circle.len()));
            for from in &circle {
                for (to, names) in edges[from].iter().filter(|(to, _)| circle.contains(to)) {
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
fn a_type_has_its_name_for_itself_in_its_crate() {
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
fn what_is_public_in_an_inner_crate_is_used_outside_of_it() {
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
    // As a receiver: it verifies what the agent has signed.
    names.insert("harness", named(&repository().join("tests/harness")));
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| package.name != "nephometer") {
        let Offer { items, mentioned } = offer(&package.sources());
        let outside = |item: &&String| {
            let others = names.iter().filter(|(other, _)| **other != package.name);
            others.into_iter().any(|(_, names)| names.contains(*item))
        };
        let idle = items.iter().filter(|item| !mentioned.contains(*item) && !outside(item));
        wrong.extend(idle.map(|item| format!("{}: nobody uses {item}", package.name)));
    }
    assert!(wrong.is_empty(), "public, but\n{}", wrong.join("\n"));
}

#[test]
fn house_rules_that_can_be_counted() {
    let loud = Regex::new(r"\b(info|warn|error)!\(").unwrap();
    let unsafe_code = Regex::new(r"\bunsafe\s*(\{|fn|impl)").unwrap();
    let mut wrong = Vec::new();
    for package in packages() {
        for (path, text) in code(package.root.parent().unwrap()) {
            let shown = path.strip_prefix(repository()).unwrap().display().to_string();
            let lines = text.lines().count();
            if lines > 500 {
                wrong.push(format!("{shown}: {lines} lines, one idea each?"));
            }
            if loud.is_match(&text) && package.name != "nephometer-telemetry" {
                wrong.push(format!("{shown}: logs by itself, not through telemetry::events"));
            }
            let allowed = path.ends_with("wasm/src/code.rs")
                || path.starts_with(repository().join("host/libvirt/src/libvirt"));
            if unsafe_code.is_match(&text) && !allowed {
                wrong.push(format!("{shown}: unsafe code outside its two places"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file below a folder, without comments and unit tests.
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

/// Without the module of unit tests, which stands last in its file.
fn without_tests(text: &str) -> String {
    let at = text.find("#[cfg(test)]\nmod ");
    let inline = at.filter(|at| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{')));
    inline.map_or(text, |at| &text[..at]).to_owned()
}
