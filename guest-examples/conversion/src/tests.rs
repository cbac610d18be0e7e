//! Tests of the shared options: patterns, renaming, scales, unknown keys.

use nephometer_guest::log;
use serde_json::json;

use super::*;
use crate::pattern::{Template, compile};

fn sub(pattern: &str, to: &str, text: &str) -> String {
    let pattern = compile(pattern).unwrap();
    Template::parse(to, &pattern).unwrap().replace_all(&pattern, text)
}

/// The expected values are those of Python's `re.sub`.
#[test]
fn replacements_equal_those_of_python() {
    let rate = r"disk\.(read|write)\.(bytes|requests)";
    assert_eq!(sub(rate, r"disk.\1.\2.rate", "disk.read.bytes"), "disk.read.bytes.rate");
    assert_eq!(sub("(B|request)", r"\1/s", "request"), "request/s");
    assert_eq!(sub("a", "b", "banana"), "bbnbnb");
    assert_eq!(sub("(?P<x>a)(n)", r"\g<x>\g<2>\g<0>", "banana"), "banananana");
    assert_eq!(sub("(z)?a", r"[\1]", "a"), "[]");
    assert_eq!(sub("a", r"\\\.\n", "a"), "\\\\.\n");
    assert_eq!(sub(r"a\Z", "b", "aa"), "ab");
    assert_eq!(sub("a{,2}b", "x", "aab"), "x");
    assert_eq!(sub("a{b", "x", "a{b"), "x");
    assert_eq!(sub("[[&]", "x", "[&]"), "xx]");
    assert_eq!(sub("[]a]", "x", "]a"), "xx");
    assert_eq!(sub("[^]a]", "x", "]ab"), "]ax");
    assert_eq!(sub(r"\<\-\°", "x", "<-°"), "x");
    assert_eq!(sub("(a)", r"\g<1>0", "a"), "a0");
}

#[test]
fn unsupported_options_are_refused_with_pointers() {
    let options = json!({
        "source": {"map_from": {"name": "(?=a)", "unit": "(a)"}, "unit": 3},
        "target": {"map_to": {"name": "b", "unit": r"\2"}, "type": "x", "scale": "max(1)",
                   "max": "100"},
    });
    let errors = Conversion::read(&options).unwrap_err();
    let mut pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
    pointers.sort_unstable();
    let expected = [
        "/source/map_from/name",
        "/source/unit",
        "/target/map_to/unit",
        "/target/max",
        "/target/scale",
        "/target/type",
    ];
    assert_eq!(pointers, expected);
    let scale = errors.iter().find(|one| one.pointer == "/target/scale").unwrap();
    let reason = "not an expression: column 4: calls are not available in expressions: max(...)";
    assert_eq!(scale.reason, reason);
    for pattern in [r"(a)\1", "(?P=x)", "(?<!a)b", "("] {
        assert!(compile(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn names_and_units_are_mapped_as_in_ceilometer() {
    let meter = |name: &str, unit: &str| Meter {
        name: name.into(),
        unit: unit.into(),
        type_: MeterType::Cumulative,
    };
    let mut mapped = Conversion::read(&json!({
        "source": {"map_from": {"name": "disk", "unit": "B"}},
        "target": {"map_to": {"name": "block", "unit": "kB"}, "name": "other", "type": "gauge"},
    }))
    .unwrap();
    let gauge = |meter: Meter| Meter { type_: MeterType::Gauge, ..meter };
    assert_eq!(mapped.meter(&meter("disk.x", "B")), gauge(meter("block.x", "kB")));
    // A pattern without a match takes precedence over the target, an empty result does not.
    assert_eq!(mapped.meter(&meter("cpu", "ns")), gauge(meter("cpu", "ns")));
    let mut half = Conversion::read(&json!({
        "source": {"map_from": {"name": "disk"}}, "target": {"name": "other", "unit": ""},
    }))
    .unwrap();
    assert_eq!(half.meter(&meter("disk", "B")), meter("other", ""));
    let mut emptied = Conversion::read(&json!({
        "source": {"map_from": {"name": "(d)?.*"}},
        "target": {"map_to": {"name": r"\1"}, "name": "other"},
    }))
    .unwrap();
    assert_eq!(emptied.meter(&meter("cpu", "")).name, "other");
}

#[test]
fn false_values_in_python_are_no_scale() {
    for scale in [json!(null), json!(0), json!(0.0), json!(""), json!(false)] {
        let conversion = Conversion::read(&json!({"target": {"scale": scale, "max": 0}})).unwrap();
        assert!(matches!(conversion.scale, Scale::None), "{scale}");
        assert_eq!(conversion.max, None);
    }
    let conversion = Conversion::read(&json!({"target": {"scale": true}})).unwrap();
    assert!(matches!(conversion.scale, Scale::Factor(1.0)));
}

#[test]
fn unknown_keys_and_names_are_logged() {
    log::taken();
    let scale = "volume * wieght"; // typos: ignore
    let options = json!({"target": {"scale": scale}, "sauce": {}, "source": {"uint": 1}});
    Conversion::read(&options).unwrap();
    let lines: Vec<_> = log::taken().into_iter().map(|(_, line)| line).collect();
    assert_eq!(
        lines,
        [
            "unknown option /sauce is ignored",
            "unknown option /source/uint is ignored",
            "scale refers to 'wieght', which no sample has", // typos: ignore
        ]
    );
}

#[test]
fn times_are_formatted_as_in_ceilometer() {
    assert_eq!(time::iso(0), "1970-01-01T00:00:00");
    assert_eq!(time::iso(951_782_399_000_000_000), "2000-02-28T23:59:59");
    assert_eq!(time::iso(951_782_400_000_001_999), "2000-02-29T00:00:00.000001");
    assert_eq!(time::iso(1_735_689_599_500_000_000), "2024-12-31T23:59:59.500000");
}
