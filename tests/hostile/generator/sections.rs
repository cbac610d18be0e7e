//! Custom sections: debug information and names that attack any reader.

use wasm_encoder::{Encode, NameMap, NameSection, ProducersField, ProducersSection};

use super::chance::Chance;
use super::names;

/// A custom section.
#[derive(Debug, Clone)]
pub(super) struct Custom {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

fn custom(name: &str, data: Vec<u8>) -> Custom {
    Custom { name: name.to_owned(), data }
}

/// Related sections and their description for reports. Debug information covers all code, so that
/// any trap has a line in it.
pub(super) fn any(chance: &mut Chance) -> (String, Vec<Custom>) {
    let (what, mut sections) = match chance.small(9) {
        0 | 1 => {
            let depth = if chance.one_in(2) { 20_000 } else { chance.size(20_000) };
            (format!("inlined {depth} deep"), nested(depth))
        }
        2 => {
            let lines = if chance.one_in(4) { 4 << 20 } else { chance.size(4 << 20) };
            (format!("{lines} lines"), lines_of(lines))
        }
        3 => {
            let (dies, each) = (chance.size(1_500), chance.size(3_000));
            (format!("{dies} functions share {each} ranges"), ranges(dies, each))
        }
        4 => {
            let name = *chance.pick(&DEBUG);
            let length = chance.size(1 << 20);
            (format!("random {name}"), vec![custom(name, chance.bytes(length))])
        }
        5 => ("producers".to_owned(), vec![producers(chance)]),
        6 => ("names of nothing".to_owned(), vec![names_of_nothing(chance)]),
        7 => {
            let name = *chance.pick(&OTHERS);
            let length = chance.size(1 << 18);
            (format!("random {name:?}"), vec![custom(name, chance.bytes(length))])
        }
        _ => {
            let count = chance.size(20_000);
            let name = names::any(chance, if count > 100 { 20 } else { 1 << 18 });
            (format!("{count} sections"), vec![custom(&name, vec![0; 3]); count as usize])
        }
    };
    if chance.one_in(4) {
        for section in &mut sections {
            let length = chance.below(section.data.len() + 1);
            section.data.truncate(length);
        }
        return (format!("{what}, cut"), sections);
    }
    (what, sections)
}

const DEBUG: [&str; 10] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_loclists",
    ".debug_aranges",
    ".debug_addr",
    ".debug_types",
];

const OTHERS: [&str; 10] = [
    "dylink.0",
    "linking",
    "reloc.CODE",
    "target_features",
    "sourceMappingURL",
    "external_debug_info",
    "build_id",
    "metadata.code.branch_hint",
    "component-name",
    "",
];

/// The whole address range, for `DW_AT_low_pc` and `DW_AT_high_pc`.
fn everywhere(into: &mut Vec<u8>) {
    into.extend([0; 4]);
    into.extend(0x7fff_ffff_u32.to_le_bytes());
}

/// A unit of DWARF version 4 with addresses of four bytes.
fn unit(entries: &[u8]) -> Vec<u8> {
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4];
    unit.extend(entries);
    let mut section = u32::try_from(unit.len()).unwrap().to_le_bytes().to_vec();
    section.extend(unit);
    section
}

/// Nested inlined functions in one function; a recursive reader overflows its stack.
fn nested(depth: u32) -> Vec<Custom> {
    let abbreviations = vec![
        1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // a unit: low_pc, high_pc
        2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, // a function: its name as well
        3, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // an inlined one
        0,
    ];
    let mut entries = vec![1];
    everywhere(&mut entries);
    entries.push(2);
    entries.extend(b"fn\0");
    everywhere(&mut entries);
    for _ in 0..depth {
        entries.push(3);
        everywhere(&mut entries);
    }
    entries.extend(vec![0; depth as usize + 2]);
    vec![custom(".debug_abbrev", abbreviations), custom(".debug_info", unit(&entries))]
}

/// One sequence with this many lines.
fn lines_of(lines: u32) -> Vec<Custom> {
    let abbreviations = vec![1, 0x11, 0, 0x11, 0x01, 0x12, 0x06, 0x10, 0x17, 0, 0, 0];
    let mut entries = vec![1];
    everywhere(&mut entries);
    entries.extend([0; 4]);
    // Instructions of one byte, one operation, statements; lines from -3, a range of 12; 13 codes.
    let mut header = vec![1, 1, 1, 0xfd, 12, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    header.extend(b"\0x.rs\0\0\0\0\0");
    let mut program = vec![0, 5, 2, 0, 0, 0, 0];
    program.extend(vec![0x20; lines as usize]);
    program.extend([0, 1, 1]);
    let mut body = 4_u16.to_le_bytes().to_vec();
    body.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    body.extend(header);
    body.extend(program);
    let mut line = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    line.extend(body);
    vec![
        custom(".debug_abbrev", abbreviations),
        custom(".debug_info", unit(&entries)),
        custom(".debug_line", line),
    ]
}

/// Functions that share the same long list of ranges.
fn ranges(functions: u32, each: u32) -> Vec<Custom> {
    let abbreviations = vec![
        1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // a unit
        2, 0x2e, 0, 0x03, 0x08, 0x55, 0x17, 0, 0, // a function: its name and its ranges
        0,
    ];
    let mut entries = vec![1];
    everywhere(&mut entries);
    for _ in 0..functions {
        entries.push(2);
        entries.extend(b"fn\0\0\0\0\0");
    }
    entries.push(0);
    let mut list = Vec::new();
    for nth in 0..each {
        list.extend((2 * nth).to_le_bytes());
        list.extend((2 * nth + 1_000_000).to_le_bytes());
    }
    list.extend([0; 8]);
    vec![
        custom(".debug_abbrev", abbreviations),
        custom(".debug_info", unit(&entries)),
        custom(".debug_ranges", list),
    ]
}

fn producers(chance: &mut Chance) -> Custom {
    let mut section = ProducersSection::new();
    let fields = chance.size(2_000);
    for _ in 0..fields {
        let mut field = ProducersField::new();
        field.value(&names::any(chance, 200), &names::any(chance, 200));
        let name = match chance.small(4) {
            0 => "language".to_owned(),
            1 => "processed-by".to_owned(),
            _ => names::any(chance, 200),
        };
        section.field(&name, &field);
    }
    let mut encoded = Vec::new();
    section.encode(&mut encoded);
    // After the length and the name of the section, as in a file.
    let name = b"producers";
    let at = encoded.windows(name.len()).position(|bytes| bytes == name).unwrap();
    custom("producers", encoded.split_off(at + name.len()))
}

/// Names of functions and locals that do not exist, with wrong lengths.
fn names_of_nothing(chance: &mut Chance) -> Custom {
    let mut data = Vec::new();
    for _ in 0..=chance.small(6) {
        let mut names = NameMap::new();
        for _ in 0..chance.size(500) {
            names.append(chance.word(), &names::any(chance, 300));
        }
        let mut section = NameSection::new();
        match chance.small(4) {
            0 => section.module(&names::any(chance, 1 << 16)),
            1 => section.types(&names),
            _ => section.functions(&names),
        }
        let mut encoded = Vec::new();
        section.encode(&mut encoded);
        let at = encoded.windows(5).position(|bytes| bytes == b"\x04name").unwrap();
        data.extend(encoded.split_off(at + 5));
    }
    if chance.one_in(2) && !data.is_empty() {
        let at = chance.below(data.len().min(8));
        data[at] = 0xff;
    }
    custom("name", data)
}
