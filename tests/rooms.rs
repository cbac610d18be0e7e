//! Holds the table of rooms in `host/ARCHITECTURE.md` against the code: which room names which,
//! which room owns which foreign crate, and the house rules that can be counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

struct Room {
    may_use: BTreeSet<String>,
    owns: BTreeSet<String>,
}

fn host() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rooms() -> BTreeMap<String, Room> {
    let page = std::fs::read_to_string(host().join("ARCHITECTURE.md")).unwrap();
    let table = page.split("<!-- rooms -->").nth(1).unwrap();
    let table = table.split("<!-- /rooms -->").next().unwrap();
    let words = |cell: &str| {
        cell.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), Room { may_use: words(cells[1]), owns: words(cells[2]) })
    })
    .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file with its room, without comments and without its unit tests.
fn code() -> Vec<(String, PathBuf, String)> {
    let root = host().join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let comment = Regex::new(r"(?m)//.*$").unwrap();
    files
        .into_iter()
        .filter_map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_owned();
            let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            if room == "lib" || room == "main" || relative.ends_with("tests.rs") {
                return None;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            Some((room, relative, comment.replace_all(&text, "").into_owned()))
        })
        .collect()
}

#[test]
fn rooms_name_only_the_rooms_that_the_table_allows() {
    let rooms = rooms();
    let single = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    let mut wrong = Vec::new();
    for (room, path, text) in code() {
        let Some(row) = rooms.get(&room) else {
            wrong.push(format!("{}: the room {room} is not in the table", path.display()));
            continue;
        };
        for capture in single.captures_iter(&text) {
            let named = &capture[1];
            if named != room && rooms.contains_key(named) && !row.may_use.contains(named) {
                wrong.push(format!("{}: {room} must not use {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_of_the_table_is_missing_and_no_permission_is_unused() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let single = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    for (room, _, text) in code() {
        let names = single.captures_iter(&text).map(|capture| capture[1].to_owned());
        used.entry(room).or_default().extend(names);
    }
    for (name, room) in rooms() {
        let used = used.get(&name).unwrap_or_else(|| panic!("the room {name} has no code"));
        let idle: Vec<&String> = room.may_use.difference(used).collect();
        assert!(idle.is_empty(), "{name} does not use {idle:?}: take it off the table");
    }
}

#[test]
fn a_foreign_crate_is_named_by_its_owner_only() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    for (room, path, text) in code() {
        for (owner, row) in &rooms {
            for foreign in &row.owns {
                let name = Regex::new(&format!(r"\b{foreign}::")).unwrap();
                if *owner != room && name.is_match(&text) {
                    wrong.push(format!("{}: {foreign} belongs to {owner}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn house_rules_that_can_be_counted() {
    let loud = Regex::new(r"\b(info|warn|error)!\(").unwrap();
    let unsafe_code = Regex::new(r"\bunsafe\s*(\{|fn|impl)").unwrap();
    let mut wrong = Vec::new();
    for (room, path, text) in code() {
        let lines = text.lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines, one idea each?", path.display()));
        }
        if loud.is_match(&text) && !path.starts_with("telemetry") {
            wrong
                .push(format!("{}: logs by itself, not through telemetry::events", path.display()));
        }
        let allowed = room == "libvirt" || path.ends_with("component/code.rs");
        if unsafe_code.is_match(&text) && !allowed {
            wrong.push(format!("{}: unsafe code outside its two places", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_an_owner_or_is_free_for_all() {
    let manifest = std::fs::read_to_string(host().join("Cargo.toml")).unwrap();
    let dependencies: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.split_once(".workspace").map(|(name, _)| name.replace('-', "_")))
        .collect();
    for (name, room) in rooms() {
        for owned in room.owns {
            assert!(dependencies.contains(&owned), "{name} owns {owned}, which is no dependency");
        }
    }
}
