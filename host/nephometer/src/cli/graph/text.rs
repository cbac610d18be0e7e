//! The pipeline as a tree for a terminal.

use super::model::PipelineGraph;
use crate::cli::columns::{self, width};

/// The width of a terminal.
const COLUMNS: usize = 80;
/// The column where values begin, if the names before them leave it free.
const VALUES: usize = 18;
/// The last column where values begin beside a name; below longer names they have lines of their own.
const LAST_VALUES: usize = 44;

/// A tree for each source: its meters, and its sinks with their transformers and publishers. The parts
/// of a sink are written where it is named first.
pub(super) fn tree(graph: &PipelineGraph) -> String {
    let mut tree = Tree { text: String::new(), written: vec![false; graph.sinks.len()] };
    for source in &graph.sources {
        let more = if source.sinks.is_empty() { "   " } else { "│  " };
        tree.entry(&Branch::root(more), &source.name, std::slice::from_ref(&source.interval));
        let meters = Branch::below("", source.sinks.is_empty());
        tree.entry(&meters, "meters", &separated(&source.meters, ","));
        tree.sinks(graph, &source.sinks);
    }
    let unused: Vec<usize> = graph.unused_sinks().collect();
    if !unused.is_empty() {
        tree.entry(&Branch::root("│  "), "(no source)", &[]);
        tree.sinks(graph, &unused);
    }
    tree.text
}

/// The beginnings of the lines of one entry.
struct Branch {
    first: String,
    more: String,
}

impl Branch {
    fn root(more: &str) -> Self {
        Self { first: String::new(), more: more.to_owned() }
    }

    fn below(indent: &str, last: bool) -> Self {
        let [first, more] = if last { ["└─ ", "   "] } else { ["├─ ", "│  "] };
        Self { first: format!("{indent}{first}"), more: format!("{indent}{more}") }
    }
}

struct Tree {
    text: String,
    /// Whether the parts of a sink have been written.
    written: Vec<bool>,
}

impl Tree {
    fn sinks(&mut self, graph: &PipelineGraph, sinks: &[usize]) {
        for (at, &index) in sinks.iter().enumerate() {
            let branch = Branch::below("", at + 1 == sinks.len());
            let sink = &graph.sinks[index];
            if std::mem::replace(&mut self.written[index], true) {
                self.entry(&branch, &sink.name, &["(see above)".to_owned()]);
                continue;
            }
            self.entry(&branch, &sink.name, &[]);
            if !sink.transformers.is_empty() {
                let transformers = separated(&sink.transformers, " ->");
                self.entry(&Branch::below(&branch.more, false), "transform", &transformers);
            }
            let labels = sink.publishers.iter().map(|&one| graph.publishers[one].clone());
            let publishers = separated(&labels.collect::<Vec<_>>(), ",");
            self.entry(&Branch::below(&branch.more, true), "publish", &publishers);
        }
    }

    /// Writes a name, and its values beside it in lines of at most [`COLUMNS`].
    fn entry(&mut self, branch: &Branch, name: &str, values: &[String]) {
        let mut line = columns::cut(&format!("{}{name}", branch.first), COLUMNS);
        let mut column = VALUES.max(width(&line) + 2);
        if column > LAST_VALUES && !values.is_empty() {
            column = VALUES;
            self.end(&mut line);
            line.push_str(&branch.more);
        }
        pad(&mut line, column, values);
        for piece in values.iter().flat_map(|value| pieces(value, COLUMNS - column)) {
            let space = usize::from(width(&line) > column);
            if width(&line) + space + width(piece) > COLUMNS {
                self.end(&mut line);
                line.push_str(&branch.more);
                pad(&mut line, column, values);
            } else if space == 1 {
                line.push(' ');
            }
            line.push_str(piece);
        }
        self.end(&mut line);
    }

    fn end(&mut self, line: &mut String) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        line.clear();
    }
}

/// Fills a line with spaces up to the column of its values, if it has any.
fn pad(line: &mut String, column: usize, values: &[String]) {
    if !values.is_empty() {
        line.push_str(&" ".repeat(column.saturating_sub(width(line))));
    }
}

/// A value in pieces that fit a line, at least one character each.
fn pieces(value: &str, most: usize) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let length = columns::prefix(rest, most).len().max(first.len_utf8());
        let (piece, behind) = rest.split_at(length);
        found.push(piece);
        rest = behind;
    }
    found
}

/// The values, each but the last with a separator behind it.
fn separated(values: &[String], separator: &str) -> Vec<String> {
    let last = values.len().saturating_sub(1);
    let separator = |at| if at < last { separator } else { "" };
    values.iter().enumerate().map(|(at, value)| format!("{value}{}", separator(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::marked;
    use super::*;

    #[test]
    fn a_tree_has_every_part() {
        let expected = "\
source            every 600 s
├─ meters         meter
└─ sink
   ├─ transform   first -> second
   └─ publish     publisher
(no source)
└─ unused
   └─ publish
";
        assert_eq!(tree(&marked("")), expected);
    }

    #[test]
    fn long_names_and_lists_fit_the_terminal() {
        for (c, length) in [1, 20, 36, 60, 100, 400].into_iter().flat_map(|n| [('x', n), ('築', n)])
        {
            let mut graph = marked(&c.to_string().repeat(length));
            graph.sources[0].meters = vec!["m".repeat(length); 20];
            let text = tree(&graph);
            assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
            // Two more are in `meters` and `transform`.
            assert_eq!(text.matches('m').count(), 20 * length + 2, "{text}");
        }
    }
}
