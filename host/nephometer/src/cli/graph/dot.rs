//! The pipeline in the language of Graphviz.

use super::model::{PipelineGraph, first_meters};

/// The number of meters in a node at most.
const METERS: usize = 5;

const HEAD: &str = r#"digraph pipeline {
    rankdir=LR;
    bgcolor=transparent;
    node [shape=box, style="rounded,filled", fillcolor=white, fontname="monospace", fontsize=11];
    edge [color=gray50, arrowsize=0.7];
"#;

/// A graph from left to right. A sink with transformers is a cluster of them.
pub(super) fn digraph(graph: &PipelineGraph) -> String {
    let mut lines = Vec::new();
    for (at, source) in graph.sources.iter().enumerate() {
        let mut label = vec![source.name.clone(), source.interval.clone()];
        label.extend(first_meters(&source.meters, METERS));
        lines.push(format!("source{at} [label={}, fillcolor=lightblue];", quoted(&label)));
    }
    for (at, sink) in graph.sinks.iter().enumerate() {
        let name = std::slice::from_ref(&sink.name);
        if sink.transformers.is_empty() {
            lines.push(format!("sink{at} [label={}];", quoted(name)));
            continue;
        }
        lines.push(format!("subgraph cluster{at} {{"));
        lines.push(format!(
            "    label={}; style=rounded; color=gray50; fontname=\"monospace\"; fontsize=11;",
            quoted(name)
        ));
        for (nth, transformer) in sink.transformers.iter().enumerate() {
            let label = quoted(std::slice::from_ref(transformer));
            lines.push(format!("    sink{at}_{nth} [label={label}, fillcolor=lightyellow];"));
        }
        lines.push("}".to_owned());
    }
    for (at, label) in graph.publishers.iter().enumerate() {
        let label = quoted(std::slice::from_ref(label));
        lines.push(format!("publisher{at} [label={label}, fillcolor=palegreen];"));
    }
    let edges = graph.edges().into_iter().map(|(from, to)| format!("{from} -> {to};"));
    lines.extend(edges);
    let body: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("{HEAD}{body}}}\n")
}

/// Lines as a quoted string, each aligned to the left.
fn quoted(lines: &[String]) -> String {
    let escaped = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
    match lines {
        [one] => format!("\"{}\"", escaped(one)),
        _ => format!("\"{}\"", lines.iter().map(|line| escaped(line) + "\\l").collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::marked;
    use super::*;

    #[test]
    fn names_cannot_end_a_quoted_string() {
        let escaped = quoted(&["a\"b\\c".to_owned(), "\\".to_owned()]);
        assert_eq!(escaped, r#""a\"b\\c\l\\\l""#);
        let text = digraph(&marked(r#""]; x -> y; \"#));
        // What is left outside of quoted strings.
        let (mut outside, mut inside, mut escaped) = (String::new(), false, false);
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => inside = !inside,
                c if !inside => outside.push(c),
                _ => {}
            }
        }
        assert!(!inside && !outside.contains("x -> y"), "{text}");
    }

    #[test]
    fn transformers_are_between_their_source_and_publisher() {
        let text = digraph(&marked(""));
        let edges: Vec<&str> =
            text.lines().map(str::trim).filter(|line| line.contains("->")).collect();
        let expected = ["source0 -> sink0_0;", "sink0_0 -> sink0_1;", "sink0_1 -> publisher0;"];
        assert_eq!(edges, expected, "{text}");
    }
}
