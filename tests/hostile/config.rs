//! Malicious configuration files: each replaces `pipeline.yaml` of a running agent. A limit refuses
//! each of them before any costly work, and the sinks continue unchanged.

use std::fs;
use std::path::Path;

use super::honest_samples;
use super::parts::{stores, transformer, words};
use crate::harness::{Agent, PATIENCE, Running, eventually};

/// Memory in KiB that a file may cost beyond that of the agent without it.
const BEYOND: u64 = 64 << 10;
/// Maximum length in bytes of a log line and of an answer.
const LINE: usize = 32 << 10;

/// Number of errors of the component that has many.
const ERRORS: u32 = 60_000;

/// One component accepts only numbers as options; another refuses all options with many errors.
fn components(folder: &Path) {
    let schema = r#"{"additionalProperties":{"type":"integer"}}"#;
    let length = u32::try_from(schema.len()).unwrap();
    let data = format!("(data (i32.const 4096) {schema:?})");
    let place = words(&[4_096, length]);
    let strict = transformer(&[("MORE", &data), ("SCHEMA", &place)]);
    fs::write(folder.join("strict.wasm"), strict).unwrap();
    // Each error has two texts, which share the same bytes.
    let end = 65_536 + 16 * ERRORS;
    let fill = format!(
        "(global.set $heap (i32.const 65536))
         (loop $next
           (i64.store (global.get $heap) (i64.const {text}))
           (i64.store offset=8 (global.get $heap) (i64.const {text}))
           (global.set $heap (i32.add (global.get $heap) (i32.const 16)))
           (br_if $next (i32.lt_u (global.get $heap) (i32.const {end}))))",
        text = (7_u64 << 32) | 2_048,
    );
    let answer = stores(&[(1_088, 1), (1_092, 65_536), (1_096, ERRORS)]);
    let wordy = transformer(&[("CONFIGURE", &(fill + &answer)), ("MEMORY", "17")]);
    fs::write(folder.join("wordy.wasm"), wordy).unwrap();
}

/// The beginning of a valid pipeline with an honest sink.
fn good(agent: &Agent) -> String {
    format!(
        "sources: [{{name: all, interval: 1, meters: ['cpu'], sinks: [honest]}}]\n\
         sinks:\n\
         - name: honest\n\
         \x20 publishers: ['file://{}?json']\n",
        agent.folder.at("honest").display()
    )
}

/// Name, file, and the limit that refuses it.
fn cases(good: &str) -> Vec<(&'static str, String, &'static str)> {
    let lists =
        |level: u32| format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9));
    let deep = |level: u32| {
        format!("a{level}: &a{level} {}*a{}{}\n", "[".repeat(40), level - 1, "]".repeat(40))
    };
    let options: String = (0..20_000).map(|at| format!("      o{at}: secret-{at}\n")).collect();
    let with = |name: &str, options: &str| {
        format!("{good}  transformers:\n  - name: {name}\n    parameters:\n{options}")
    };
    vec![
        // Without this limit: 22 GB.
        (
            "aliases of a long text",
            format!("{good}x: [&x {}{}]\n", "x".repeat(450_000), ",*x".repeat(50_000)),
            "yaml_bytes",
        ),
        (
            "aliases of lists",
            format!("{good}a0: &a0 [x]\n{}", (1..12).map(lists).collect::<String>()),
            "yaml_values",
        ),
        // Each level nests deeper than the one before; without this limit the stack overflows.
        (
            "aliases of nested lists",
            format!("{good}a0: &a0 [x]\n{}", (1..60).map(deep).collect::<String>()),
            "yaml_depth",
        ),
        // Without this limit: more than a minute.
        (
            "many keys",
            format!("{good}{}", (0..150_000).map(|at| format!("k{at}: 1\n")).collect::<String>()),
            "yaml_values",
        ),
        (
            "lines that stand too far left",
            format!("{good}x:\n  y: [\n{}]\n", "z,\n".repeat(50_000)),
            "yaml_reads",
        ),
        ("a large file", format!("{good}# {}\n", "x".repeat(5 << 20)), "yaml_bytes"),
        (
            "many publishers",
            good.replace("publishers: [", &format!("publishers: [{}", "'test://',".repeat(30_000))),
            "pipeline_entries",
        ),
        (
            "many meters",
            good.replace("'cpu'", &(0..40_000).map(|at| format!("'m{at}.*',")).collect::<String>()),
            "settings_meters",
        ),
        (
            "a long URL",
            good.replace("file://", &format!("test://{}", "x".repeat(1 << 20))),
            "url_bytes",
        ),
        // Without this limit, 60,000 of them produce 7.6 MB of log and of answer.
        ("options that do not fit the schema", with("strict", &options), "more problems"),
        ("errors of the component", with("wordy", ""), "more problems"),
    ]
}

