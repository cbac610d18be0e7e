//! The pipeline in the language of Mermaid.

use std::fmt::Write as _;

use super::model::{PipelineGraph, first_meters};

/// The number of meters in a node at most.
const METERS: usize = 5;

/// A flowchart from left to right. A sink with transformers is a subgraph of them.
pub(super) fn flowchart(graph: &PipelineGraph) -> String {
    let mut lines = Vec::new();
    for (at, source) in graph.sources.iter().enumerate() {
        let mut label = vec![source.name.clone(), source.interval.clone()];
        label.extend(first_meters(&source.meters, METERS));
        let label: Vec<String> = label.iter().map(|line| escaped(line)).collect();
        lines.push(format!("source{at}([\"{}\"])", label.join("<br>")));
    }
    for (at, sink) in graph.sinks.iter().enumerate() {
        let name = escaped(&sink.name);
        if sink.transformers.is_empty() {
            lines.push(format!("sink{at}[\"{name}\"]"));
            continue;
        }
        lines.push(format!("subgraph chain{at} [\"{name}\"]"));
        lines.push("    direction LR".to_owned());
        for (nth, transformer) in sink.transformers.iter().enumerate() {
            lines.push(format!("    sink{at}_{nth}[\"{}\"]", escaped(transformer)));
        }
        lines.push("end".to_owned());
    }
    for (at, label) in graph.publishers.iter().enumerate() {
        lines.push(format!("publisher{at}[/\"{}\"/]", escaped(label)));
    }
    lines.extend(graph.edges().into_iter().map(|(from, to)| format!("{from} --> {to}")));
    let body: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("flowchart LR\n{body}")
}

/// A text for use in quotes. Mermaid has no escapes but codes of characters; it reads some texts as
/// Markdown, so all punctuation that could begin any is written as a code.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !"_-.,:/()=+@".contains(c) {
            // Writing to a string cannot fail.
            let _ = write!(line, "#{};", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::marked;
    use super::*;

    #[test]
    fn names_cannot_end_a_quoted_string() {
        assert_eq!(escaped("disk.*"), "disk.#42;");
        assert_eq!(escaped("a\"]<b>&#`\\"), "a#34;#93;#60;b#62;#38;#35;#96;#92;");
        assert_eq!(escaped("udp://[::1]:4952/ä"), "udp://#91;::1#93;:4952/ä");
        let plain = flowchart(&marked(""));
        let hostile = flowchart(&marked("\"] --> x[\"<script>"));
        assert_eq!(hostile.matches('"').count(), plain.matches('"').count(), "{hostile}");
        assert_eq!(hostile.matches("-->").count(), 3, "{hostile}");
        assert!(!hostile.contains("<script"), "{hostile}");
    }
}
