//! Components that attack the dictionary: `learn` itself, numbers that stand for nothing, and entries of
//! their own without end. Beside them, components that use it in unusual ways and are right.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::parts::{
    Answer, Derived, List, OWN, TEXT, TRANSFORMED, data, meter, pages, repeats, resource, stores,
    transformer,
};
use super::{Case, agent, allowance, case, ended_at_work, watched};
use crate::harness::{Agent, Running, field, ndjson, number, root, text};

const NO_ORIGIN: u32 = u32::MAX;

/// A row of every answer: 2022, and 1.0.
const TIME: [u32; 2] = [0x1717_1717; 2];
const ONE: [u32; 2] = [0, 0x3ff0_0000];

/// Where lists and texts of answers are, below what the host writes.
const LISTS: u32 = 8_192;
/// Where a large text is, and where a long list is.
const METADATA: u32 = 131_072;
const LONG_LIST: u32 = 7 * 65_536;

/// The data of an answer, list after list.
struct Lists {
    next: u32,
    data: String,
}

impl Lists {
    fn new() -> Self {
        Self { next: LISTS, data: String::new() }
    }

    /// A list of records that have these words.
    fn of<const N: usize>(&mut self, records: &[[u32; N]]) -> List {
        let address = self.next;
        let count = u32::try_from(records.len()).unwrap();
        self.data += &data(address, records.as_flattened());
        self.next = (address + 4 * u32::try_from(N).unwrap() * count).next_multiple_of(8);
        (address, count)
    }

    fn numbers(&mut self, numbers: &[u32]) -> List {
        self.of(&numbers.iter().map(|number| [*number]).collect::<Vec<_>>())
    }

    fn text(&mut self, text: &str) -> List {
        let address = self.next;
        let length = u32::try_from(text.len()).unwrap();
        self.data += &format!("(data (i32.const {address}) \"{text}\")");
        self.next = (address + length).next_multiple_of(8);
        (address, length)
    }

    /// Exact values of rows.
    fn exact(&mut self, values: &[(u32, i64)]) -> List {
        let record = |(row, value): &(u32, i64)| {
            let low = u32::try_from(value.cast_unsigned() & u64::from(u32::MAX)).unwrap();
            let high = u32::try_from(value.cast_unsigned() >> 32).unwrap();
            [*row, 0, low, high]
        };
        self.of(&values.iter().map(record).collect::<Vec<_>>())
    }

