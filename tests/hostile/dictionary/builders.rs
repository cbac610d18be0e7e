//! Builds components that answer with given dictionary numbers, entries and rows.

use crate::hostile::parts::{
    Answer, Derived, List, OWN, TEXT, TRANSFORMED, data, meter, pages, repeats, resource, stores,
    transformer,
};

pub(super) const NO_ORIGIN: u32 = u32::MAX;

/// Time and volume of every row: in 2022, and 1.0.
pub(super) const TIME: [u32; 2] = [0x1717_1717; 2];
pub(super) const ONE: [u32; 2] = [0, 0x3ff0_0000];

/// Address of lists and texts of answers, below what the host writes.
pub(super) const LISTS: u32 = 8_192;
/// Address of a large text.
pub(super) const METADATA: u32 = 131_072;
/// Address of a long list.
pub(super) const LONG_LIST: u32 = 7 * 65_536;

/// The data of an answer, one list after another.
pub(super) struct Lists {
    pub(super) next: u32,
    pub(super) data: String,
}

impl Lists {
    pub(super) fn new() -> Self {
        Self { next: LISTS, data: String::new() }
    }

    /// A list of records with these words.
    pub(super) fn of<const N: usize>(&mut self, records: &[[u32; N]]) -> List {
        let address = self.next;
        let count = u32::try_from(records.len()).unwrap();
        self.data += &data(address, records.as_flattened());
        self.next = (address + 4 * u32::try_from(N).unwrap() * count).next_multiple_of(8);
        (address, count)
    }

    pub(super) fn numbers(&mut self, numbers: &[u32]) -> List {
        self.of(&numbers.iter().map(|number| [*number]).collect::<Vec<_>>())
    }

    pub(super) fn text(&mut self, text: &str) -> List {
        let address = self.next;
        let length = u32::try_from(text.len()).unwrap();
        self.data += &format!("(data (i32.const {address}) \"{text}\")");
        self.next = (address + length).next_multiple_of(8);
        (address, length)
    }

    /// Exact values of rows.
    pub(super) fn exact(&mut self, values: &[(u32, i64)]) -> List {
        let record = |(row, value): &(u32, i64)| {
            let low = u32::try_from(value.cast_unsigned() & u64::from(u32::MAX)).unwrap();
            let high = u32::try_from(value.cast_unsigned() >> 32).unwrap();
            [*row, 0, low, high]
        };
        self.of(&values.iter().map(record).collect::<Vec<_>>())
    }

    /// Rows without an origin.
    pub(super) fn rows(&mut self, meter: &[u32], resource: &[u32]) -> Answer {
        let rows = meter.len();
        Answer {
            origin: self.numbers(&vec![NO_ORIGIN; rows]),
            meter: self.numbers(meter),
            resource: self.numbers(resource),
            time: self.of(&vec![TIME; rows]),
            volume: self.of(&vec![ONE; rows]),
            ..Answer::default()
        }
    }

    /// Rows of these origins.
    pub(super) fn derived(&mut self, origin: &[u32], meter: u32) -> Derived {
        Derived {
            origin: self.numbers(origin),
            meter: self.numbers(&vec![meter; origin.len()]),
            volume: self.of(&vec![ONE; origin.len()]),
            ..Derived::default()
        }
    }
}

/// A component that answers each batch with the code that `answer` generates.
pub(super) fn answering(answer: impl FnOnce(&mut Lists) -> String) -> Vec<u8> {
    let mut lists = Lists::new();
    let code = answer(&mut lists);
    transformer(&[("MORE", &lists.data), ("TRANSFORM", &code)])
}

/// A component that answers with one row with these numbers.
pub(super) fn numbered(meter: u32, resource: u32) -> Vec<u8> {
    answering(|lists| lists.rows(&[meter], &[resource]).transformed())
}

/// A component that sends meters with these numbers.
pub(super) fn meters(numbers: &[u32]) -> Vec<u8> {
    answering(|lists| {
        let entries: Vec<_> = numbers.iter().map(|number| meter(*number, TEXT)).collect();
        Answer { meters: lists.of(&entries), ..Answer::default() }.transformed()
    })
}

/// A component that sends resources with these numbers.
pub(super) fn resources(numbers: &[u32]) -> Vec<u8> {
    answering(|lists| {
        let metadata = lists.text("{}");
        let entries: Vec<_> =
            numbers.iter().map(|number| resource(*number, TEXT, metadata)).collect();
        Answer { resources: lists.of(&entries), ..Answer::default() }.transformed()
    })
}

/// Answers with one row of the resource `$number`, or with no rows if it is negative.
pub(super) fn row_of_number(answer: Answer) -> String {
    format!(
        "(if (i32.ge_s (global.get $number) (i32.const 0)) (then \
         (i32.store (i32.const {}) (global.get $number)) {}) (else {}))",
        answer.resource.0,
        answer.transformed(),
        stores(&[(TRANSFORMED + 4, 0)])
    )
}

