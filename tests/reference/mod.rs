//! Reference pages in `docs/reference`, printed from the code: log events, errors, the command line,
//! control requests, and options. `NEPHOMETER_TEST_UPDATE=1` writes them again.

mod cli;
mod control;
mod errors;
mod log;
mod options;
mod syntax;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::harness::root;

const NOTE: &str = "<!-- Printed from the code by `tests/reference`; write it again with \
NEPHOMETER_TEST_UPDATE=1 cargo test --release -p nephometer --test integration reference:: -->";

/// Compares a page with the file in the repository, or writes the file.
fn compare(name: &str, page: &str) {
    let path: PathBuf = root().join("docs/reference").join(name);
    let mut text = String::new();
    let (title, rest) = page.split_once('\n').unwrap();
    write!(text, "{title}\n\n{NOTE}\n{}\n", rest.trim_end()).unwrap();
    if std::env::var_os("NEPHOMETER_TEST_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(kept, new)| kept != new);
    assert!(
        kept == text,
        "{} is out of date; first difference: {differs:?}; write it with NEPHOMETER_TEST_UPDATE=1",
        path.display()
    );
}

/// Code for one cell of a Markdown table; a text with backticks needs more of them around it.
fn code(text: &str) -> String {
    let text = cell(text);
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// Text for one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