    /// Rows without an origin.
    fn rows(&mut self, meter: &[u32], resource: &[u32]) -> Answer {
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
    fn derived(&mut self, origin: &[u32], meter: u32) -> Derived {
        Derived {
            origin: self.numbers(origin),
            meter: self.numbers(&vec![meter; origin.len()]),
            volume: self.of(&vec![ONE; origin.len()]),
            ..Derived::default()
        }
    }
}

/// A component that answers each batch with what this makes.
fn answering(answer: impl FnOnce(&mut Lists) -> String) -> Vec<u8> {
    let mut lists = Lists::new();
    let code = answer(&mut lists);
    transformer(&[("MORE", &lists.data), ("TRANSFORM", &code)])
}

/// A component that answers with one row of these numbers.
fn numbered(meter: u32, resource: u32) -> Vec<u8> {
    answering(|lists| lists.rows(&[meter], &[resource]).transformed())
}

/// A component that sends meters under these numbers.
fn meters(numbers: &[u32]) -> Vec<u8> {
    answering(|lists| {
        let entries: Vec<_> = numbers.iter().map(|number| meter(*number, TEXT)).collect();
        Answer { meters: lists.of(&entries), ..Answer::default() }.transformed()
    })
}

/// A component that sends resources under these numbers.
fn resources(numbers: &[u32]) -> Vec<u8> {
    answering(|lists| {
        let metadata = lists.text("{}");
        let entries: Vec<_> =
            numbers.iter().map(|number| resource(*number, TEXT, metadata)).collect();
        Answer { resources: lists.of(&entries), ..Answer::default() }.transformed()
    })
}

#[test]
fn learning_that_never_ends_or_traps_is_ended() {
    let cpu = "limits.cpu";
    let long_line = "(call $log (i32.const 3) (i32.const 65536) (i32.const 20971520))";
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) \
                (unreachable)";
    let cases = [
        case("traps-in-learn", transformer(&[("LEARN", "(unreachable)")]), "unreachable"),
        case("spins-in-learn", transformer(&[("LEARN", "(call $spin)")]), cpu),
        case("chats-in-learn", transformer(&[("LEARN", "(call $chatter)")]), cpu),
        case("fills-in-learn", transformer(&[("MEMORY", "480"), ("LEARN", "(call $fill)")]), cpu)
            .with(32),
        case("grows-in-learn", transformer(&[("LEARN", grow)]), "limits.memory"),
        case(
            "recurses-in-learn",
            transformer(&[("LEARN", "(drop (call $deeper (i32.const 0)))")]),
            "call stack exhausted",
        ),
        case(
            "logs-a-long-line-in-learn",
            transformer(&[("MEMORY", "480"), ("LEARN", long_line)]),
            "limits.returned",
        )
        .with(32),
        case(
            "realloc-outside-for-learn",
            transformer(&[
                ("MORE", "(global $configured (mut i32) (i32.const 0))"),
                ("CONFIGURE", "(global.set $configured (i32.const 1))"),
                ("REALLOC", "(if (global.get $configured) (then (return (i32.const -16))))"),
            ]),
            "beyond end of memory",
        ),
    ];
    let ended = ended_at_work("learn", &cases);
    let limits = ended.logged("component limit exceeded");
    for Case { name, .. } in cases.iter().filter(|case| case.reason.starts_with("limits.")) {
        let learns = |line: &Value| line["component"] == *name && line["call"] == "learn";
        assert!(limits.iter().any(learns), "{name}: {limits:?}");
    }
}

/// Makes the row of an answer one of `$number`, unless there is none.
fn row_of_number(answer: Answer) -> String {
    format!(
        "(if (i32.ge_s (global.get $number) (i32.const 0)) (then \
         (i32.store (i32.const {}) (global.get $number)) {}) (else {}))",
        answer.resource.0,
        answer.transformed(),
        stores(&[(TRANSFORMED + 4, 0)])
    )
}

/// A component that answers with one row of the resource `$number`, which `learn` changes by this code.
fn remembering(learn: &str) -> Vec<u8> {
    let mut lists = Lists::new();
    let code = row_of_number(lists.rows(&[0], &[0]));
    transformer(&[
        ("MORE", &format!("(global $number (mut i32) (i32.const -1)) {}", lists.data)),
        ("LEARN", learn),
        ("TRANSFORM", &code),
    ])
}

