//! `nephometer graph`: the default pipeline in each format.

use std::process::{Command, Stdio};

use crate::harness::{Agent, root};

const NAMES: [&str; 6] =
    ["network_source", "cpu_delta_sink", "meter_sink", "rate_of_change", "delta", "notifier://"];

fn drawn(agent: &Agent, format: &str) -> String {
    let text = agent.execute(&["graph", "--format", format]).code(0).stdout;
    for name in NAMES {
        assert!(text.contains(name), "{name} in {format}:\n{text}");
    }
    text
}

fn default_pipeline(name: &str) -> Agent {
    let pipeline = std::fs::read_to_string(root().join("config/pipeline.yaml")).unwrap();
    Agent::new(name).pipeline(&pipeline)
}

#[test]
fn the_default_pipeline_is_drawn_in_every_format() {
    let agent = default_pipeline("graph-formats");
    let text = drawn(&agent, "text");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(agent.execute(&["graph"]).code(0).stdout, text, "the default");

    let dot = drawn(&agent, "dot");
    assert!(dot.contains("source1 -> sink2_0;"), "{dot}");
    let file = agent.folder.write("graph.dot", &dot);
    let graphviz = Command::new("dot").arg("-Tsvg").arg(file).stdout(Stdio::null()).status();
    assert!(graphviz.unwrap().success(), "{dot}");

    let mermaid = drawn(&agent, "mermaid");
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("source1 --> sink2_0\n"));

    let svg = drawn(&agent, "svg");
    let document = roxmltree::Document::parse(&svg).unwrap();
    let of_class = |class: &str| {
        document.descendants().filter(|node| node.attribute("class") == Some(class)).count()
    };
    // Four sources lead to five sinks, and each sink to one publisher.
    assert_eq!(["card", "edge"].map(of_class), [4 + 5 + 1, 5 + 5], "{svg}");
    let first = document.root_element().first_element_child().unwrap();
    assert!(first.has_tag_name("title"));
    assert_eq!(first.text(), Some("Pipeline: 4 sources, 5 sinks, 1 publisher"));
}

#[test]
fn no_format_shows_the_password_of_a_publisher() {
    let agent = Agent::new("graph-secrets")
        .everything_to(&["notifier://user:hidden-word@127.0.0.1:5672/%2f", "test://"]);
    for format in ["text", "dot", "mermaid", "svg"] {
        let ended = agent.execute(&["graph", "--format", format]).code(0);
        assert!(ended.stdout.contains("test://"), "{}", ended.stdout);
        assert!(!ended.stdout.contains("hidden-word"), "{}", ended.stdout);
    }
}
