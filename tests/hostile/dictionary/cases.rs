//! Components with invalid numbers, entries and rows, and unusual ones that are valid.

use super::builders::{
    EMPTY, EntryKind, LISTS, Lists, NO_ORIGIN, answering, deriving, forgotten, growing, meters,
    numbered, remembering, resources,
};
use crate::hostile::parts::{Answer, Derived, OWN, TEXT, meter, transformer};
use crate::hostile::{Case, case};

/// Components with invalid numbers or entries.
pub(super) fn invalid_numbers() -> Vec<Case> {
    let gap = "leaves a gap (the next number is 0x80000000)";
    let nameless = answering(|lists| {
        let entries = lists.of(&[meter(OWN, (TEXT.0, 0))]);
        Answer { meters: entries, ..Answer::default() }.transformed()
    });
    vec![
        case("unknown-meter", numbered(12_345, 0), "column meter: number 0x3039 is unknown"),
        case("unknown-resource", numbered(0, 12_345), "column resource: number 0x3039 is unknown"),
        case("own-never-sent", numbered(OWN, 0), "number 0x80000000 is unknown"),
        case("largest-number", numbered(0, u32::MAX), "number 0xffffffff is unknown"),
        case("forgotten-number", forgotten(), "column resource: number "),
        case("gap-at-first", meters(&[OWN + 1]), gap),
        case("gap-behind", meters(&[OWN, OWN + 2]), "leaves a gap (the next number is 0x80000001)"),
        case("gap-of-resources", resources(&[OWN + 1]), gap),
        case("gap-up-to-the-end", resources(&[u32::MAX]), gap),
        case("number-of-the-host", meters(&[0]), "number 0x0 is below 0x80000000"),
        case("own-without-name", nameless, "new meter 0x80000000 has no name"),
        case("many-new-meters", growing(EntryKind::Meters, 1_001, EMPTY), "(new_meters)"),
        case("many-new-resources", growing(EntryKind::Resources, 50_001, EMPTY), "(new_resources)")
            .with_memory(4),
    ]
}

/// Components that send more and more entries, with the bound that ends each.
pub(super) fn endless_entries() -> Vec<Case> {
    let large = growing(EntryKind::Resources, 60, ("{\"a\":\"", *b"xxxx", 50_000, "\"}"));
    let many_values = growing(EntryKind::Resources, 2, ("{\"a\":[", *b"0,0,", 47_000, "0]}"));
    vec![
        case(
            "own-meters",
            growing(EntryKind::Meters, 1_000, EMPTY),
            "10001, at most 10000 (own_meters)",
        ),
        case(
            "own-resources",
            growing(EntryKind::Resources, 25_000, EMPTY),
            "50001, at most 50000 (own_resources)",
        )
        .with_memory(4),
        case(
            "own-bytes",
            large,
            "replace entries that are no longer used (0 meters, 360 resources",
        ),
        case("own-values", many_values, "(own_metadata_values)"),
    ]
}

/// Components with invalid `derive` rows or exact values.
pub(super) fn invalid_rows() -> Vec<Case> {
    let derived = |origin: &[u32]| answering(|lists| lists.derived(origin, 0).transformed());
    let unequal = answering(|lists| {
        let volume = (LISTS, 2);
        Derived { volume, ..lists.derived(&[0], 0) }.transformed()
    });
    let exact = |values: &[(u32, i64)]| {
        answering(|lists| {
            let exact = lists.exact(values);
            Answer { exact, ..lists.rows(&[0, 0], &[0, 0]) }.transformed()
        })
    };
    let exact_derived = answering(|lists| {
        let exact = lists.exact(&[(1, 1)]);
        Derived { exact, ..lists.derived(&[0], 0) }.transformed()
    });
    let no_such_row = "row does not exist, or rows are not ascending";
    vec![
        case("derive-descending", derived(&[1, 0]), "column origin: 0 after 1: not ascending"),
        case("derive-out-of-range", derived(&[0, 1_000]), "row 1000 is out of range"),
        case("derive-of-nothing", derived(&[NO_ORIGIN]), "row 4294967295 is out of range"),
        case(
            "derive-unknown",
            answering(|lists| lists.derived(&[0], OWN).transformed()),
            "unknown",
        ),
        case("derive-unequal", unequal, "column volume has 2 rows, column origin has 1"),
        case("derive-many", deriving(300_000, 1_024), "(answer_rows)").with_memory(6),
        case("derive-much", deriving(240_000, 1_024), "(answer_bytes)").with_memory(6),
        case("exact-nowhere", exact(&[(2, 1)]), no_such_row),
        case("exact-descending", exact(&[(1, 1), (0, 1)]), no_such_row),
        case("exact-twice", exact(&[(0, 1), (0, 1)]), no_such_row),
        case(
            "exact-other-value",
            exact(&[(0, i64::MIN)]),
            "does not match the volume 1 of the row",
        ),
        case("exact-derived", exact_derived, no_such_row),
    ]
}

