//! Components that attack their own compilation, and the memory and files that it leaves.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::compiler::{bomb, children};
use super::parts::{core, transformer, wrapped};
use super::{assert_refused_by_check, case};
use crate::authoring::tariff;
use crate::harness::{Agent, PATIENCE, Running, component, eventually, scaled};
use crate::reload::variant;

/// Modules with many tables, each with one element at its far end: 11 KB were 574 MB of compiled code.
fn many_tables(modules: usize, tables: usize) -> Vec<u8> {
    let module = |number: usize| {
        let all: String = (0..tables)
            .map(|table| {
                format!("(table $t{table} 1000000 funcref)(elem (table $t{table}) (i32.const 999999) func $f)")
            })
            .collect();
        format!("(core module $z{number} (func $f) {all})")
    };
    let more: String = (0..modules).map(module).collect();
    wrapped(&format!("{}\n{more}", core(&[])))
}

#[test]
fn oversized_compiled_code_is_refused() {
    let exports: String = (0..2_100).map(|_| "(core module)").collect();
    assert_refused_by_check(
        "compiling",
        &[
            case("many-tables", many_tables(2, 60), "component_elements"),
            case(
                "many-functions",
                transformer(&[("MORE", &"(func)".repeat(200_001))]),
                "component_functions",
            ),
            case("many-modules", wrapped(&format!("{}\n{exports}", core(&[]))), "component_parts"),
        ],
    );
}

/// An agent with an honest sink, and one whose component is to be replaced.
fn agent(name: &str, file: &[u8], options: &str) -> Agent {
    let agent = Agent::new(&format!("hostile-{name}")).set("shutdown_grace", "60s");
    let folder = agent.folder.at("components");
    fs::create_dir(&folder).unwrap();
    fs::copy(component("rate_of_change"), folder.join("rate_of_change.wasm")).unwrap();
    fs::write(folder.join("replaced.wasm"), file).unwrap();
    agent.set("components.path", json!([folder])).pipeline(&format!(
        "sources: [{{name: all, interval: 1, meters: [cpu], sinks: [honest, other]}}]\n\
         sinks:\n\
         - {{name: honest, transformers: [{{name: rate_of_change, parameters: {{target: {{name: x}}}}}}], publishers: ['file:///dev/null']}}\n\
         - {{name: other, transformers: [{{name: replaced, parameters: {options}}}], publishers: ['file:///dev/null']}}\n",
    ))
}

// A component of 9.5 MB held the compiler for 115 s, and all others with it.
#[test]
fn large_compilation_does_not_delay_a_small_one() {
    let long = bomb(6);
    assert!(long.len() > 1 << 20, "{} bytes are not long", long.len());
    let agent = agent("lanes", &long, "{}");
    let running = agent.run();
    let compiling = |running: &Running| !children(running.pid().as_raw_nonzero().get()).is_empty();
    eventually("a compiler at work", PATIENCE, || compiling(&running).then_some(()));
    eventually("the honest component", PATIENCE, || {
        let loaded = running.logged("component loaded");
        loaded.iter().any(|line| line["component"] == "rate_of_change").then_some(())
    });
    let done = running.logged("component compilation failed").len()
        + running.logged("component loaded").len();
    assert_eq!(done, 1, "the long one was still being compiled");
    running.signal(Signal::KILL);
    running.ended(PATIENCE);
}

/// What one process holds: resident KiB, descriptors, mappings.
fn holds(running: &Running) -> [usize; 3] {
    let proc = format!("/proc/{}", running.pid().as_raw_nonzero());
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let descriptors = fs::read_dir(format!("{proc}/fd")).unwrap().count();
    let maps = fs::read_to_string(format!("{proc}/maps")).unwrap().lines().count();
    [resident.trim().trim_end_matches(" kB").parse().unwrap(), descriptors, maps]
}

/// Languages with how often their component is replaced, in `make test` and in `make soak`.
const REPLACED: [(&str, usize, usize); 6] = [
    ("c", 50, 2_000),
    ("rust", 0, 2_000),
    ("zig", 0, 2_000),
    ("go", 0, 100),
    ("python", 0, 25),
    ("javascript", 0, 25),
];

// 200 reloads took 43 MB to 298 MB, 20 descriptors to 220 and 229 MB of cache; 1,000 took all descriptors.
#[test]
fn memory_of_replaced_components_is_released() {
    for (language, small, full) in REPLACED {
        let count = scaled(small, full);
        if count > 0 {
            replaced_often(language, count);
        }
    }
}

fn replaced_often(language: &str, count: usize) {
    let file = fs::read(tariff(language)).unwrap();
    let day = json!([{"from": 0, "to": 24, "price": 1.0}]);
    let options = json!({"currency": "EUR", "prices": {"none": day}}).to_string();
    let agent = agent(&format!("reloads-{language}"), &variant(&file, 0), &options);
    let place = agent.folder.at("components/replaced.wasm");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let before_any = running.logged("transformers replaced").len();
    let replace = |number: usize| {
        let beside = agent.folder.write("components/.new", variant(&file, number));
        fs::rename(beside, &place).unwrap();
        eventually("the new version at work", 4 * PATIENCE, || {
            let taken = running.logged("transformers replaced").len();
            (taken >= before_any + number).then_some(())
        });
    };
    let warm = count / 5;
    (1..=warm).for_each(replace);
    let before = holds(&running);
    (warm + 1..=count).for_each(replace);
    let after = holds(&running);
    let report =
        format!("{language}: resident KiB, descriptors, mappings: {before:?}, then {after:?}");
    assert!(after[0] < before[0] + (32 << 10), "{report}");
    assert!(after[1] < before[1] + 5, "{report}");
    assert!(after[2] < before[2] + 40, "{report}");
    let cached = fs::read_dir(agent.folder.at("cache/components")).unwrap().count();
    assert!(cached <= 64, "{language}: {cached} files in the cache");
    running.stop().code(0);
}

// "failed to make memory executable": no component could be loaded where systemd forbids it.
#[test]
fn components_load_without_permission_to_make_memory_executable() {
    let agent = agent("mdwe", &transformer(&[]), "{}");
    // prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN), which is kept over exec.
    let python = "import ctypes, os, sys\n\
                  libc = ctypes.CDLL(None, use_errno=True)\n\
                  if libc.prctl(65, 1, 0, 0, 0): sys.exit('prctl: ' + os.strerror(ctypes.get_errno()))\n\
                  os.execvp(sys.argv[1], sys.argv[1:])";
    for compiled in ["fresh", "from the cache"] {
        let script = "exec python3 -c \"$PROGRAM\" \"$@\"";
        let arguments = ["run", "--log-format", "json", "--log", "debug"];
        let mut command = agent.within(&["env"], script, &arguments);
        command.env("PROGRAM", python);
        let mut running = agent.start(command, None);
        running.wait_for_cycles(3);
        let ended = running.stop().code(0);
        assert_eq!(ended.logged("component loaded").len(), 2, "{compiled}: {}", ended.stderr);
        assert!(ended.ledger().sinks.values().all(|sink| sink.pending == 0), "{compiled}");
    }
}
