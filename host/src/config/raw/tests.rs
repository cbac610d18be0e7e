use super::tree::{Data, Node, read};
use super::*;

fn node(text: &str) -> Result<Node, Problem> {
    read(text, &Arc::from("f"), &mut Vec::new())
}

fn shown(data: &Data) -> String {
    match data {
        Data::Null => "null".to_owned(),
        Data::Bool(value) => format!("bool {value}"),
        Data::Int(value) => format!("int {value}"),
        Data::Float(value) if value.is_nan() => "float nan".to_owned(),
        Data::Float(value) => format!("float {value:?}"),
        Data::Text(text) => format!("text {text}"),
        Data::Date(text) => format!("date {text}"),
        Data::Binary(text) => format!("binary {text}"),
        Data::List(_) => "a list".to_owned(),
        Data::Map(_) => "a mapping".to_owned(),
    }
}

fn tree(text: &str) -> String {
    match node(text) {
        Ok(node) => shown(&node.data),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn scalars_are_what_pyyaml_makes_of_them() {
    let table = include_str!("../../../../tests/config/scalars.txt");
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (scalar, expected) = line.split_once('\t').unwrap();
        let found = match node(&format!("k: {scalar}\n")) {
            Ok(Node { data: Data::Map(entries), .. }) => shown(&entries[0].value.data),
            Ok(_) => "no mapping".to_owned(),
            Err(_) => "error".to_owned(),
        };
        if found != expected {
            wrong.push(format!("{scalar}: {found}, but PyYAML says {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each line of the table has a text and what PyYAML's `safe_load` makes of it.
#[test]
fn structure_is_what_pyyaml_makes_of_it() {
    let table = include_str!("../../../../tests/config/documents.jsonl");
    let mut wrong = Vec::new();
    for line in table.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        let found = match node(text) {
            Ok(node) => serde_yaml::from_value(value(&node)).unwrap(),
            Err(problem) => serde_json::Value::String(problem.to_string()),
        };
        if found != case["value"] {
            wrong.push(format!("{text:?}: {found}, but PyYAML says {}", case["value"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_say_where_and_what_would_help() {
    for (text, expected) in [
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here; keep one document in a file"),
        ("a: [1\nb: 2\n", "f:2:2: "),
        (
            "a: *x\n",
            "f:1:4: this is not YAML: while parsing node, found unknown anchor; write &NAME",
        ),
        ("a: &x [*x]\n", "f:1:8: this alias stands within the value that it refers to;"),
        ("a: !foo 1\n", "f:1:4: the tag \"!foo\" means nothing here;"),
        ("? [a]\n: b\n", "f:1:3: a list or a mapping cannot be a key;"),
        ("<<: 1\n", "f:1:5: what \"<<\" merges is not a mapping;"),
        ("a: =\n", "f:1:4: \"=\" without quotes has no meaning here;"),
        ("a: \"b\n", "f:1:4: "),
        ("a:\n\tb: 1\n", "f:2:"),
        ("a: b: c\n", "f:1:5: "),
        ("é: [é, *x]\n", "f:1:8: "),
    ] {
        let found = tree(text);
        assert!(found.starts_with(expected), "{text:?}: {found}");
    }
}

#[test]
fn places_in_lines_that_were_indented() {
    let text = "a:\n  b: [\nc,\n é, {d: e}]\n  f: g\n";
    let doc = Document::read(text.as_bytes(), "f", &mut Vec::new()).unwrap();
    for (pointer, expected) in
        [("/a/b/0", "f:3:1"), ("/a/b/1", "f:4:2"), ("/a/b/2/d", "f:4:9"), ("/a/f", "f:5:6")]
    {
        assert_eq!(doc.place(pointer).to_string(), expected, "{pointer}");
    }
    assert!(tree("a: 'b\nc\n").starts_with("f:1:4: "), "{}", tree("a: 'b\nc\n"));
    assert!(tree("a:\n  b: [\nc: d\ne: f]\n").contains("this is not YAML"));
}

#[test]
fn nested_aliases_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    assert!(tree(&bomb).contains("with its aliases written out"), "{}", tree(&bomb));
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(tree(&deep).contains("nested too deep"), "{}", tree(&deep));
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(tree(&deep).contains("nested too deep"), "{}", tree(&deep));
}

#[test]
fn places_are_those_of_the_text() {
    let text = "é: &x\n  - {b: 1}\nc:\n  <<: {d: [e, f]}\n  g: *x\nh:\n";
    let doc = Document::read(text.as_bytes(), "f", &mut Vec::new()).unwrap();
    for (pointer, expected) in [
        ("/é/0/b", "f:2:9"),
        ("/c/d/1", "f:4:15"),
        // Through the alias, to where it was written.
        ("/c/g/0/b", "f:2:9"),
        // Nothing stands there: the key.
        ("/h", "f:6:1"),
        ("/c/nowhere/at/all", "f:4:3"),
    ] {
        assert_eq!(doc.place(pointer).to_string(), expected, "{pointer}");
    }
    let positions = doc.positions("/c");
    assert_eq!(positions.place("/d/0").to_string(), "f:4:12");
    assert_eq!(positions.place("/d/9").to_string(), "f:4:11");
}

#[test]
fn encodings() {
    let read = |bytes: &[u8]| match Document::read(bytes, "f", &mut Vec::new()) {
        Ok(doc) => doc.text("/a").unwrap_or("no text").to_owned(),
        Err(problem) => problem.to_string(),
    };
    assert_eq!(read("\u{feff}a: é".as_bytes()), "é");
    let wide = |order: fn(u16) -> [u8; 2]| {
        "\u{feff}a: é".encode_utf16().flat_map(order).collect::<Vec<u8>>()
    };
    assert_eq!(read(&wide(u16::to_le_bytes)), "é");
    assert_eq!(read(&wide(u16::to_be_bytes)), "é");
    assert_eq!(read(b"a: 1\nb: \xe9"), "f:2:4: this is not UTF-8 text; save the file as UTF-8");
}