/// Valid components that use the dictionary in unusual ways.
pub(super) fn valid() -> Vec<Case> {
    let reuses = remembering(
        "(if (i32.and (i32.ne (local.get $forgotten-resource-count) (i32.const 0)) \
         (i32.ne (local.get $resource-count) (i32.const 0))) \
         (then (global.set $number (i32.load (local.get $resources)))))",
    );
    // The second resource, until it is forgotten.
    let until_forgotten = remembering(
        "(if (local.get $forgotten-resource-count) (then (global.set $number (i32.const -2)))) \
         (if (i32.eq (global.get $number) (i32.const -1)) \
         (then (global.set $number (i32.load offset=52 (local.get $resources)))))",
    );
    let derives = answering(|lists| {
        let meters = lists.of(&[meter(OWN, TEXT)]);
        Derived { meters, ..lists.derived(&[0, 0], OWN) }.transformed()
    });
    let largest = answering(|lists| {
        let exact = lists.exact(&[(0, i64::MAX), (1, i64::MIN)]);
        // The nearest `f64` values.
        let volume = lists.of(&[[0, 0x43e0_0000], [0, 0xc3e0_0000]]);
        Answer { exact, volume, ..lists.rows(&[0, 0], &[0, 0]) }.transformed()
    });
    let lines = "(local i32) (loop $more (call $log (i32.const 3) (i32.const 2048) (i32.const 7)) \
                 (br_if $more (i32.lt_u (local.tee 8 (i32.add (local.get 8) (i32.const 1))) \
                 (i32.const 20000))))";
    vec![
        case("reuses", reuses, ""),
        case("until-forgotten", until_forgotten, ""),
        case("replaces-own", replaces_own(), ""),
        case("own-of-flush", own_of_flush(), ""),
        case("derives", derives, ""),
        case("largest", largest, ""),
        case("logs-in-learn", transformer(&[("LEARN", lines)]), ""),
    ]
}

/// A component that sends its only meter twice with each answer, with another name each time.
pub(super) fn replaces_own() -> Vec<u8> {
    let mut lists = Lists::new();
    let [never, even, odd] =
        ["never-used", "even-batch", "odd-batch."].map(|name| lists.text(name));
    let meters = lists.of(&[meter(OWN, never), meter(OWN, never)]);
    let answer = Answer { meters, ..lists.rows(&[OWN], &[0]) };
    let rename = format!(
        "(i32.store (i32.const {}) (select (i32.const {}) (i32.const {}) \
         (i32.and (global.get $count) (i32.const 1))))",
        meters.0 + 24 + 4,
        odd.0,
        even.0
    );
    transformer(&[
        ("MORE", &lists.data),
        ("TRANSFORM", &format!("{rename} {}", answer.transformed())),
    ])
}

/// A component that sends its only meter at the end of the first cycle, and uses it from then on.
pub(super) fn own_of_flush() -> Vec<u8> {
    let mut lists = Lists::new();
    let meters = lists.of(&[meter(OWN, TEXT)]);
    let rows = lists.rows(&[OWN], &[0]);
    let sends = Answer { meters, ..rows };
    let sent = "(global.get $sent)";
    transformer(&[
        ("MORE", &format!("(global $sent (mut i32) (i32.const 0)) {}", lists.data)),
        ("TRANSFORM", &format!("(if {sent} (then {}))", rows.transformed())),
        (
            "FLUSH",
            &format!(
                "(if {sent} (then {}) (else (global.set $sent (i32.const 1)) {}))",
                rows.flushed(),
                sends.flushed()
            ),
        ),
    ])
}
