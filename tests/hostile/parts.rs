//! Components made of text: a good transformer with one thing changed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const WRAPPER: &str = include_str!("wrapper.wat");
const CORE: &str = include_str!("core.wat");

/// Places of the core module that a case may fill.
const PLACES: [&str; 11] = [
    "MORE",
    "DESCRIBE",
    "CONFIGURE",
    "TRANSFORM",
    "POST",
    "FLUSH",
    "SAVE",
    "RESTORE",
    "REALLOC",
    "INITIALIZE",
    "MEMORY",
];

/// A component of the world `stateful-transformer` that passes everything, with these changes:
/// places and what stands there. `SCHEMA` takes the address and the length of the options-schema.
pub(super) fn transformer(changes: &[(&str, &str)]) -> Vec<u8> {
    wrapped(&core(changes))
}

/// The core module of a transformer.
pub(super) fn core(changes: &[(&str, &str)]) -> String {
    let change = |place: &str| {
        changes.iter().find(|(changed, _)| *changed == place).map(|(_, text)| (*text).to_owned())
    };
    // A name that nothing else has, so that no two cases are the same component.
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

/// Replaces a word, not what it is a part of.
fn replaced(text: &str, word: &str, with: &str) -> String {
    let word = regex::Regex::new(&format!(r"\b{word}\b")).unwrap();
    word.replace(text, regex::NoExpand(with)).into_owned()
}

/// A component around this core module.
pub(super) fn wrapped(core: &str) -> Vec<u8> {
    wrapped_in(WRAPPER, core)
}

/// The same, where the texts of `transform` have this encoding.
pub(super) fn wrapped_encoding(encoding: &str, core: &str) -> Vec<u8> {
    let lift = "(canon lift (core func $nephometer:metering/transform@0.1.0#transform)";
    let at = WRAPPER.find(lift).expect("the function that takes batches");
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

/// Four bytes of data, the lowest first.
pub(super) fn word(value: u32) -> String {
    value.to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Instructions that write numbers into an answer: address and value.
pub(super) fn stores(words: &[(u32, u32)]) -> String {
    let store = |(address, value): &(u32, u32)| {
        format!("(i32.store (i32.const {address}) (i32.const {}))", value.cast_signed())
    };
    words.iter().map(store).collect()
}
