//! `docs/reference/options.md`: the keys of all files, the options of publishers, and those of the
//! shipped components.

use std::fmt::Write as _;
use std::fs;

use nephometer_config::keys::{ConfigFile, FILES, KeyDefault, each_key};
use nephometer_config::options::{OptionTable, TABLES};

use super::{cell, compare};
use crate::harness::{Agent, root};

const HEAD: &str = "# Options

The keys of all files, the options of publishers, and those of the shipped components. `nephometer schema`
prints the same for editors as JSON Schema, `nephometer config show` the values that apply and where they
come from. The shipped files hold every key of a host and of the collector with its default.

Unknown keys of `nephometer.yaml` and `collector.yaml` are errors. Unknown keys of `pipeline.yaml` and
`polling.yaml` are ignored, with a warning, and so are unknown options of native publishers. A component
decides about its own options. `nephometer check` prints all of it.
";

/// The keys of a file, those of mappings in it with their path.
fn file(page: &mut String, file: &ConfigFile) {
    writeln!(page, "\n## {}\n\n{}", file.name, cell(file.keys.about)).unwrap();
    *page += "\n| name | values | default | effect |\n|---|---|---|---|\n";
    for (name, key) in each_key(file.keys) {
        let default = match key.default {
            KeyDefault::Required => "required".to_owned(),
            KeyDefault::Nothing => String::new(),
            KeyDefault::Value(text) => format!("`{text}`"),
            KeyDefault::Depends(words) => words.to_owned(),
        };
        let [values, default, effect] = [&*key.shape.describe(), &default, key.effect].map(cell);
        writeln!(page, "| `{name}` | {values} | {default} | {effect} |").unwrap();
    }
}

fn table(page: &mut String, table: &OptionTable) {
    writeln!(page, "\n### `{}`\n\n{}", table.location, cell(table.about)).unwrap();
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
        let (name, values) = (path.join("."), cell(values));
        // Text of authors, not Markdown: `<name>` is no tag.
        let effect = cell(effect).replace('<', "\\<");
        writeln!(page, "| `{name}` | {values} | {effect} |").unwrap();
    }
}

#[test]
fn options_page_lists_every_option() {
    let mut page = HEAD.to_owned();
    FILES.iter().for_each(|one| file(&mut page, one));
    page += "\n## Publishers\n";
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
