//! Components that `run` ends: endless calls, invalid answers, failing save and restore.

use super::parts::{
    Answer, OWN, SAVED, TEXT, TRANSFORMED, core, keep, meter, pages, repeats, stores, transformer,
    wrapped_encoding,
};
use super::{Case, agent, assert_ended_by_run, case};
use crate::components::recording;

#[test]
fn endless_loops_at_work_are_ended() {
    let cpu = "limits.cpu";
    assert_ended_by_run(
        "loops",
        &[
            case("spins", transformer(&[("TRANSFORM", "(call $spin)")]), cpu),
            case("spins-in-flush", transformer(&[("FLUSH", "(call $spin)")]), cpu),
            case(
                "logs-a-long-line",
                transformer(&[
                    ("MEMORY", "480"),
                    (
                        "TRANSFORM",
                        "(call $log (i32.const 3) (i32.const 65536) (i32.const 20971520)) (unreachable)",
                    ),
                ]),
                "limits.returned",
            )
            .with_memory(32),
            case("spins-afterwards", transformer(&[("POST", "(call $spin)")]), cpu),
            case("chats", transformer(&[("TRANSFORM", "(call $chatter)")]), cpu),
            case("fills", transformer(&[("MEMORY", "480"), ("TRANSFORM", "(call $fill)")]), cpu)
                .with_memory(32),
            case(
                "recurses",
                transformer(&[("TRANSFORM", "(drop (call $deeper (i32.const 0)))")]),
                "call stack exhausted",
            ),
            case(
                "grows",
                transformer(&[(
                    "TRANSFORM",
                    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) \
                     (i32.const -1)))) (unreachable)",
                )]),
                "limits.memory",
            ),
        ],
    );
}

/// `keep` of a list of `count` entries at this address.
fn keeping(address: u32, count: u32) -> Vec<u8> {
    transformer(&[("TRANSFORM", &keep((address, count)))])
}

/// A refusal with a text of `length` bytes at this address.
fn rejected(address: u32, length: u32) -> Vec<u8> {
    transformer(&[("TRANSFORM", &refusal(address, length))])
}

/// Instructions that return a refusal for a batch.
fn refusal(address: u32, length: u32) -> String {
    stores(&[
        (TRANSFORMED, 1),
        (TRANSFORMED + 4, 0),
        (TRANSFORMED + 8, address),
        (TRANSFORMED + 12, length),
    ])
}

/// A refusal in this encoding whose text is invalid UTF-16.
fn lone_surrogate(encoding: &str, length: u32) -> Vec<u8> {
    let data = "(data (i32.const 4096) \"\\00\\d8\\41\\00\")";
    wrapped_encoding(encoding, &core(&[("MORE", data), ("TRANSFORM", &refusal(4096, length))]))
}

/// An answer with `count` new meters whose names are the same `length` bytes.
fn aliased(count: u32, length: u32) -> Vec<u8> {
    let list = 65_536;
    let words = meter(OWN, (TEXT.0, length));
    let answer = Answer { meters: (list, count), ..Answer::default() };
    transformer(&[
        ("MEMORY", &pages(list + 24 * count)),
        ("MORE", &repeats("write-list", list, &words, count)),
        ("TRANSFORM", &format!("(call $write-list) {}", answer.transformed())),
    ])
}

/// Returns an address beyond the memory.
const OUTSIDE: &str = "(return (i32.const -4))";

#[test]
fn answers_with_invalid_addresses_are_refused() {
    assert_ended_by_run(
        "answers",
        &[
            case("list-outside", keeping(0x7fff_0000, 4), "out of bounds"),
            case("list-of-4-gib", keeping(4096, u32::MAX), "out of bounds"),
            case("list-askew", keeping(4097, 1), "aligned"),
            case("text-outside", rejected(0xffff_fff0, 100), "out of bounds"),
            case(
                "text-no-utf8",
                transformer(&[
                    ("MORE", "(data (i32.const 4096) \"\\ff\\fe\\c0\\80\")"),
                    ("TRANSFORM", &refusal(4096, 4)),
                ]),
                "utf-8",
            ),
            case("text-no-utf16", lone_surrogate("utf16", 2), "unpaired surrogate"),
            case(
                "text-no-latin1",
                // The highest bit of the length selects UTF-16.
                lone_surrogate("latin1+utf16", 0x8000_0002),
                "unpaired surrogate",
            ),
            case("many-texts", aliased(1_200_000, 1), "limits.returned").with_memory(32),
            case(
                "bad-case",
                transformer(&[("TRANSFORM", &stores(&[(TRANSFORMED + 4, 9)]))]),
                "discriminant",
            ),
            case(
                "bad-result",
                transformer(&[("TRANSFORM", &stores(&[(TRANSFORMED, 7)]))]),
                "discriminant",
            ),
            case(
                "realloc-askew",
                transformer(&[("REALLOC", "(return (i32.const 65537))")]),
                "aligned",
            ),
            case("aliased-texts", aliased(100_000, 60_000), "limits.returned").with_memory(4),
            case("answer-outside", transformer(&[("TRANSFORM", OUTSIDE)]), "bounds"),
        ],
    );
}

#[test]
fn failing_save_loses_no_samples() {
    // The state is saved after 256 batches.
    let large = stores(&[(SAVED + 4, 65_536), (SAVED + 8, 70 << 20)]);
    let cases = [
        case("spins-in-save", transformer(&[("SAVE", "(call $spin)")]), "cpu"),
        case("large-state", transformer(&[("MEMORY", "1200"), ("SAVE", &large)]), "state_bytes"),
    ];
    let agent = agent("save", &cases);
    // First use of that much memory takes some machines most of a second.
    let agent = agent
        .set("components.by_name.large-state.limits.memory", "128MiB")
        .set("components.by_name.large-state.limits.cpu", "5s");
    let reads: Vec<u64> = (1..=260).collect();
    let uri = recording(&agent, &reads);
    let ended = agent.libvirt(&uri).execute(&["run", "--log-format", "json"]).code(0);
    for Case { name, reason, .. } in &cases {
        let hits = ended.logged("component limit exceeded");
        let reported = hits.iter().any(|line| {
            line["component"] == *name && line["call"] == "save" && line["limit"] == *reason
        });
        assert!(reported, "{name}: {hits:?}");
    }
    // Neither has lost a sample.
    let ledger = ended.ledger();
    assert!(ledger.sinks.values().all(|sink| sink.dropped == 0 && sink.pending == 0), "{ledger:?}");
}

#[test]
fn endless_restore_is_ended() {
    let cases = [case(
        "spins-in-restore",
        // The state is saved after 256 batches; the trap after that requires a restore.
        transformer(&[
            ("TRANSFORM", "(if (i32.gt_u (global.get $count) (i32.const 257)) (then unreachable))"),
            ("RESTORE", "(call $spin)"),
        ]),
        "limits.cpu",
    )];
    let agent = agent("restore", &cases);
    let reads: Vec<u64> = (1..=260).collect();
    let uri = recording(&agent, &reads);
    let ended = agent.libvirt(&uri).execute(&["run", "--log-format", "json"]).code(0);
    let hits = ended.logged("component limit exceeded");
    assert!(hits.iter().any(|line| line["call"] == "restore"), "{}", ended.stderr);
}
