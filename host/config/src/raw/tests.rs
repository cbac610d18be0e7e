use super::node::{Data, Node};
use super::tree::read;
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
fn scalars_match_pyyaml() {
    let table = include_str!("../../../../tests/config/scalars.txt");
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (scalar, expected) = line.split_once('\t').unwrap();
        let found = match node(&format!("k: {scalar}\n")) {
            Ok(Node { data: Data::Map(entries), .. }) => {
                shown(&entries.iter().next().unwrap().value.data)
            }
            Ok(_) => "no mapping".to_owned(),
            Err(_) => "error".to_owned(),
        };
        if found != expected {
            wrong.push(format!("{scalar}: {found}, but PyYAML says {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each line of the table has a text and its result with PyYAML's `safe_load`.
#[test]
fn structure_matches_pyyaml() {
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
fn problems_have_a_location_and_a_remedy() {
    for (text, expected) in [
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here; keep one document in a file"),
        ("a: [1\nb: 2\n", "f:2:2: "),
        ("a: *x\n", "f:1:4: invalid YAML: while parsing node, found unknown anchor; write &NAME"),
        ("a: &x [*x]\n", "f:1:8: this alias refers to a value that contains it;"),
        ("a: !foo 1\n", "f:1:4: unsupported tag \"!foo\";"),
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
        assert_eq!(doc.location(pointer).to_string(), expected, "{pointer}");
    }
    assert!(tree("a: 'b\nc\n").starts_with("f:1:4: "), "{}", tree("a: 'b\nc\n"));
    assert!(tree("a:\n  b: [\nc: d\ne: f]\n").contains("invalid YAML"));
}

#[test]
fn nested_aliases_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    assert!(tree(&bomb).contains("(yaml_values)"), "{}", tree(&bomb));
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(tree(&deep).contains("(yaml_depth)"), "{}", tree(&deep));
}

/// Tests each bound with exactly as much as it allows, and with one more.
#[test]
fn values_above_the_limit_are_refused() {
    let refused = |text: &str, bound: Bound| {
        let found = tree(text);
        assert!(found.contains(&format!("({})", bound.row().name)), "{found}");
        assert!(found.len() < 500, "{found}");
    };
    // The list counts, too.
    let values = |count: usize| format!("[{}]", "1,".repeat(count - 1));
    let most = Bound::YamlValues.size();
    assert_eq!(tree(&values(most)), "a list");
    refused(&values(most + 1), Bound::YamlValues);
    // An anchor alone counts nothing, an alias as much as its value: here the mapping, two keys,
    // and the list twice.
    let aliases = |count: usize| format!("a: &x [{}]\nb: *x\n", "1,".repeat(count - 1));
    assert_eq!(tree(&aliases((most - 3) / 2)), "a mapping");
    refused(&aliases((most - 3) / 2 + 1), Bound::YamlValues);

    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let most = Bound::YamlDepth.size();
    assert_eq!(tree(&nested(most)), "a list");
    refused(&nested(most + 1), Bound::YamlDepth);
    // Regression test: the depth of the value of an alias was not counted.
    let through = |more: usize| {
        format!("a: &x {}\nb: {}*x{}\n", nested(most / 2), "[".repeat(more), "]".repeat(more))
    };
    assert_eq!(tree(&through(most / 2 - 1)), "a mapping");
    refused(&through(most / 2), Bound::YamlDepth);
}

/// Regression test: 1 MB with 50,000 aliases of one text took 22 GB of memory.
#[test]
fn aliases_count_the_bytes_that_they_stand_for() {
    let file = |length: usize, aliases: usize| {
        format!("- &x {}\n{}", "x".repeat(length), "- *x\n".repeat(aliases))
    };
    let most = Bound::YamlBytes.size();
    assert_eq!(most % 256, 0);
    assert_eq!(tree(&file(most / 256, 255)), "a list");
    assert!(tree(&file(most / 256 + 1, 255)).contains("(yaml_bytes)"));
    assert!(tree(&file(450_000, 50_000)).contains("(yaml_bytes)"));

    let read = |length: usize| {
        let text = format!("{}1", " ".repeat(length - 1));
        Document::read(text.as_bytes(), "f", &mut Vec::new()).err().map(|error| error.to_string())
    };
    assert_eq!(read(most), None);
    assert_eq!(
        read(most + 1).unwrap(),
        "f: a YAML file with its aliases expanded: 4194305 bytes, at most 4194304 bytes \
         (yaml_bytes); split the file, or use fewer aliases"
    );
}

/// Regression test: each line to be indented requires parsing the whole text once more, so a file
/// of such lines took time and memory quadratic in their number.
#[test]
fn lines_that_stand_too_far_left_are_bounded() {
    let file = |lines: usize, filler: usize| {
        format!("{}a:\n  b: [\n{}  ]\n", "# filler\n".repeat(filler), "c,\n".repeat(lines))
    };
    assert_eq!(tree(&file(200, 0)), "a mapping");
    // The longest text that may be parsed again eight times, but not nine times.
    let filler = (Bound::YamlReads.size() / 8 - 1_000) / "# filler\n".len();
    assert_eq!(tree(&file(8, filler)), "a mapping");
    assert!(tree(&file(9, filler)).contains("(yaml_reads)"));
    assert!(tree(&file(50_000, 0)).contains("(yaml_reads)"));
}

/// Regression test: 150,000 keys took more than a minute.
#[test]
fn many_keys_are_found_by_their_hash() {
    let keys = Bound::YamlValues.size() / 2 - 1;
    let text: String = (0..keys).map(|key| format!("k{key}: {key}\n")).collect();
    let mut warnings = Vec::new();
    let mut doc = Document::read(text.as_bytes(), "f", &mut warnings).unwrap();
    assert_eq!(doc.keys("").count(), keys);
    assert!(
        doc.keys("").all(|(key, location)| doc.location(&format!("/{key}")).line == location.line)
    );
    assert!(doc.set(&["k5"], &["five".to_owned()], "env"));
    doc.forget(&["k6"], |location| location.line == 7);
    assert_eq!(doc.text("/k5"), Some("five"));
    assert_eq!((doc.fact("/k6").is_none(), doc.location("/k7").line), (true, 8));
    assert_eq!(doc.keys("").count(), keys - 1);
    assert!(warnings.is_empty());
}

/// Regression test: a table had the whole pointer of every value, which multiplied one long key by
/// the number of values below it.
#[test]
fn a_long_key_above_many_values() {
    let text = format!("{}: [{}]\n", "k".repeat(1 << 20), "1,".repeat(40_000));
    let text = format!("? {}", text.replacen(": ", "\n: ", 1));
    let doc = Document::read(text.as_bytes(), "f", &mut Vec::new()).unwrap();
    let (key, _) = doc.keys("").next().unwrap();
    assert_eq!(doc.location(&format!("/{key}/39999")).line, 2);
}

#[test]
fn places_are_those_of_the_text() {
    let text = "é: &x\n  - {b: 1}\nc:\n  <<: {d: [e, f]}\n  g: *x\nh:\n";
    let doc = Document::read(text.as_bytes(), "f", &mut Vec::new()).unwrap();
    for (pointer, expected) in [
        ("/é/0/b", "f:2:9"),
        ("/c/d/1", "f:4:15"),
        // Through the alias, to the original location.
        ("/c/g/0/b", "f:2:9"),
        // An empty value has the location of its key.
        ("/h", "f:6:1"),
        ("/c/nowhere/at/all", "f:4:3"),
    ] {
        assert_eq!(doc.location(pointer).to_string(), expected, "{pointer}");
    }
    let locations = doc.locations("/c");
    assert_eq!(locations.location("/d/0").to_string(), "f:4:12");
    assert_eq!(locations.location("/d/9").to_string(), "f:4:11");
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
