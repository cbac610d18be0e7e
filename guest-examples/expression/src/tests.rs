//! Tests of expressions. Values and errors are in tables; the values are those of Python.

use super::*;
use serde_json::json;

const CPU_UTIL: &str = "100.0 / (10**9 * (resource_metadata.cpu_number or 1))";

fn metadata() -> serde_json::Value {
    json!({
        "cpu_number": 4, "a": 3, "weight": 1.1, "name": "vm-1", "none": null, "empty": {},
        "flavor": {"vcpus": 2, "a.b": 7}, "disks": [{"size": 10}, {"size": 20}], "tags": ["x", 2],
    })
}

/// The value in Python's own notation, or the error.
fn show(text: &str) -> String {
    let metadata = metadata();
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => return format!("parse error: {error}"),
    };
    let names = |name: &str| match name {
        "resource_metadata" => Value::from(&metadata),
        "volume" => Value::Float(7.5),
        "unit" => Value::Text("ns".into()),
        _ => Value::Missing,
    };
    match expression.evaluate(&names) {
        Ok(Value::Missing) => "{}".to_owned(),
        Ok(Value::None) => "None".to_owned(),
        Ok(Value::Bool(flag)) => if flag { "True" } else { "False" }.to_owned(),
        Ok(Value::Int(number)) => number.to_string(),
        Ok(Value::Float(number)) => format!("{number:?}"),
        Ok(Value::Text(text)) => format!("'{text}'"),
        Ok(Value::Object(map)) => serde_json::to_string(map).unwrap(),
        Ok(Value::List(list)) => serde_json::to_string(list).unwrap(),
        Err(error) => format!("error: {error}"),
    }
}

fn table(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(show(text), *expected, "{text}");
    }
}