/// A component that answers with a number that was forgotten and is not used again.
fn forgotten() -> Vec<u8> {
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
enum Kind {
    Meters,
    Resources,
}

/// A component that numbers so many more entries in each answer. `metadata` is what comes before, four
/// bytes that are repeated so often, and what comes after.
fn growing(kind: Kind, count: u32, metadata: (&str, [u8; 4], u32, &str)) -> Vec<u8> {
    let (before, filling, times, after) = metadata;
    let [before_length, after_length] =
        [before, after].map(|text| u32::try_from(text.len()).unwrap());
    let filled = METADATA + before_length;
    let end = filled + 4 * times;
    let length = end + after_length - METADATA;
    let list = (LONG_LIST, count);
    let (entry, answer) = match kind {
        Kind::Meters => (meter(0, TEXT).to_vec(), Answer { meters: list, ..Answer::default() }),
        Kind::Resources => (
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

/// Metadata with nothing in it.
const EMPTY: (&str, [u8; 4], u32, &str) = ("{", *b"    ", 1, "}");

/// A component that derives so many rows of the first one, with a meter whose name has so many bytes.
fn deriving(rows: u32, name: u32) -> Vec<u8> {
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

/// What is wrong with numbers and entries.
fn wrong_numbers() -> Vec<Case> {
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
        case("many-new-meters", growing(Kind::Meters, 1_001, EMPTY), "(new_meters)"),
        case("many-new-resources", growing(Kind::Resources, 50_001, EMPTY), "(new_resources)")
            .with(4),
    ]
}

/// Entries that are numbered without end, and the bound that ends each.
fn growing_numbers() -> Vec<Case> {
    let large = growing(Kind::Resources, 60, ("{\"a\":\"", *b"xxxx", 50_000, "\"}"));
    let many_values = growing(Kind::Resources, 2, ("{\"a\":[", *b"0,0,", 47_000, "0]}"));
    vec![
        case(
            "own-meters",
            growing(Kind::Meters, 1_000, EMPTY),
            "10001, at most 10000 (own_meters)",
        ),
        case(
            "own-resources",
            growing(Kind::Resources, 25_000, EMPTY),
            "50001, at most 50000 (own_resources)",
        )
        .with(4),
        case(
            "own-bytes",
            large,
            "replace entries that are no longer used (0 meters, 360 resources",
        ),
        case("own-values", many_values, "(own_metadata_values)"),
    ]
}

/// What is wrong with `derive` and with exact values.
fn wrong_rows() -> Vec<Case> {
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
    let nowhere = "row does not exist, or rows are not ascending";
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
        case("derive-many", deriving(300_000, 1_024), "(answer_rows)").with(6),
        case("derive-much", deriving(240_000, 1_024), "(answer_bytes)").with(6),
        case("exact-nowhere", exact(&[(2, 1)]), nowhere),
        case("exact-descending", exact(&[(1, 1), (0, 1)]), nowhere),
        case("exact-twice", exact(&[(0, 1), (0, 1)]), nowhere),
        case(
            "exact-other-value",
            exact(&[(0, i64::MIN)]),
            "does not match the volume 1 of the row",
        ),
        case("exact-derived", exact_derived, nowhere),
    ]
}

/// Components that are right, although few are like that.
fn right() -> Vec<Case> {
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
        // The nearest doubles.
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

/// A component that sends its only meter twice in each answer, under another name each time.
fn replaces_own() -> Vec<u8> {
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
fn own_of_flush() -> Vec<u8> {
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

/// Names of domains by tick: two of them go, then there is nothing new for a tick, then another one comes.
const TICKS: [&[&str]; 12] = {
    const ALL: &[&str] = &["instance-000000", "instance-000001", "instance-000002"];
    const ONE: &[&str] = &["instance-000000"];
    const OTHER: &[&str] = &["instance-000000", "instance-000003"];
    [ALL, ALL, ONE, ONE, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER]
};

/// How many samples these are.
fn polled() -> usize {
    TICKS.iter().map(|names| names.len()).sum()
}

/// A recording of [`TICKS`].
fn recording(agent: &Agent) -> String {
    let golden = root().join("tests/golden/27.0.0");
    let folder = agent.folder.at("recording");
    for part in ["xml", "domstats"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for file in fs::read_dir(golden.join("xml")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join("xml").join(file.file_name())).unwrap();
    }
    let stats = fs::read_to_string(golden.join("domstats/1795380803.895156065.txt")).unwrap();
    let sections: BTreeMap<&str, &str> = stats
        .split("Domain: ")
        .filter_map(|section| Some((section.strip_prefix('\'')?.split_once('\'')?.0, section)))
        .collect();
    for (tick, names) in TICKS.iter().enumerate() {
        let text: String = names.iter().map(|name| format!("Domain: {}", sections[name])).collect();
        let file = format!("domstats/{}.000000000.txt", 1_795_380_800 + 10 * tick);
        fs::write(folder.join(file), text).unwrap();
    }
    format!("replay://{}", folder.display())
}

/// The id of the instance with this name.
fn id(name: &str) -> String {
    let folder = root().join("tests/golden/27.0.0/xml");
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()));
    let xml = files.map(Result::unwrap).find(|xml| xml.contains(&format!("<name>{name}</name>")));
    let xml = xml.unwrap();
    xml.split_once("<uuid>").unwrap().1.split_once("</uuid>").unwrap().0.to_owned()
}

/// KiB that the agent may have for the entries of these cases: one instance has as many bytes of them as it
/// may have, another one as many values, a third one as many resources.
const ENTRIES: u64 = 256 << 10;

#[test]
fn numbers_that_stand_for_nothing_or_have_no_end_are_refused() {
    let bad = [wrong_numbers(), growing_numbers(), wrong_rows()].concat();
    let good = right();
    let cases = [bad.clone(), good.clone()].concat();
    let agent = agent("dictionary", &cases);
    let agent = {
        let uri = recording(&agent);
        agent.libvirt(&uri)
    };
    let (ended, resident) = watched(agent.run(), Running::ended);
    let ended = ended.code(0);
    let ledger = ended.ledger();
    assert_eq!(ledger.polled, polled() as u64, "{ledger:?}");
    assert_eq!(ledger.transformer("rate_of_change").dropped, 0, "{ledger:?}");
    assert!(ledger.sinks.values().all(|sink| sink.pending == 0), "{ledger:?}");
    let failed = ended.logged("component failed");
    let reasons = |name: &str| -> Vec<&str> {
        let own = failed.iter().filter(|line| line["component"] == *name);
        own.map(|line| line["reason"].as_str().unwrap()).collect()
    };
    for Case { name, reason, .. } in &bad {
        let reasons = reasons(name);
        assert!(reasons.iter().any(|given| given.contains(reason)), "{name}: {reasons:?}");
        // A fault is found whenever it is there: nothing of it is published.
        assert!(ledger.transformer(&format!("/{name}")).dropped > 0, "{name}: {ledger:?}");
    }
    let unknown = reasons("forgotten-number");
    assert!(unknown.iter().all(|reason| reason.contains(" is unknown")), "{unknown:?}");
    for Case { name, .. } in &good {
        assert!(reasons(name).is_empty(), "{name}: {:?}", reasons(name));
        assert_eq!(ledger.transformer(&format!("/{name}")).dropped, 0, "{name}: {ledger:?}");
    }
    published_right(&agent);
    let dropped = ended.logged("component log lines dropped");
    assert!(dropped.iter().all(|line| line["component"] == "logs-in-learn"), "{dropped:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.len() < 4 << 20, "{} bytes of log", ended.stderr.len());
    let most = allowance("run") + ENTRIES + cases.iter().map(|case| case.memory << 10).sum::<u64>();
    println!("{resident} KiB of {most}");
    assert!(resident <= most, "run had {resident} KiB, and may have {most}");
}

/// What the components that are right have published.
fn published_right(agent: &Agent) {
    let published = |name: &str| {
        let file = agent.folder.at(&format!("to-{name}"));
        ndjson(&fs::read_to_string(file).unwrap_or_default())
    };
    let made = |name: &str| -> Vec<(String, String)> {
        let all = published(name);
        let made = all.iter().filter(|sample| number(sample) == 1.0);
        let words =
            |sample| (text(sample, "name").to_owned(), text(sample, "resource_id").to_owned());
        made.map(words).collect()
    };
    let row = |name: &str, instance: &str| (name.to_owned(), id(instance));
    let cycles = TICKS.len();
    assert_eq!(made("reuses"), vec![row("cpu", "instance-000003"); cycles - 4]);
    assert_eq!(made("until-forgotten"), vec![row("cpu", "instance-000001"); 4]);
    let renamed: Vec<_> = ["odd-batch.", "even-batch"]
        .iter()
        .cycle()
        .take(cycles)
        .map(|name| row(name, "instance-000000"))
        .collect();
    assert_eq!(made("replaces-own"), renamed);
    // From a flush in each cycle, and from each batch but the first.
    assert_eq!(made("own-of-flush"), vec![row("hostile", "instance-000000"); 2 * cycles - 1]);
    assert_eq!(made("derives"), vec![row("hostile", "instance-000000"); 2 * cycles]);
    let volumes: Vec<Option<i64>> =
        published("largest").iter().map(|sample| field(sample, "volume").as_i64()).collect();
    assert_eq!(volumes, [Some(i64::MAX), Some(i64::MIN)].repeat(cycles));
    assert_eq!(published("logs-in-learn").len(), polled());
}
