//! Paths and functions that documents name.

use std::fs;

use regex::Regex;

use super::repository;

/// Documents that name files of the code.
const PAGES: [&str; 7] = [
    "host/ARCHITECTURE.md",
    "docs/security.md",
    "docs/reliability.md",
    "docs/store.md",
    "docs/compatibility.md",
    "docs/performance.md",
    "tests/README.md",
];

/// Regression: renames left four names behind in documents.
#[test]
fn functions_of_the_way_of_a_sample_exist() {
    let page = fs::read_to_string(repository().join(PAGES[0])).unwrap();
    let row = Regex::new(r"(?m)^\| \d+ \| (\w+) \| ([^|]+) \|").unwrap();
    let function = Regex::new(r"`([\w/]+\.rs):(\w+)`").unwrap();
    let mut found = 0;
    for row in row.captures_iter(&page) {
        for named in function.captures_iter(&row[2]) {
            let path = repository().join("host").join(&row[1]).join("src").join(&named[1]);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let defined = Regex::new(&format!(r"\bfn {}\b", &named[2])).unwrap();
            assert!(defined.is_match(&text), "{}: no function {}", path.display(), &named[2]);
            found += 1;
        }
    }
    assert!(found >= 10, "{found}");
}

#[test]
fn files_that_documents_name_exist() {
    let file = Regex::new(r"`((?:tests/)?[\w/]+\.rs|tests/[\w/]+/)`").unwrap();
    let mut wrong = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        for named in file.captures_iter(&text) {
            let name = &named[1];
            // `wasm/trap.rs` is a file of a crate; sections about one folder leave it out.
            let (package, rest) = name.split_once('/').unwrap_or((name, ""));
            let places = [
                name.to_owned(),
                format!("tests/{name}"),
                format!("host/{package}/src/{rest}"),
                format!("host/wasm/src/convert/{name}"),
            ];
            if !places.iter().any(|place| repository().join(place).exists()) {
                wrong.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
