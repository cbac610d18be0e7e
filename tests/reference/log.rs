//! `docs/reference/log.md`: every event that the agent logs.

use std::fmt::Write as _;

use syn::visit::{self, Visit};
use syn::{Item, Visibility};

use super::syntax::{docs, files};
use super::{cell, compare};

const HEAD: &str = "# Log events

The agent logs to standard error, as text or with `--log-format json` as one JSON object per line.
`--log` or `NEPHOMETER_LOG` select levels and modules (default `info`). One line reports one change of
state, not each attempt. Texts are stable within a minor version: match on the event, read the fields.
";

/// The calls of `tracing` macros in one function.
#[derive(Default)]
struct Calls(Vec<(String, String)>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().unwrap().ident.to_string();
        if matches!(name.as_str(), "error" | "warn" | "info" | "debug" | "trace") {
            self.0.push((name, call.tokens.to_string()));
        }
        visit::visit_macro(self, call);
    }
}

/// The arguments of a macro, split at commas outside of brackets and strings.
fn arguments(tokens: &str) -> Vec<String> {
    let (mut found, mut current, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    let mut letters = tokens.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted => {
                current.push(letter);
                current.extend(letters.next());
                continue;
            }
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                found.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(letter);
    }
    found.push(current);
    found.iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// A field's name: `?deadline`, `% uuid` and `reason = % Chain(reason)` have the names `deadline`,
/// `uuid` and `reason`.
fn field(argument: &str) -> String {
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    format!("`{}`", name.trim().trim_start_matches(['%', '?']).trim())
}

#[test]
fn log_page_lists_every_event() {
    let mut page = HEAD.to_owned();
    for (path, file) in files("host/telemetry/src/events") {
        let mut rows = String::new();
        for item in &file.items {
            let Item::Fn(function) = item else { continue };
            if matches!(function.vis, Visibility::Inherited) {
                continue;
            }
            let mut calls = Calls::default();
            calls.visit_block(&function.block);
            let name = function.sig.ident.to_string();
            assert!(!calls.0.is_empty(), "{}: {name} logs nothing", path.display());
            for (level, tokens) in calls.0 {
                let mut arguments = arguments(&tokens);
                let text = arguments.pop().unwrap();
                let fields: Vec<_> = arguments.iter().map(|one| field(one)).collect();
                let text = text.trim_matches('"').replace("\\\"", "\"");
                let meaning = docs(&function.attrs);
                assert!(!meaning.is_empty(), "{}: {name} has no comment", path.display());
                let (fields, meaning) = (fields.join(", "), cell(&meaning));
                writeln!(rows, "| {level} | `{}` | {fields} | {meaning} |", cell(&text)).unwrap();
            }
        }
        if !rows.is_empty() {
            let title = docs(&file.attrs);
            writeln!(page, "\n## {}\n\n{title}\n", path.file_stem().unwrap().display()).unwrap();
            page += "| level | event | fields | meaning |\n|---|---|---|---|\n";
            page += &rows;
        }
    }
    compare("log.md", &page);
}
