//! Components built from text: a good transformer with one thing changed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const WRAPPER: &str = include_str!("wrapper.wat");
const CORE: &str = include_str!("core.wat");

/// Addresses of the answers in the core module.
pub(super) const TRANSFORMED: u32 = 1_152;
pub(super) const FLUSHED: u32 = 1_232;
pub(super) const SAVED: u32 = 1_312;

/// Address and length of the text "hostile".
pub(super) const TEXT: List = (2_048, 7);

/// The first number of a component's own dictionary entries.
pub(super) const OWN: u32 = 1 << 31;

/// Address and length of a list or a text.
pub(super) type List = (u32, u32);

/// Placeholders in the core module that a case may fill.
const PLACES: [&str; 12] = [
    "MORE",
    "DESCRIBE",
    "CONFIGURE",
    "LEARN",
    "TRANSFORM",
    "POST",
    "FLUSH",
    "SAVE",
    "RESTORE",
    "REALLOC",
    "INITIALIZE",
    "MEMORY",
];

/// A component of the world `stateful-transformer` that passes all samples, with these changes:
/// pairs of a placeholder and its text. `SCHEMA` is the address and length of the options schema.
pub(super) fn transformer(changes: &[(&str, &str)]) -> Vec<u8> {
    wrapped(&core(changes))
}

/// The text of a transformer's core module.
pub(super) fn core(changes: &[(&str, &str)]) -> String {
    let change = |place: &str| {
        changes.iter().find(|(changed, _)| *changed == place).map(|(_, text)| (*text).to_owned())
    };
    // A unique name, so that no two cases have the same bytes.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let mut text = CORE.to_owned();
    let schema = change("SCHEMA").unwrap_or_else(|| r"\00\08\00\00\00\00\00\00".to_owned());
    text = text.replacen("SCHEMA", &schema, 1);
    for place in PLACES {
        let default = if place == "MEMORY" { "2" } else { "" };
        let mut filled = change(place).unwrap_or_else(|| default.to_owned());
        if place == "MORE" {
            filled = format!("{filled}\n(export \"number-{number}\" (global $count))");
        }
        text = replaced(&text, place, &filled);
    }
    text
}

/// Replaces the first whole-word match.
fn replaced(text: &str, word: &str, with: &str) -> String {
    let word = regex::Regex::new(&format!(r"\b{word}\b")).unwrap();
    word.replace(text, regex::NoExpand(with)).into_owned()
}

/// A component with this core module.
pub(super) fn wrapped(core: &str) -> Vec<u8> {
    wrapped_in(WRAPPER, core)
}

/// The same with this string encoding in `transform`.
pub(super) fn wrapped_encoding(encoding: &str, core: &str) -> Vec<u8> {
    let options = "#transform) (memory $memory)";
    let at = WRAPPER.find(options).expect("the function that takes batches");
    let (before, after) = WRAPPER.split_at(at);
    let after = after.replacen("string-encoding=utf8", &format!("string-encoding={encoding}"), 1);
    wrapped_in(&format!("{before}{after}"), core)
}

fn wrapped_in(wrapper: &str, core: &str) -> Vec<u8> {
    let core = core.replacen("(module", "(core module $main", 1);
    let text = wrapper.replacen("  MAIN\n", &core, 1);
    wat::parse_str(&text)
        .unwrap_or_else(|error| panic!("{error}\n{}", &core[..core.len().min(2_000)]))
}

/// These words as escaped data, little-endian.
pub(super) fn words(words: &[u32]) -> String {
    words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
}

/// A data segment with these words.
pub(super) fn data(address: u32, content: &[u32]) -> String {
    format!("(data (i32.const {address}) \"{}\")", words(content))
}

/// Instructions that store pairs of address and value.
pub(super) fn stores(words: &[(u32, u32)]) -> String {
    let store = |(address, value): &(u32, u32)| {
        format!("(i32.store (i32.const {address}) (i32.const {}))", value.cast_signed())
    };
    words.iter().map(store).collect()
}

/// A function `$NAME` that writes `count` copies of these words one after the other.
pub(super) fn repeats(name: &str, address: u32, words: &[u32], count: u32) -> String {
    let stride = 4 * u32::try_from(words.len()).unwrap();
    let store = |(index, value): (usize, &u32)| {
        format!(
            "(i32.store offset={} (local.get 0) (i32.const {}))",
            4 * index,
            value.cast_signed()
        )
    };
    let body: String = words.iter().enumerate().map(store).collect();
    format!(
        "(func ${name} (local i32) (local.set 0 (i32.const {address})) (loop $next {body} \
         (local.set 0 (i32.add (local.get 0) (i32.const {stride}))) \
         (br_if $next (i32.lt_u (local.get 0) (i32.const {})))))",
        address + stride * count
    )
}

/// The number of memory pages for this many bytes, plus one.
pub(super) fn pages(bytes: u32) -> String {
    (bytes.div_ceil(65_536) + 1).to_string()
}

/// The words of a numbered meter.
pub(super) fn meter(number: u32, name: List) -> [u32; 6] {
    [number, name.0, name.1, TEXT.0, 1, 0]
}

/// The words of a numbered resource without an owner.
pub(super) fn resource(number: u32, id: List, metadata: List) -> [u32; 13] {
    [number, id.0, id.1, TEXT.0, TEXT.1, 0, 0, 0, 0, 0, 0, metadata.0, metadata.1]
}

/// Returns `keep` with these rows.
pub(super) fn keep(rows: List) -> String {
    outcome(1, &[rows])
}

/// The lists of a `derive` result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Derived {
    pub(super) meters: List,
    pub(super) origin: List,
    pub(super) meter: List,
    pub(super) volume: List,
    pub(super) exact: List,
}

impl Derived {
    /// Instructions that return it for a batch.
    pub(super) fn transformed(self) -> String {
        let Self { meters, origin, meter, volume, exact } = self;
        outcome(2, &[meters, origin, meter, volume, exact])
    }
}

/// The lists of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answer {
    pub(super) meters: List,
    pub(super) resources: List,
    pub(super) origin: List,
    pub(super) meter: List,
    pub(super) resource: List,
    pub(super) time: List,
    pub(super) volume: List,
    pub(super) exact: List,
}

impl Answer {
    /// Instructions that return it for a batch.
    pub(super) fn transformed(self) -> String {
        outcome(3, &self.lists())
    }

    /// Instructions that return it for a flush.
    pub(super) fn flushed(self) -> String {
        stores(&[(FLUSHED, 0), (FLUSHED + 4, 1)]) + &lists(FLUSHED + 8, &self.lists())
    }

    fn lists(self) -> [List; 8] {
        let Self { meters, resources, origin, meter, resource, time, volume, exact } = self;
        [meters, resources, origin, meter, resource, time, volume, exact]
    }
}

/// Instructions that return this variant case with these lists for a batch.
fn outcome(case: u32, carried: &[List]) -> String {
    stores(&[(TRANSFORMED, 0), (TRANSFORMED + 4, case)]) + &lists(TRANSFORMED + 8, carried)
}

fn lists(address: u32, lists: &[List]) -> String {
    let fields = (address..).step_by(8).zip(lists);
    fields.map(|(at, (list, length))| stores(&[(at, *list), (at + 4, *length)])).collect()
}
