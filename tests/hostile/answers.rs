//! Small components whose results cause much work: each is refused, and the reason names the limit.

use super::parts::{Answer, OWN, TEXT, data, meter, pages, repeats, resource, stores, transformer};
use super::{assert_ended_by_run, assert_refused_by_check, case};

/// Address of the lists of an answer, above all other data.
const LIST: u32 = 131_072;

/// A component whose call returns a list of `count` copies of `words`; `fields` stores the address
/// and length of the list in the answer.
fn listing(place: &str, fields: &[(u32, u32)], count: u32, words: &[u32]) -> Vec<u8> {
    let more = repeats("write-list", LIST, words, count);
    let pages = pages(LIST + 4 * u32::try_from(words.len()).unwrap() * count);
    let code = format!("(call $write-list) {}", stores(fields));
    transformer(&[("MEMORY", &pages), ("MORE", &more), (place, &code)])
}

#[test]
fn oversized_settings_and_descriptions_are_refused() {
    let text = [TEXT.0, TEXT.1];
    let pair = [text, text].concat();
    let meters = |count| listing("CONFIGURE", &[(1_092, LIST), (1_096, count)], count, &text);
    let long = transformer(&[
        ("MEMORY", "4"),
        ("CONFIGURE", &stores(&[(1_092, 1_120), (1_096, 1), (1_120, 65_536), (1_124, 20_000)])),
    ]);
    assert_refused_by_check(
        "settings",
        &[
            // Without this limit: 4.9 GB and 30 s.
            case("many-meters", meters(200_000), "settings_meters"),
            case("long-meter", long, "settings_meter_bytes"),
            case(
                "many-paths",
                listing("CONFIGURE", &[(1_100, LIST), (1_104, 50_000)], 50_000, &text),
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

/// A component that flushes `rows` rows of one new meter and one new resource. `metadata` and `id`
/// are the sizes of the resource's metadata and id in bytes.
fn flushing(rows: u32, metadata: u32, id: u32) -> Vec<u8> {
    let (text, name) = (LIST, LIST + metadata.next_multiple_of(16));
    let columns = (name + id).next_multiple_of(16);
    let [origins, numbers, times, zeros, meters, resources] =
        [0, 1, 2, 3, 4, 5].map(|column| columns + 8 * rows.max(16) * column);
    let quoted = |text: &str| text.replace('"', "\\22");
    let fill = |from: u32, byte: u32, length: u32| {
        format!("(memory.fill (i32.const {from}) (i32.const {byte}) (i32.const {length}))")
    };
    let start = [
        fill(text + 6, 120, metadata - 8),
        fill(name, 110, id),
        fill(origins, 255, 4 * rows),
        fill(times, 23, 8 * rows),
        "(call $write-numbers)".to_owned(),
    ];
    let more = [
        format!("(data (i32.const {text}) \"{}\")", quoted("{\"a\":\"")),
        format!("(data (i32.const {}) \"{}\")", text + metadata - 2, quoted("\"}")),
        data(meters, &meter(OWN, TEXT)),
        data(resources, &resource(OWN, (name, id), (text, metadata))),
        repeats("write-numbers", numbers, &[OWN], rows),
    ];
    let answer = Answer {
        meters: (meters, 1),
        resources: (resources, 1),
        origin: (origins, rows),
        meter: (numbers, rows),
        resource: (numbers, rows),
        time: (times, rows),
        volume: (zeros, rows),
        exact: (0, 0),
    };
    transformer(&[
        ("MEMORY", &pages(resources + 64)),
        ("MORE", &more.concat()),
        ("INITIALIZE", &start.concat()),
        ("FLUSH", &answer.flushed()),
    ])
}

#[test]
fn answers_with_oversized_messages_are_refused() {
    assert_ended_by_run(
        "large-answers",
        &[
            // The component has 9 KB and its answer 0.8 MB; the messages would have 4 GB.
            case("rows-of-a-large-resource", flushing(20_000, 200_000, 7), "answer_bytes")
                .with_memory(4),
            case("many-rows", flushing(300_000, 100, 7), "answer_rows").with_memory(32),
            case("large-metadata", flushing(1, 300_000, 7), "metadata_bytes"),
            case("long-id", flushing(1, 100, 2_000), "id_bytes"),
        ],
    );
}
