//! Small components whose answers ask for much work: each is refused by a bound of the table, by name.

use super::parts::{stores, transformer, word};
use super::{case, ended_at_work, refused_by_check};

/// Where lists of answers begin, beyond everything else.
const LIST: u32 = 131_072;

/// A function `$write-list` that writes so many copies of these words one after the other at [`LIST`], and the
/// pages of memory that it needs with `more` bytes behind.
fn filled(count: u32, words: &[u32], more: u32) -> (String, String) {
    let stride = 4 * u32::try_from(words.len()).unwrap();
    let store = |(index, value): (usize, &u32)| {
        format!(
            "(i32.store offset={} (local.get 0) (i32.const {}))",
            4 * index,
            value.cast_signed()
        )
    };
    let body: String = words.iter().enumerate().map(store).collect();
    let end = LIST + stride * count;
    let function = format!(
        "(func $write-list (local i32) (local.set 0 (i32.const {LIST})) (loop $next {body} \
         (local.set 0 (i32.add (local.get 0) (i32.const {stride}))) \
         (br_if $next (i32.lt_u (local.get 0) (i32.const {end})))))"
    );
    (function, ((end + more).div_ceil(65_536) + 1).to_string())
}

/// A component that answers a call with a list of so many copies of these words; `fields` puts the list
/// where the answer refers to it.
fn listing(place: &str, fields: &[(u32, u32)], count: u32, words: &[u32]) -> Vec<u8> {
    let (more, pages) = filled(count, words, 0);
    let code = format!("(call $write-list) {}", stores(fields));
    transformer(&[("MEMORY", &pages), ("MORE", &more), (place, &code)])
}

/// The address and length of the text "hostile".
const TEXT: [u32; 2] = [2_048, 7];

#[test]
fn settings_and_descriptions_that_ask_for_much_are_refused() {
    let pair = [TEXT[0], TEXT[1], TEXT[0], TEXT[1]];
    let meters = |count| listing("CONFIGURE", &[(1_092, LIST), (1_096, count)], count, &TEXT);
    let long = transformer(&[
        ("MEMORY", "4"),
        ("CONFIGURE", &stores(&[(1_092, 1_120), (1_096, 1), (1_120, 65_536), (1_124, 20_000)])),
    ]);
    refused_by_check(
        "settings",
        &[
            // 4.9 GB and 30 s before there was a bound.
            case("many-meters", meters(200_000), "settings_meters"),
            case("long-meter", long, "settings_meter_bytes"),
            case(
                "many-paths",
                listing("CONFIGURE", &[(1_100, LIST), (1_104, 50_000)], 50_000, &TEXT),
                "settings_metadata",
            ),
            case(
                "many-facts",
                listing("CONFIGURE", &[(1_112, LIST), (1_116, 50_000)], 50_000, &pair),
                "facts",
            ),
            case(
                "many-facts-described",
                listing("DESCRIBE", &[(1_060, LIST), (1_064, 50_000)], 50_000, &pair),
                "facts",
            ),
        ],
    );
}

/// A component that flushes `rows` rows of one new meter and one new resource, whose metadata and id have
/// so many bytes.
fn flushing(rows: u32, metadata: u32, id: u32) -> Vec<u8> {
    let (text, name) = (LIST, LIST + metadata.div_ceil(16) * 16);
    let columns = (name + id).div_ceil(16) * 16;
    let at = |column: u32| columns + 8 * rows * column;
    let (entries, end) = (at(4), at(4) + 128);
    // The record of a resource: id, source, no project, no user, metadata.
    let resource = [name, id, TEXT[0], TEXT[1], 0, 0, 0, 0, 0, 0, text, metadata];
    let meter = [TEXT[0], TEXT[1], TEXT[0], 1, 0];
    let record = |words: &[u32]| words.iter().copied().map(word).collect::<String>();
    let quoted = |text: &str| text.replace('"', "\\22");
    let close = "\"}";
    let fill = |from: u32, byte: u32, length: u32| {
        format!("(memory.fill (i32.const {from}) (i32.const {byte}) (i32.const {length}))")
    };
    let start = [
        fill(text + 6, 120, metadata - 8),
        fill(name, 110, id),
        fill(at(0), 255, 4 * rows),
        fill(at(3), 23, 8 * rows),
    ];
    let more = format!(
        "(data (i32.const {text}) \"{}\")(data (i32.const {}) \"{}\")\
         (data (i32.const {entries}) \"{}\")(data (i32.const {}) \"{}\")",
        quoted("{\"a\":\""),
        text + metadata - 2,
        quoted(close),
        record(&resource),
        entries + 64,
        record(&meter)
    );
    // result, option, then the lists: meters, resources, origin, meter, resource, time, volume.
    let lists = [
        (entries + 64, 1),
        (entries, 1),
        (at(0), rows),
        (at(1), rows),
        (at(2), rows),
        (at(3), rows),
        (at(1), rows),
    ];
    let mut answer = vec![(1_216, 0), (1_220, 1)];
    for (index, (address, length)) in (0..).zip(lists) {
        answer.push((1_224 + 8 * index, address));
        answer.push((1_228 + 8 * index, length));
    }
    let pages = (end.div_ceil(65_536) + 1).to_string();
    transformer(&[
        ("MEMORY", &pages),
        ("MORE", &more),
        ("INITIALIZE", &start.concat()),
        ("FLUSH", &stores(&answer)),
    ])
}

#[test]
fn answers_that_stand_for_much_are_refused() {
    ended_at_work(
        "large-answers",
        &[
            // A component of 9 KB, an answer of 0.8 MB, 4 GB of messages.
            case("rows-of-a-large-resource", flushing(20_000, 200_000, 7), "answer_bytes").with(4),
            case("many-rows", flushing(300_000, 100, 7), "answer_rows").with(32),
            case("large-metadata", flushing(1, 300_000, 7), "metadata_bytes"),
            case("long-id", flushing(1, 100, 2_000), "id_bytes"),
        ],
    );
}