fn put(agent: &Agent, text: &str) {
    fs::rename(agent.folder.write("next.yaml", text), agent.folder.at("pipeline.yaml")).unwrap();
}

/// A field of `/proc/PID/status` in KiB.
fn kib(running: &Running, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", running.pid().as_raw_nonzero()));
    let text = text.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn oversized_files_are_refused_and_sinks_continue() {
    let agent = Agent::new("hostile-config");
    components(agent.folder.path());
    let folder = agent.folder.path().display().to_string();
    let agent = agent.set("components.path", serde_json::json!([folder]));
    let good = good(&agent);
    let agent = agent.pipeline(&good);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    // Baseline: an agent that has loaded a file once and compiled nothing.
    let idle = kib(&running, "VmRSS");
    let mut most = Vec::new();
    for (name, text, bound) in cases(&good) {
        put(&agent, &text);
        let reason = eventually(name, PATIENCE, || {
            let lines = running.logged("reload refused");
            let mut reasons = lines.iter().filter_map(|line| line["reason"].as_str());
            reasons.next_back().filter(|reason| reason.contains(bound)).map(str::to_owned)
        });
        assert!(reason.len() < LINE, "{name}: {} bytes", reason.len());
        let status = agent.execute(&["status"]);
        assert!(status.stdout.len() < LINE, "{name}: {} bytes", status.stdout.len());
        let shown = reason.contains("secret-") || status.stdout.contains("secret-");
        assert!(!shown, "{name}: {reason}");
        most.push((name, kib(&running, "VmHWM")));
        put(&agent, &good);
        let before = honest_samples(&agent);
        running.wait_for_cycles(1);
        eventually("the honest sink's samples", PATIENCE, || {
            (honest_samples(&agent) > before).then_some(())
        });
    }
    assert!(most.last().unwrap().1 < idle + BEYOND, "{idle} KiB without, then {most:?}");
    running.terminate();
    let ended = running.ended(PATIENCE).code(0);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let longest = ended.stderr.lines().map(str::len).max().unwrap();
    assert!(longest < LINE, "{longest} bytes in a line");
}

/// The first errors are printed with the number of the others, and without values of options.
#[test]
fn option_errors_are_kept_up_to_their_bound() {
    let agent = Agent::new("hostile-options");
    components(agent.folder.path());
    let folder = agent.folder.path().display().to_string();
    let agent = agent.set("components.path", serde_json::json!([folder]));
    let good = good(&agent);
    for (name, text, _) in cases(&good) {
        let all = match name {
            "options that do not fit the schema" => 20_000,
            "errors of the component" => ERRORS,
            _ => continue,
        };
        put(&agent, &text);
        let ended = agent.execute(&["check"]).code(78);
        let more = format!(
            "and {} more; option errors that are kept: {all}, at most 100 (option_errors)",
            all - 100
        );
        assert!(ended.stdout.contains(&more), "{name}: {}", ended.stdout);
        assert_eq!(ended.stdout.lines().count(), 101, "{name}");
        assert!(!ended.stdout.contains("secret-"), "{name}: {}", ended.stdout);
    }
}
