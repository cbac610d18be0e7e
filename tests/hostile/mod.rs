//! Components that attack: each a good transformer with one thing changed, as small as can be.
//! Every one is refused or ended with a reason that helps, while the sink beside it works on and
//! the agent's memory stays what it was.

mod answers;
mod broker;
mod compiling;
mod config;
mod dictionary;
pub(crate) mod emissions;
mod files;
mod generator;
mod outbound;
mod parts;
mod publisher;
mod requests;
mod states;
mod traps;

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::components::recording;
use crate::harness::{Agent, Ended, PATIENCE, Resident, Running, component, eventually, ndjson};
use parts::{
    Answer, OWN, SAVED, TEXT, TRANSFORMED, core, keep, meter, pages, repeats, stores, transformer,
    words, wrapped, wrapped_encoding,
};

/// Resident memory that the agent may have beyond what it has with the honest sink alone, and what
/// its components may have: KiB. Each of these components wants gigabytes.
const BESIDE: u64 = 64 << 10;

#[derive(Debug, Clone)]
struct Case {
    name: &'static str,
    file: Vec<u8>,
    /// What it is refused or ended with.
    reason: &'static str,
    /// The limit on its memory, MiB.
    memory: u64,
}

fn case(name: &'static str, file: Vec<u8>, reason: &'static str) -> Case {
    Case { name, file, reason, memory: 2 }
}

impl Case {
    /// With more memory, MiB.
    fn with(self, memory: u64) -> Self {
        Self { memory, ..self }
    }
}

/// Resident memory that this command of the agent may have, without its components' own: KiB.
fn allowance(command: &str) -> u64 {
    static IDLE: OnceLock<(u64, u64)> = OnceLock::new();
    let (check, run) = IDLE.get_or_init(|| {
        let agent = agent("idle", &[]);
        let (ended, check) = watched(agent.start(agent.command(&["check"]), None), Running::ended);
        ended.code(0);
        let (ended, run) = watched(agent.run(), |mut running, patience| {
            running.wait_for_cycles(3);
            running.terminate();
            running.ended(patience)
        });
        ended.code(0);
        (check, run)
    });
    BESIDE + if command == "check" { *check } else { *run }
}

/// No more than what the agent has with the honest sink alone, and what these may have.
fn assert_within(resident: u64, command: &str, cases: &[Case]) {
    let most = allowance(command) + cases.iter().map(|case| case.memory << 10).sum::<u64>();
    assert!(resident <= most, "{command} had {resident} KiB, and may have {most}");
}

/// An agent with a sink for each case, and an honest one.
fn agent(group: &str, cases: &[Case]) -> Agent {
    let mut agent = Agent::new(&format!("hostile-{group}")).set("shutdown_grace", "60s");
    let folder = agent.folder.at("hostile");
    fs::create_dir(&folder).unwrap();
    fs::copy(component("rate_of_change"), folder.join("rate_of_change.wasm")).unwrap();
    let mut sinks = String::new();
    let mut names = vec!["honest".to_owned()];
    for Case { name, file, memory, .. } in cases {
        fs::write(folder.join(format!("{name}.wasm")), file).unwrap();
        agent = agent.set(
            &format!("components.by_name.{name}"),
            json!({
                "on_error": "drop",
                "limits": { "cpu": "100ms", "wall": "5s", "memory": memory << 20 },
            }),
        );
        names.push(format!("to-{name}"));
        sinks += &format!(
            "- {{name: to-{name}, transformers: [{{name: {name}, parameters: {{}}}}], publishers: ['file://{}?json']}}\n",
            agent.folder.at(&format!("to-{name}")).display()
        );
    }
    let honest = agent.folder.at("honest");
    agent.set("components.path", json!([folder])).pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: ['cpu'], sinks: {names:?}}}]\n\
         sinks:\n\
         - name: honest\n\
         \x20 transformers: [{{name: rate_of_change, parameters: {{target: {{name: cpu_util}}}}}}]\n\
         \x20 publishers: ['file://{}?json']\n\
         {sinks}",
        honest.display()
    ))
}

