//! Malicious debug information and names in a component, which attack their reader. The agent reads
//! neither of them; a confined child resolves source lines.

use super::parts::transformer;
use super::{assert_ended_by_run, case};

/// A component that traps, with debug information that nests inlined functions `levels` deep.
///
/// Regression: a recursive parser crashed the agent with SIGSEGV at 6,000 levels (65 KB), at every
/// restart and despite all limits and rollback.
pub(super) fn nested_debug_information(levels: usize) -> Vec<u8> {
    // Abbreviations: 1 is a unit, 2 a function with its name, 3 an inlined function; each has an
    // address range.
    let abbreviations = [
        &[1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0][..],
        &[2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[3, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, 0],
    ]
    .concat();
    let range = [0_u32.to_le_bytes(), 0x7fff_ffff_u32.to_le_bytes()].concat();
    let mut entries = [&[1], &range[..], &[2], b"fn\0", &range].concat();
    for _ in 0..levels {
        entries.push(3);
        entries.extend(&range);
    }
    entries.extend(vec![0; levels + 2]);
    // DWARF version 4, abbreviations at offset 0, addresses of 4 bytes.
    let unit = [&4_u16.to_le_bytes()[..], &0_u32.to_le_bytes(), &[4], &entries].concat();
    let length = u32::try_from(unit.len()).unwrap().to_le_bytes();
    let info = [&length[..], &unit].concat();
    trapping(
        "$t",
        &format!(
            "(@custom \".debug_abbrev\" \"{}\")(@custom \".debug_info\" \"{}\")",
            escaped(&abbreviations),
            escaped(&info)
        ),
    )
}

/// A component that traps in a function with this name.
fn trapping(name: &str, more: &str) -> Vec<u8> {
    transformer(&[
        ("MORE", &format!("(func {name} (result i32) (unreachable)){more}")),
        ("TRANSFORM", &format!("(drop (call {name}))")),
    ])
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A mangled C++ name whose parts refer to each other, so that each step doubles the demangled
/// text. Regression: 14 steps with a word of 50,000 letters took 6.4 GB and 28 s for each batch.
fn doubling_name(steps: usize, letters: usize) -> String {
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').collect();
    let mut name = format!("_Z1f{letters}{}1BIS_S_E", "A".repeat(letters));
    for step in 0..steps {
        let part = digits[step + 1];
        name += &format!("S0_IS{part}_S{part}_E");
    }
    name
}

#[test]
fn hostile_function_names_and_debug_information_are_bounded() {
    let trap = "wasm `unreachable` instruction executed";
    assert_ended_by_run(
        "traps",
        &[
            case("nested-debug-information", nested_debug_information(10_000), trap),
            case(
                "doubling-name",
                trapping(&format!("$\"{}\"", doubling_name(14, 50_000)), ""),
                trap,
            ),
            case("long-name", trapping(&format!("$\"{}\"", "n".repeat(1 << 20)), ""), "[cut]"),
            case(
                "name-for-terminals",
                trapping("$\"\\1b[2J\\n{\\22level\\22:\\22ERROR\\22}\"", ""),
                r"\u{1b}[2J\n",
            ),
        ],
    );
}