#[test]
fn numbers_are_those_of_python_3() {
    table(&[
        ("1", "1"),
        ("1_000", "1000"),
        ("1e3", "1000.0"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("0x1F + 0b11 + 0o17", "49"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("7 / 2", "3.5"),
        ("8 / 2", "4.0"),
        ("7 // 2", "3"),
        ("-7 // 2", "-4"),
        ("7 // -2", "-4"),
        ("7.0 // 2", "3.0"),
        ("-7.5 // 2", "-4.0"),
        ("7 % 3", "1"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("-7.5 % 3", "1.5"),
        ("7.5 % -3", "-1.5"),
        ("6.0 % -3", "-0.0"),
        ("1 // 0.1", "9.0"),
        ("2 ** 10", "1024"),
        ("2 ** -1", "0.5"),
        ("-2 ** 2", "-4"),
        ("2 ** 3 ** 2", "512"),
        ("2 ** -1 ** 2", "0.5"),
        ("4 ** 0.5", "2.0"),
        ("10 ** 9 * 2", "2000000000"),
        ("10 ** 40", "1e40"),
        ("- - 3", "3"),
        ("+True", "1"),
        ("True + True", "2"),
        ("10 ** 400", "error: the result of '**' is too large"),
        ("0 ** -1", "error: 0 cannot be raised to a negative power"),
        ("(-8) ** 0.5", "error: '**' has no real result for a negative base"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0.0", "error: division by zero"),
        ("1 // 0", "error: division by zero"),
    ]);
}

#[test]
fn logic_operators_return_operands() {
    table(&[
        ("0 or 5", "5"),
        ("3 and 5", "5"),
        ("0 and 1 / 0", "0"),
        ("1 or 1 / 0", "1"),
        ("'' or None", "None"),
        ("not 0", "True"),
        ("not 1 == 2", "True"),
        ("1 or 0 and 0", "1"),
        ("1 if volume > 5 else 2", "1"),
        ("1 if 0 else 2 if 0 else 3", "3"),
        ("resource_metadata.x and 1", "{}"),
        ("resource_metadata.empty or 9", "9"),
    ]);
}

#[test]
fn comparisons_chain() {
    table(&[
        ("1 < 2 < 3", "True"),
        ("1 < 3 < 2", "False"),
        ("3 > 2 >= 2 != 1", "True"),
        ("1 == 1.0 == True", "True"),
        ("'a' < 'b'", "True"),
        ("'a' == 1", "False"),
        ("None == None", "True"),
        ("'a' < 1", "error: cannot order a string and an integer"),
        ("2 in (1, 2)", "True"),
        ("2 in [1]", "False"),
        ("2 not in ()", "True"),
        ("unit in ('ns')", "True"),
        ("'s' in unit", "True"),
        ("'x' in resource_metadata.tags", "True"),
        ("2.0 in resource_metadata.tags", "True"),
        ("'flavor' in resource_metadata", "True"),
        ("'x' not in resource_metadata", "True"),
        ("resource_metadata.none is None", "True"),
        ("resource_metadata.x is None", "False"),
        ("resource_metadata.x is not None", "True"),
        ("resource_metadata.x == resource_metadata.x", "False"),
        ("1 in 2", "error: an integer cannot be in an integer"),
    ]);
}

#[test]
fn names_are_found_at_any_depth_and_missing_ones_are_false() {
    table(&[
        ("volume * 2", "15.0"),
        ("unit + '!'", "'ns!'"),
        ("unit * 2", "'nsns'"),
        ("'a' 'b'", "'ab'"),
        (r"'\x41\u00e9\n\d'", "'Aé\n\\d'"),
        (r"r'\d'", "'\\d'"),
        ("'''it's'''", "'it's'"),
        ("resource_metadata.cpu_number", "4"),
        ("resource_metadata['cpu_number']", "4"),
        ("resource_metadata[\"flavor\"].vcpus", "2"),
        ("resource_metadata.flavor['a.b']", "7"),
        ("resource_metadata.disks[1].size", "20"),
        ("resource_metadata.disks[-1]['size']", "20"),
        ("resource_metadata.name[0]", "'v'"),
        ("resource_metadata.non.existent.at['all'][3]", "{}"),
        ("resource_metadata.non.existent or 1.0", "1.0"),
        ("resource_metadata.a.b or 1", "error: an integer has no attribute 'b'"),
        ("resource_metadata.none.b", "error: None has no attribute 'b'"),
        ("resource_metadata.disks[2]", "error: index out of range"),
        ("resource_metadata.x * 2", "error: unsupported operand for '*': a missing value"),
        ("unit - 1", "error: unsupported operand for '-': a string"),
        ("-unit", "error: unsupported operand for '-': a string"),
        ("unit * 100000", "error: string result too long"),
        (CPU_UTIL, "2.5e-8"),
        (" ( 1\n + 2 ) # three", "3"),
    ]);
}

#[test]
fn parse_errors_have_columns() {
    table(&[
        ("max(1, 2)", "parse error: column 4: calls are not available in expressions: max(...)"),
        (
            "unit.upper()",
            "parse error: column 11: calls are not available in expressions: upper(...)",
        ),
        ("(1)(2)", "parse error: column 4: calls are not available in expressions"),
        ("", "parse error: column 1: unexpected end of the expression; a value is missing"),
        ("1 +", "parse error: column 4: unexpected end of the expression; a value is missing"),
        ("1 2", "parse error: column 3: unexpected number"),
        ("(1", "parse error: column 3: missing ')' at the end"),
        ("1)", "parse error: column 2: unexpected ')'"),
        ("a = 1", "parse error: column 3: unexpected '='; use '==' to compare"),
        ("a | b", "parse error: column 3: the operator '|' is not available in expressions"),
        ("a[1:2]", "parse error: column 4: slices are not available in expressions"),
        ("[1][0]", "parse error: column 1: lists are only available after 'in'"),
        ("(1, 2)", "parse error: column 3: lists are only available after 'in'"),
        ("lambda: 1", "parse error: column 1: 'lambda' is not available in expressions"),
        ("1 if 2", "parse error: column 7: missing 'else': x if condition else y"),
        ("a is 3", "parse error: column 6: 'is' compares with None, True and False; use == here"),
        ("'abc", "parse error: column 1: unterminated string"),
        ("012", "parse error: column 1: integers must not begin with 0"),
        ("1__0", "parse error: column 1: not a number"),
        ("3x", "parse error: column 1: not a number"),
        ("é + $", "parse error: column 5: unexpected '$'"),
        ("f'a'", "parse error: column 1: strings of the form f'...' are not available"),
        ("1 < not 2", "parse error: column 5: unexpected 'not'"),
    ]);
    let deep = format!("{}1{}", "(".repeat(60), ")".repeat(60));
    assert_eq!(show(&deep), "parse error: column 52: nested deeper than 50");
    let long = "1+".repeat(300);
    assert_eq!(show(&long), "parse error: column 502: longer than 500 tokens");
}

#[test]
fn the_longest_chain_is_evaluated() {
    let chain = format!("volume{}", "+a".repeat(249));
    assert_eq!(show(&chain), "error: unsupported operand for '+': a missing value");
}

#[test]
fn constants_are_computed_once() {
    let expression = Expression::parse("2 * 3 + volume * (10 ** 9 / 4)").unwrap();
    let Node::Binary(_, parts) = &expression.root else { panic!("{expression:?}") };
    assert!(matches!(parts[0], Node::Int(6)), "{expression:?}");
    let Node::Binary(_, parts) = &parts[1] else { panic!("{expression:?}") };
    assert!(matches!(parts[1], Node::Float(2.5e8)), "{expression:?}");
}

#[test]
fn expressions_report_what_they_read() {
    let paths = |text: &str| Expression::parse(text).unwrap().paths_below("resource_metadata");
    assert_eq!(paths(CPU_UTIL), ["cpu_number"]);
    assert_eq!(paths("volume"), [""; 0]);
    assert_eq!(paths("resource_metadata.a.b + resource_metadata['a']['c']"), ["a.b", "a.c"]);
    assert_eq!(paths("resource_metadata.a.b + resource_metadata.a"), ["a"]);
    assert_eq!(paths("resource_metadata.ab + resource_metadata.a"), ["a", "ab"]);
    assert_eq!(paths("resource_metadata.disks[0].size"), ["disks"]);
    assert_eq!(paths("resource_metadata.flavor['a.b']"), ["flavor"]);
    assert_eq!(paths("resource_metadata['a.b']"), ["*"]);
    assert_eq!(paths("resource_metadata[name] or resource_metadata.x"), ["*"]);
    assert_eq!(paths("1 if resource_metadata else 2"), ["*"]);
    let expression = Expression::parse("volume * volume if unit else resource_metadata.x").unwrap();
    assert_eq!(expression.names(), ["resource_metadata", "unit", "volume"]);
}

#[test]
fn results_must_be_finite_numbers() {
    let number = |text| Expression::parse(text).unwrap().number(&|_| Value::Missing);
    assert_eq!(number("3"), Ok(3.0));
    assert_eq!(number("1 == 1"), Ok(1.0));
    let reason = |text| number(text).unwrap_err().to_string();
    assert_eq!(reason("'3'"), "the result is a string, not a number");
    assert_eq!(reason("x"), "the result is a missing value, not a number");
    assert_eq!(reason("1e308 * 10"), "the result is not a finite number");
    assert_eq!(reason("1e999 - 1e999"), "the result is not a finite number");
}