/// Does something with a running agent to its end: with the most memory that was resident
/// meanwhile, in KiB.
fn watched(running: Running, work: impl FnOnce(Running, Duration) -> Ended) -> (Ended, u64) {
    let resident = Resident::of(&running);
    (work(running, 3 * PATIENCE), resident.most())
}

/// Every case must be named with its reason when everything is checked, all at once.
fn refused_by_check(group: &str, cases: &[Case]) {
    let agent = agent(group, cases);
    let running = agent.start(agent.command(&["check"]), None);
    let (ended, resident) = watched(running, Running::ended);
    let ended = ended.code(78);
    for Case { name, reason, .. } in cases {
        let told = ended.stdout.lines().any(|line| line.contains(name) && line.contains(reason));
        assert!(told, "{name}: not {reason:?} in\n{}", ended.stdout);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_within(resident, "check", cases);
}

/// Every case must be ended with its reason, while the honest sink loses nothing.
fn ended_at_work(group: &str, cases: &[Case]) -> Ended {
    let agent = agent(group, cases);
    let (ended, resident) =
        watched(agent.run(), |running, patience| all_end(&agent, running, cases).ended(patience));
    let ended = ended.code(0);
    let ledger = ended.ledger();
    assert_eq!(ledger.transformer("rate_of_change").dropped, 0, "{ledger:?}");
    assert_eq!(ledger.sinks["honest"].pending, 0, "{ledger:?}");
    for Case { name, reason, .. } in cases {
        let told = ended.logged("component failed").into_iter().any(|line| {
            line["component"] == *name && line["reason"].as_str().unwrap().contains(reason)
        });
        let lines = ended.stderr.lines().filter(|line| line.contains(name));
        let lines: String = lines.take(5).map(|line| format!("{line}\n")).collect();
        assert!(told, "{name}: not {reason:?} in\n{lines}");
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.len() < 4 << 20, "{} bytes of log", ended.stderr.len());
    assert_within(resident, "run", cases);
    ended
}

/// Waits until every case has been ended while the honest sink goes on, and asks the agent to end.
fn all_end(agent: &Agent, mut running: Running, cases: &[Case]) -> Running {
    running.wait_for_cycles(2);
    eventually("an end for each", PATIENCE, || {
        let said = running.stderr();
        cases.iter().all(|case| reasons(&said, case.name)).then_some(())
    });
    // What comes after them is still worked on.
    let before = honest(agent);
    running.wait_for_cycles(2);
    eventually("the honest sink's samples", PATIENCE, || (honest(agent) > before).then_some(()));
    running.terminate();
    running
}

fn reasons(log: &str, name: &str) -> bool {
    log.lines().any(|line| line.contains("component failed") && line.contains(&format!("{name:?}")))
}

fn honest(agent: &Agent) -> usize {
    ndjson(&fs::read_to_string(agent.folder.at("honest")).unwrap_or_default()).len()
}

#[test]
fn files_that_are_not_of_the_contract_are_refused() {
    let good = transformer(&[]);
    let text = |text: &str| wat::parse_str(text).unwrap();
    refused_by_check(
        "files",
        &[
            case("is-text", b"(component)".to_vec(), "text"),
            case("is-core", text("(module)"), "core module"),
            case("is-cut", good[..good.len() / 2].to_vec(), "cannot be compiled"),
            case("is-empty", Vec::new(), "empty"),
            case("exports-nothing", text("(component)"), "exports nothing"),
            case(
                "imports-files",
                text(
                    "(component (import \"wasi:filesystem/preopens@0.2.0\" (instance \
                     (export \"get\" (func)))))",
                ),
                "wasi:filesystem/preopens@0.2.0",
            ),
            case(
                "of-another-version",
                text(
                    "(component (import \"nephometer:metering/log@0.9.0\" (instance \
                     (export \"write\" (func)))))",
                ),
                "built for version",
            ),
            case("is-deep", nested(2_000), "component_nesting"),
        ],
    );
}

/// Components within components. The parser of text refuses to go so deep.
fn nested(depth: usize) -> Vec<u8> {
    let header = b"\0asm\x0d\0\x01\0";
    let mut component = header.to_vec();
    for _ in 0..depth {
        let mut outer = header.to_vec();
        outer.push(4);
        // The length, seven bits a byte, the lowest first.
        let mut length = component.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.append(&mut component);
        component = outer;
    }
    component
}

#[test]
fn what_is_too_large_before_it_runs_is_refused() {
    let memories: String = (0..100).map(|_| "(memory 1)").collect();
    let modules: String = (0..100)
        .map(|i| format!("(core module $m{i} (memory 1)) (core instance (instantiate $m{i}))"))
        .collect();
    refused_by_check(
        "large",
        &[
            case("memory-of-4-gib", transformer(&[("MEMORY", "65536")]), "limits.memory"),
            case("many-memories-in-one", transformer(&[("MORE", &memories)]), "cannot be compiled"),
            case("many-memories", wrapped_with(&modules), "core instances"),
            case("many-types", many_types(), "cannot be compiled"),
            case("large-jumps", large_jumps(), "cannot be compiled"),
            case("large-table", transformer(&[("MORE", "(table 10000000 funcref)")]), "elements"),
        ],
    );
}

/// A module with more types than a module may have.
fn many_types() -> Vec<u8> {
    let types = "(type (func))".repeat(1_000_001);
    wrapped_with(&format!("(core module $types {types})"))
}

/// A jump to more places than one may have.
fn large_jumps() -> Vec<u8> {
    let places = "0 ".repeat(8_000_000);
    transformer(&[("MORE", &format!("(func (param i32) (br_table {places} (local.get 0)))"))])
}

/// A good transformer with more in the component around it.
fn wrapped_with(more: &str) -> Vec<u8> {
    wrapped(&format!("{}\n{more}", core(&[])))
}

#[test]
fn what_never_ends_before_it_works_is_ended() {
    let cpu = "limits.cpu";
    refused_by_check(
        "loops-early",
        &[
            case("spins-at-start", transformer(&[("INITIALIZE", "(call $spin)")]), cpu),
            case("spins-in-describe", transformer(&[("DESCRIBE", "(call $spin)")]), cpu),
            case("spins-in-configure", transformer(&[("CONFIGURE", "(call $spin)")]), cpu),
            case("chats-in-configure", transformer(&[("CONFIGURE", "(call $chatter)")]), cpu),
            case("spins-in-realloc", transformer(&[("REALLOC", "(call $spin)")]), cpu),
            case(
                "realloc-outside",
                transformer(&[("REALLOC", "(return (i32.const -16))")]),
                "beyond end of memory",
            ),
            case(
                "traps-in-configure",
                transformer(&[("CONFIGURE", "(unreachable)")]),
                "unreachable",
            ),
            case("traps-in-describe", transformer(&[("DESCRIBE", "(unreachable)")]), "unreachable"),
        ],
    );
}

/// A description whose options-schema is `schema` and `fill` blanks behind it.
fn schema(schema: &str, fill: u32) -> Vec<u8> {
    let length = u32::try_from(schema.len()).unwrap() + fill;
    let pages = (131_072 + length).div_ceil(65_536) + 1;
    let quoted = schema.replace('\\', r"\5c").replace('"', "\\22");
    transformer(&[
        ("MEMORY", &pages.to_string()),
        ("MORE", &format!("(data (i32.const 131072) \"{quoted}\")")),
        ("SCHEMA", &words(&[131_072, length])),
        (
            "INITIALIZE",
            &format!(
                "(memory.fill (i32.const {}) (i32.const 32) (i32.const {fill}))",
                131_072 + schema.len()
            ),
        ),
    ])
}

#[test]
fn schemas_that_attack_are_refused() {
    let doubling = {
        let levels: Vec<String> = (0..40)
            .map(|i| {
                let next = i + 1;
                format!(
                    r##""l{i}":{{"allOf":[{{"$ref":"#/$defs/l{next}"}},{{"$ref":"#/$defs/l{next}"}}]}}"##
                )
            })
            .collect();
        format!(
            r##"{{"$ref":"#/$defs/l0","$defs":{{{},"l40":{{"required":["x"]}}}}}}"##,
            levels.join(",")
        )
    };
    refused_by_check(
        "schemas",
        &[
            case("large-schema", schema("{}", 1 << 20), "schema_bytes"),
            case("huge-schema", schema("{}", 20 << 20), "limits.returned").with(32),
            case(
                "schema-elsewhere",
                schema(r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#, 0),
                "options-schema cannot be used",
            ),
            case(
                "schema-of-a-file",
                schema(r#"{"$ref":"file:///etc/passwd"}"#, 0),
                "options-schema cannot be used",
            ),
            case(
                "schema-with-look-behind",
                schema(r#"{"patternProperties":{"(?<=a)b":{}}}"#, 0),
                "options-schema cannot be used",
            ),
            case("schema-that-doubles", schema(&doubling, 0), "options-schema"),
            case("schema-of-itself", schema(r##"{"$ref":"#"}"##, 0), "options-schema"),
            case("schema-is-no-json", schema("{", 0), "not JSON"),
        ],
    );
}

#[test]
fn what_never_ends_at_work_is_ended() {
    let cpu = "limits.cpu";
    ended_at_work(
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
            .with(32),
            case("spins-afterwards", transformer(&[("POST", "(call $spin)")]), cpu),
            case("chats", transformer(&[("TRANSFORM", "(call $chatter)")]), cpu),
            case("fills", transformer(&[("MEMORY", "480"), ("TRANSFORM", "(call $fill)")]), cpu)
                .with(32),
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

/// `keep` of a list at this address with so many entries.
fn keeping(address: u32, count: u32) -> Vec<u8> {
    transformer(&[("TRANSFORM", &keep((address, count)))])
}

/// A refusal with a text at this address with so many bytes.
fn rejected(address: u32, length: u32) -> Vec<u8> {
    transformer(&[("TRANSFORM", &refusal(address, length))])
}

/// Instructions that answer a batch with a refusal.
fn refusal(address: u32, length: u32) -> String {
    stores(&[
        (TRANSFORMED, 1),
        (TRANSFORMED + 4, 0),
        (TRANSFORMED + 8, address),
        (TRANSFORMED + 12, length),
    ])
}

/// A refusal in this encoding with a text that is no UTF-16.
fn lone_surrogate(encoding: &str, length: u32) -> Vec<u8> {
    let data = "(data (i32.const 4096) \"\\00\\d8\\41\\00\")";
    wrapped_encoding(encoding, &core(&[("MORE", data), ("TRANSFORM", &refusal(4096, length))]))
}

/// An answer with so many new meters, each with a name of `length` bytes, all in one place.
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

/// Answers with an address beyond the memory.
const OUTSIDE: &str = "(return (i32.const -4))";

#[test]
fn answers_that_lie_are_refused() {
    ended_at_work(
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
                // The highest bit of the length says that this one is UTF-16.
                lone_surrogate("latin1+utf16", 0x8000_0002),
                "unpaired surrogate",
            ),
            case("many-texts", aliased(1_200_000, 1), "limits.returned").with(32),
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
            case("aliased-texts", aliased(100_000, 60_000), "limits.returned").with(4),
            case("answer-outside", transformer(&[("TRANSFORM", OUTSIDE)]), "bounds"),
        ],
    );
}

#[test]
fn a_state_that_cannot_be_had_is_done_without() {
    // The state is asked for after 256 batches.
    let large = stores(&[(SAVED + 4, 65_536), (SAVED + 8, 70 << 20)]);
    let cases = [
        case("spins-in-save", transformer(&[("SAVE", "(call $spin)")]), "cpu"),
        case("large-state", transformer(&[("MEMORY", "1200"), ("SAVE", &large)]), "state_bytes"),
    ];
    let agent = agent("save", &cases);
    let agent = agent.set("components.by_name.large-state.limits.memory", "128MiB");
    let reads: Vec<u64> = (1..=260).collect();
    let uri = recording(&agent, &reads);
    let ended = agent.libvirt(&uri).execute(&["run", "--log-format", "json"]).code(0);
    for Case { name, reason, .. } in &cases {
        let hits = ended.logged("component limit exceeded");
        let told = hits.iter().any(|line| {
            line["component"] == *name && line["call"] == "save" && line["limit"] == *reason
        });
        assert!(told, "{name}: {hits:?}");
    }
    // Neither has cost a row.
    let ledger = ended.ledger();
    assert!(ledger.sinks.values().all(|sink| sink.dropped == 0 && sink.pending == 0), "{ledger:?}");
}

#[test]
fn what_cannot_be_compiled_is_tried_once_until_it_changes() {
    let memories: String = (0..100).map(|_| "(memory 1)").collect();
    let cases = [case("never", transformer(&[("MORE", &memories)]), "")];
    let agent = agent("never", &cases);
    let running = agent.run();
    let tries = || running.logged("component compilation failed").len();
    eventually("the first attempt", PATIENCE, || (tries() == 1).then_some(()));
    for reload in 1..=3 {
        running.signal(Signal::HUP);
        eventually("a reload that says so", PATIENCE, || {
            (running.logged("reload refused").len() >= reload).then_some(())
        });
    }
    assert_eq!(tries(), 1, "what is known is not compiled again");
    let other = transformer(&[("MORE", &format!("{memories}(memory 1)"))]);
    let file = agent.folder.at("hostile/never.wasm");
    fs::write(&file, other).unwrap();
    eventually("an attempt with the other content", PATIENCE, || (tries() == 2).then_some(()));
    running.terminate();
    running.ended(PATIENCE);
}

#[test]
fn a_restore_that_never_ends_is_ended() {
    let cases = [case(
        "spins-in-restore",
        // The state is saved after 256 batches; what comes then needs it back.
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

/// A component with so many functions, each of which takes the compiler the better part of a
/// second.
fn bomb(functions: usize) -> Vec<u8> {
    let operations = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (local.get 0)))";
    let operations = operations.repeat(200_000);
    let function = format!("(func (param i32) (result i32) {operations} (local.get 0))");
    transformer(&[("MORE", &function.repeat(functions))])
}

#[test]
fn a_compile_bomb_costs_the_compiler_only() {
    let cases = [case("bomb", bomb(1), "")];
    let agent = agent("bomb", &cases);
    let running = agent.start(agent.command(&["check"]), None);
    let (ended, resident) = watched(running, Running::ended);
    // A compiler that is quick enough may well make something of it.
    assert!(matches!(ended.status.code(), Some(0 | 78)), "{ended:?}");
    assert_within(resident, "check", &cases);
}

/// The processes that this one has started and that live.
fn children(of: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_compiler_limits_itself_and_ends_with_the_agent() {
    let cases = [case("bomb", bomb(5), "")];
    let agent = agent("orphan", &cases);
    let running = agent.start(agent.command(&["check"]), None);
    let limited = |pid: &i32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        ["Max cpu time", "Max address space", "Max file size"].iter().all(|name| {
            limits.lines().any(|line| line.starts_with(name) && !line.contains("unlimited"))
        })
    };
    let pid = running.pid().as_raw_nonzero().get();
    let child =
        eventually("a compiler with limits", PATIENCE, || children(pid).into_iter().find(limited));
    let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
    assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    running.signal(Signal::KILL);
    eventually("the end of the compiler", PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Its new parent may be slow to bury it.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}
