//! `docs/reference/options.md`: the keys of `pipeline.yaml`, the options of publishers, and those of
//! the shipped components.

use std::fmt::Write as _;
use std::fs;

use nephometer_config::options::{OptionTable, TABLES};

use super::{cell, compare};
use crate::harness::{Agent, root};

const HEAD: &str = "# Options

The keys of `pipeline.yaml` and `polling.yaml`, the options of publishers, and those of the shipped
components. The settings of a host are described in
[config/nephometer.yaml](../../config/nephometer.yaml), which holds every key with its default. Unknown
options of native publishers are ignored with a warning. Unknown keys are ignored, with a warning if a
known one is similar. A component decides about its own options. `nephometer check` prints all of it.
";

fn table(page: &mut String, table: &OptionTable) {
    writeln!(page, "\n## `{}`\n\n{}", table.location, cell(table.about)).unwrap();
    if table.options.is_empty() {
        return;
    }
    *page += "\n| name | values | default | effect |\n|---|---|---|---|\n";
    for option in table.options {
        let default = if option.default.is_empty() { "required" } else { option.default };
        let [values, effect] = [option.values, option.effect].map(cell);
        writeln!(page, "| `{}` | {values} | {default} | {effect} |", option.name).unwrap();
    }
}

/// The options of a component, as `component inspect` prints them: `  name (type): effect`, with
/// parts of an option indented further.
fn component(page: &mut String, agent: &Agent, name: &str) {
    let file = crate::harness::component(name).display().to_string();
    let text = agent.execute(&["component", "inspect", &file]).code(0).stdout;
    let (head, options) = text.split_once("\noptions:").unwrap();
    let about = head.lines().next().unwrap().split_once(": ").unwrap().1;
    writeln!(page, "\n### {name}\n\n{}", cell(about)).unwrap();
    let mut path: Vec<String> = Vec::new();
    *page += "\n| name | values | effect |\n|---|---|---|\n";
    for line in options.lines().filter(|line| line.starts_with("  ")) {
        let depth = (line.len() - line.trim_start().len()) / 2 - 1;
        let (name, rest) = line.trim_start().split_once(" (").unwrap();
        let (values, effect) = rest.split_once("): ").unwrap();
        path.truncate(depth);
        path.push(name.to_owned());
        let (name, values, effect) = (path.join("."), cell(values), cell(effect));
        writeln!(page, "| `{name}` | {values} | {effect} |").unwrap();
    }
}

#[test]
fn options_page_lists_every_option() {
    let mut page = HEAD.to_owned();
    TABLES.iter().for_each(|one| table(&mut page, one));
    page += "\n## Shipped components\n\nDefaults stand with the values, or in the effect.\n";
    let mut names: Vec<String> = fs::read_dir(root().join("target/components"))
        .expect("the shipped components; the command that builds them: make build")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    names.sort();
    // `https` is the same component as `http`.
    names.retain(|name| name != "https");
    let agent = Agent::new("reference-options");
    names.iter().for_each(|name| component(&mut page, &agent, name));
    compare("options.md", &page);
}
