//! Components that attack the dictionary: endless `learn`, unknown numbers, endless own entries. Valid
//! components that use it in unusual ways run beside them.

mod builders;
mod cases;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::parts::transformer;
use super::{Case, agent, allowance, assert_ended_by_run, case, measure_memory};
use crate::harness::{Agent, Running, field, ndjson, number, root, text};
use cases::{endless_entries, invalid_numbers, invalid_rows, valid};

#[test]
fn endless_learning_and_traps_are_ended() {
    let cpu = "limits.cpu";
    let long_line = "(call $log (i32.const 3) (i32.const 65536) (i32.const 20971520))";
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) \
                (unreachable)";
    let cases = [
        case("traps-in-learn", transformer(&[("LEARN", "(unreachable)")]), "unreachable"),
        case("spins-in-learn", transformer(&[("LEARN", "(call $spin)")]), cpu),
        case("chats-in-learn", transformer(&[("LEARN", "(call $chatter)")]), cpu),
        case("fills-in-learn", transformer(&[("MEMORY", "480"), ("LEARN", "(call $fill)")]), cpu)
            .with_memory(32),
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
        .with_memory(32),
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
    let ended = assert_ended_by_run("learn", &cases);
    let limits = ended.logged("component limit exceeded");
    for Case { name, .. } in cases.iter().filter(|case| case.reason.starts_with("limits.")) {
        let in_learn = |line: &Value| line["component"] == *name && line["call"] == "learn";
        assert!(limits.iter().any(in_learn), "{name}: {limits:?}");
    }
}

/// Names of domains by polling cycle: two are removed, one cycle later a new one appears.
const CYCLES: [&[&str]; 12] = {
    const ALL: &[&str] = &["instance-000000", "instance-000001", "instance-000002"];
    const ONE: &[&str] = &["instance-000000"];
    const OTHER: &[&str] = &["instance-000000", "instance-000003"];
    [ALL, ALL, ONE, ONE, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER]
};

/// Number of samples in all cycles.
fn polled() -> usize {
    CYCLES.iter().map(|names| names.len()).sum()
}

/// Writes a recording of [`CYCLES`].
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
    for (cycle, names) in CYCLES.iter().enumerate() {
        let text: String = names.iter().map(|name| format!("Domain: {}", sections[name])).collect();
        let file = format!("domstats/{}.000000000.txt", 1_795_380_800 + 10 * cycle);
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

/// KiB for the entries of these cases: one instance reaches the bound on bytes, another one that on
/// values, a third one that on resources.
const ENTRIES: u64 = 256 << 10;

#[test]
fn invalid_numbers_and_endless_entries_are_refused() {
    let invalid = [invalid_numbers(), endless_entries(), invalid_rows()].concat();
    let valid = valid();
    let cases = [invalid.clone(), valid.clone()].concat();
    let agent = agent("dictionary", &cases);
    let agent = {
        let uri = recording(&agent);
        agent.libvirt(&uri)
    };
    let (ended, resident) = measure_memory(agent.run(), Running::ended);
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
    for Case { name, reason, .. } in &invalid {
        let reasons = reasons(name);
        assert!(reasons.iter().any(|logged| logged.contains(reason)), "{name}: {reasons:?}");
        // An invalid answer is refused as a whole: nothing of it is published.
        assert!(ledger.transformer(&format!("/{name}")).dropped > 0, "{name}: {ledger:?}");
    }
    let unknown = reasons("forgotten-number");
    assert!(unknown.iter().all(|reason| reason.contains(" is unknown")), "{unknown:?}");
    for Case { name, .. } in &valid {
        assert!(reasons(name).is_empty(), "{name}: {:?}", reasons(name));
        assert_eq!(ledger.transformer(&format!("/{name}")).dropped, 0, "{name}: {ledger:?}");
    }
    assert_published(&agent);
    let dropped = ended.logged("component log lines dropped");
    assert!(dropped.iter().all(|line| line["component"] == "logs-in-learn"), "{dropped:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.len() < 4 << 20, "{} bytes of log", ended.stderr.len());
    let max = allowance("run") + ENTRIES + cases.iter().map(|case| case.memory << 10).sum::<u64>();
    println!("{resident} KiB of {max} KiB");
    assert!(resident <= max, "run used {resident} KiB, at most {max} KiB");
}

/// Checks what the valid components have published.
fn assert_published(agent: &Agent) {
    let published = |name: &str| {
        let file = agent.folder.at(&format!("to-{name}"));
        ndjson(&fs::read_to_string(file).unwrap_or_default())
    };
    let new_rows = |name: &str| -> Vec<(String, String)> {
        let all = published(name);
        let new = all.iter().filter(|sample| number(sample) == 1.0);
        let names =
            |sample| (text(sample, "name").to_owned(), text(sample, "resource_id").to_owned());
        new.map(names).collect()
    };
    let row = |name: &str, instance: &str| (name.to_owned(), id(instance));
    let cycles = CYCLES.len();
    assert_eq!(new_rows("reuses"), vec![row("cpu", "instance-000003"); cycles - 4]);
    assert_eq!(new_rows("until-forgotten"), vec![row("cpu", "instance-000001"); 4]);
    let renamed: Vec<_> = ["odd-batch.", "even-batch"]
        .iter()
        .cycle()
        .take(cycles)
        .map(|name| row(name, "instance-000000"))
        .collect();
    assert_eq!(new_rows("replaces-own"), renamed);
    // From a flush in each cycle, and from each batch but the first.
    assert_eq!(new_rows("own-of-flush"), vec![row("hostile", "instance-000000"); 2 * cycles - 1]);
    assert_eq!(new_rows("derives"), vec![row("hostile", "instance-000000"); 2 * cycles]);
    let volumes: Vec<Option<i64>> =
        published("largest").iter().map(|sample| field(sample, "volume").as_i64()).collect();
    assert_eq!(volumes, [Some(i64::MAX), Some(i64::MIN)].repeat(cycles));
    assert_eq!(published("logs-in-learn").len(), polled());
}