/// A component that answers with one row of the resource `$number`, which this code of `learn` sets.
pub(super) fn remembering(learn: &str) -> Vec<u8> {
    let mut lists = Lists::new();
    let code = row_of_number(lists.rows(&[0], &[0]));
    transformer(&[
        ("MORE", &format!("(global $number (mut i32) (i32.const -1)) {}", lists.data)),
        ("LEARN", learn),
        ("TRANSFORM", &code),
    ])
}

/// A component that answers with a forgotten number that was not reused.
pub(super) fn forgotten() -> Vec<u8> {
    remembering(
        "(if (i32.gt_u (local.get $forgotten-resource-count) (local.get $resource-count)) (then \
         (global.set $number (select \
         (i32.load offset=4 (local.get $forgotten-resources)) \
         (i32.load (local.get $forgotten-resources)) \
         (i32.eq (i32.load (local.get $resources)) \
         (i32.load (local.get $forgotten-resources)))))))",
    )
}

#[derive(Debug, Clone, Copy)]
pub(super) enum EntryKind {
    Meters,
    Resources,
}

/// A component that sends `count` more entries with each answer. `metadata` is a prefix, four bytes,
/// how often they are repeated, and a suffix.
pub(super) fn growing(
    kind: EntryKind,
    count: u32,
    metadata: (&str, [u8; 4], u32, &str),
) -> Vec<u8> {
    let (before, filling, times, after) = metadata;
    let [before_length, after_length] =
        [before, after].map(|text| u32::try_from(text.len()).unwrap());
    let filled = METADATA + before_length;
    let end = filled + 4 * times;
    let length = end + after_length - METADATA;
    let list = (LONG_LIST, count);
    let (entry, answer) = match kind {
        EntryKind::Meters => {
            (meter(0, TEXT).to_vec(), Answer { meters: list, ..Answer::default() })
        }
        EntryKind::Resources => (
            resource(0, TEXT, (METADATA, length)).to_vec(),
            Answer { resources: list, ..Answer::default() },
        ),
    };
    let size = 4 * u32::try_from(entry.len()).unwrap();
    let quoted = |text: &str| text.replace('"', "\\22");
    let more = [
        format!("(data (i32.const {METADATA}) \"{}\")", quoted(before)),
        format!("(data (i32.const {end}) \"{}\")", quoted(after)),
        repeats("write-text", filled, &[u32::from_le_bytes(filling)], times),
        repeats("write-list", LONG_LIST, &entry, count),
        format!(
            "(global $next (mut i32) (i32.const {})) (func $number-entries (local i32) \
             (local.set 0 (i32.const {LONG_LIST})) (loop $each \
             (i32.store (local.get 0) (global.get $next)) \
             (global.set $next (i32.add (global.get $next) (i32.const 1))) \
             (local.set 0 (i32.add (local.get 0) (i32.const {size}))) \
             (br_if $each (i32.lt_u (local.get 0) (i32.const {})))))",
            OWN.cast_signed(),
            LONG_LIST + size * count
        ),
    ];
    transformer(&[
        ("MEMORY", &pages(LONG_LIST + size * count)),
        ("MORE", &more.concat()),
        ("INITIALIZE", "(call $write-text) (call $write-list)"),
        ("TRANSFORM", &format!("(call $number-entries) {}", answer.transformed())),
        ("FLUSH", &format!("(call $number-entries) {}", answer.flushed())),
    ])
}

/// An empty object.
pub(super) const EMPTY: (&str, [u8; 4], u32, &str) = ("{", *b"    ", 1, "}");

/// A component that derives `rows` rows from the first one, with a meter name of `name` bytes.
pub(super) fn deriving(rows: u32, name: u32) -> Vec<u8> {
    let [origins, numbers, volumes, end] = [0, 4, 8, 16].map(|column| LONG_LIST + column * rows);
    let mut lists = Lists::new();
    let derived = Derived {
        meters: lists.of(&[meter(OWN, (METADATA, name))]),
        origin: (origins, rows),
        meter: (numbers, rows),
        volume: (volumes, rows),
        exact: (0, 0),
    };
    let more = [
        lists.data,
        repeats("write-text", METADATA, &[u32::from_le_bytes(*b"xxxx")], name / 4),
        repeats("write-numbers", numbers, &[OWN], rows),
    ];
    transformer(&[
        ("MEMORY", &pages(end)),
        ("MORE", &more.concat()),
        ("INITIALIZE", "(call $write-text) (call $write-numbers)"),
        ("TRANSFORM", &derived.transformed()),
    ])
}
