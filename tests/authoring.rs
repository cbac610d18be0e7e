//! Tests of the tools for authors: new projects in each language, errors of misbehaving components,
//! takeover between languages, and recordings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Agent, Ended, PATIENCE, Server, eventually, ndjson, number, root, text};

/// The tariff component in a language, from `make test-languages`.
pub(crate) fn tariff(language: &str) -> PathBuf {
    let file = root().join(format!("target/languages/tariff-{language}.wasm"));
    assert!(file.is_file(), "{} is missing: run `make test`", file.display());
    file.canonicalize().unwrap()
}

const LANGUAGES: [&str; 7] = ["rust", "c", "js", "ts", "python", "go", "zig"];
const TARIFFS: [&str; 6] = ["rust", "c", "javascript", "python", "go", "zig"];

/// Sets the paths of the installed test tools, before those of the machine.
fn with_tools(command: &mut Command, agent: &Agent) {
    let tools = root().join("target/tools").canonicalize().unwrap();
    let agents = PathBuf::from(env!("CARGO_BIN_EXE_nephometer"));
    let mut path = vec![agents.parent().unwrap().to_owned()];
    path.extend(["node", "python"].map(|name| tools.join(name).join("bin")));
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    command
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("ZIG", tools.join("zig/bin/python-zig"))
        .env("ZIG_GLOBAL_CACHE_DIR", tools.join("zig-cache"))
        .env("GO", tools.join("go/bin/go"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("CARGO_TARGET_DIR")
        .env("NEPHOMETER_STORE__PATH", agent.folder.at("store"))
        .env("NEPHOMETER_CACHE__PATH", agent.folder.at("cache"));
}

/// Runs a command without configuration.
fn run_plain(agent: &Agent, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(arguments).current_dir(agent.folder.path());
    agent.start(command, None).ended(PATIENCE)
}

/// Creates a project that shares the downloaded packages of the examples.
fn project(agent: &Agent, language: &str) -> PathBuf {
    new_project(agent, &format!("scale-{language}"), language, "transformer")
}

fn new_project(agent: &Agent, name: &str, language: &str, kind: &str) -> PathBuf {
    run_plain(agent, &["component", "new", name, "--lang", language, "--kind", kind]).code(0);
    let folder = agent.folder.at(name);
    if matches!(language, "js" | "ts") {
        let modules = root().join("target/tools/javascript/node_modules");
        std::os::unix::fs::symlink(modules.canonicalize().unwrap(), folder.join("node_modules"))
            .unwrap();
    }
    if language == "rust" {
        share_target(&folder);
    }
    folder
}

/// Shares the target folder, in which the standard library for wasm and the crates are compiled.
fn share_target(project: &Path) {
    let target = root().join("guest-examples/target").canonicalize().unwrap();
    std::os::unix::fs::symlink(target, project.join("target")).unwrap();
}

/// Runs `make` in a folder and returns its output.
fn make(agent: &Agent, folder: &Path, goal: &str) -> String {
    let mut command = Command::new("make");
    command.arg(goal).current_dir(folder);
    with_tools(&mut command, agent);
    let done = command.output().unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "make {goal} in {}:\n{printed}", folder.display());
    printed
}

#[test]
fn a_new_project_builds_passes_its_tests_and_runs_in_every_language() {
    let agent = Agent::new("authoring-new");
    for language in LANGUAGES {
        let folder = project(&agent, language);
        let printed = make(&agent, &folder, "test");
        assert!(printed.contains("ok: fixtures/scale.json"), "{language}: {printed}");
        assert!(printed.contains("ok: fixtures/no-factor.json"), "{language}: {printed}");
        let printed = make(&agent, &folder, "run");
        let rows = printed.lines().filter(|line| line.starts_with("scaled ")).count();
        assert!(rows > 20, "{language}: {printed}");
        assert!(printed.contains(&format!("scale-{language}.rows")), "{language}: {printed}");
    }
}

#[test]
fn publishers_without_a_template_or_with_a_built_in_name_are_refused() {
    let agent = Agent::new("authoring-publisher");
    let new = |name: &str, language: &str| {
        run_plain(&agent, &["component", "new", name, "--lang", language, "--kind", "publisher"])
    };
    new("other", "c").code(64).reports("no template for a publisher in C");
    new("udp", "rust").code(64).reports("udp:// is a built-in publisher");
}

/// Builds and tests a new publisher, and sends to a receiver that accepts the second attempt.
fn a_new_publisher_sends(language: &str) {
    let name = format!("poster-{language}");
    let agent = Agent::new(&format!("authoring-{name}"));
    let folder = new_project(&agent, &name, language, "publisher");
    let printed = make(&agent, &folder, "test");
    assert!(printed.contains(&format!("ok: publisher {name}")), "{language}: {printed}");
    let receiver = Server::receiver("503,200");
    let url = format!("{name}://127.0.0.1:{}/samples?timeout=20", receiver.port);
    let file = format!("file://{}?json", agent.folder.at("file").display());
    let agent = agent
        .set("components.path", json!([folder]))
        .set("shutdown_grace", "30s")
        .everything_to(&[&url, &file]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    let published = ndjson(&fs::read_to_string(agent.folder.at("file")).unwrap());
    let ids = |samples: &[Value]| -> Vec<String> {
        samples.iter().map(|one| text(one, "id").to_owned()).collect()
    };
    assert!(published.len() > 20, "{language}: {} samples", published.len());
    assert_eq!(ids(&receiver.accepted()), ids(&published), "{language}");
    let received = receiver.received();
    let key = |index: usize| received[index]["headers"]["idempotency-key"].clone();
    assert_eq!((&received[0]["status"], key(0)), (&json!(503), key(1)), "{language}");
}

#[test]
fn a_new_publisher_in_rust_sends() {
    a_new_publisher_sends("rust");
}

#[test]
fn a_new_publisher_in_javascript_sends() {
    a_new_publisher_sends("js");
}

#[test]
fn a_new_publisher_in_typescript_sends() {
    a_new_publisher_sends("ts");
}

#[test]
fn a_new_publisher_in_python_sends() {
    a_new_publisher_sends("python");
}

#[test]
fn a_new_publisher_in_go_sends() {
    a_new_publisher_sends("go");
}

#[test]
fn mistakes_are_reported_with_a_remedy() {
    let agent = Agent::new("authoring-mistakes");
    let new = |name: &str, language: &str| {
        run_plain(&agent, &["component", "new", name, "--lang", language])
    };
    new("twice", "c").code(0);
    new("twice", "go").code(64).reports("already exists");
    new("9lives", "c").code(64).reports("start with a letter");
    let influx = crate::harness::component("influx");
    let run = ["component", "run", influx.to_str().unwrap()];
    agent.execute(&run).code(78).reports("is a publisher; list it under `publishers`");
    new("x", "cobol").code(64).reports("possible values");
    run_plain(&agent, &["component", "build"]).code(64).reports("component new NAME --lang");
    let project = agent.folder.at("twice");
    let build = |agent: &Agent, path: &str| -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(["component", "build"]).arg(&project).env("PATH", path);
        agent.start(command, None).ended(PATIENCE)
    };
    build(&agent, "/nowhere").code(69).reports("clang-19 is missing; on Debian: apt-get install");
    let path = std::env::var("PATH").unwrap();
    let source = project.join("component.c");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("one->rows++;", "one->rows++")).unwrap();
    build(&agent, &path).code(1).reports("component.c:").reports("failed");
    let mut stateless = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    stateless.args(["component", "build", "--world", "transformer"]).arg(&project);
    agent.start(stateless, None).ended(PATIENCE).code(64).reports("omits `.flush`");
    // A transformer that prints to standard output.
    fs::write(
        &source,
        text.replace("one->rows++;", "puts(\"row\");")
            .replace("#include <std", "#include <stdio.h>\n#include <std"),
    )
    .unwrap();
    build(&agent, &path).code(1).reports("wasi_snapshot_preview1");
}

/// The file of a template, a line of it, and code to insert before that line: factors of 13, 14 and
/// 15 loop for ever, exhaust the memory, and return a malformed answer.
fn misbehaviour(language: &str) -> (&'static str, &'static str, &'static str) {
    match language {
        "rust" => (
            "src/lib.rs",
            "        for row in rows(input) {",
            "        if self.factor == 13.0 { loop { std::hint::black_box(()); } }\n\
             \x20       if self.factor == 14.0 { let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 20]); std::hint::black_box(&all); } }\n\
             \x20       if self.factor == 15.0 { let meter = 0; for row in rows(input) { answer.derive(&row, meter, f64::NAN); } }\n",
        ),
        "c" => (
            "component.c",
            "    nm_rows rows = nm_rows_of(batch);",
            "    for (volatile int one_more = 1; one->factor == 13 && one_more;)\n        ;\n\
             \x20   while (one->factor == 14)\n        ((volatile char *)nm_resize(NULL, 1, 1 << 20))[0] = 1;\n\
             \x20   if (one->factor == 15)\n        nm_answer_create(&answer, 0, 0, 0, 0.0 / 0.0);\n",
        ),
        "js" => (
            "transformer.js",
            "    for (const row of rows(batch)) {",
            "    while (this.factor === 13);\n\
             \x20   for (const all = []; this.factor === 14; ) all.push(new Uint8Array(1 << 20).fill(1));\n\
             \x20   if (this.factor === 15) answer.create(0, 0, 0n, NaN);\n",
        ),
        "python" => (
            "transformer.py",
            "        for row in rows(batch):",
            "        while self.factor == 13:\n            pass\n\
             \x20       hoard = []\n        while self.factor == 14:\n            hoard.append(bytearray(b'x' * (1 << 20)))\n\
             \x20       if self.factor == 15:\n            answer.create(0, 0, 0, float('nan'))\n",
        ),
        "go" => (
            "transformer.go",
            "	for row := range nephometer.Rows(batch) {",
            "	for s.factor == 13 {\n	}\n	var hoard [][]byte\n	for s.factor == 14 {\n		hoard = append(hoard, make([]byte, 1<<20))\n		hoard[len(hoard)-1][0] = byte(len(hoard))\n	}\n\
             	if s.factor == 15 {\n		nan := s.factor - 15\n		answer.Create(0, 0, 0, nan/nan)\n	}\n",
        ),
        "zig" => (
            "transformer.zig",
            "        var rows = batch.rows();",
            "        while (self.factor == 13) std.mem.doNotOptimizeAway(self);\n\
             \x20       while (self.factor == 14) std.mem.doNotOptimizeAway((try call.arena.alloc(u8, 1 << 20)).ptr);\n\
             \x20       if (self.factor == 15) try answer.create(0, 0, 0, std.math.nan(f64));\n",
        ),
        other => panic!("no misbehaviour in {other}"),
    }
}

#[test]
fn misbehaving_components_are_reported_in_every_language() {
    let mut agent = Agent::new("authoring-misdeeds");
    let sample = json!({"name": "a", "type": "gauge", "unit": "", "volume": 1, "resource_id": "r",
        "timestamp": "2026-03-01T10:00:00"});
    // TypeScript runs in the engine of JavaScript.
    for language in LANGUAGES.into_iter().filter(|one| *one != "ts") {
        let folder = project(&agent, language);
        let (file, before, code) = misbehaviour(language);
        let file = folder.join(file);
        let source = fs::read_to_string(&file).unwrap();
        assert!(source.contains(before), "{language}: the template has no {before:?}");
        fs::write(&file, source.replacen(before, &format!("{code}{before}"), 1)).unwrap();
        make(&agent, &folder, "build");
        let name = format!("scale-{language}");
        let component = folder.join(format!("{name}.wasm"));
        // A slow machine needs more than a second until an interpreter has filled its memory.
        for (factor, time, reason) in [
            (13, "1s", ".limits.cpu"),
            (14, "60s", ".limits.memory"),
            (15, "60s", "malformed answer to transform"),
        ] {
            agent = agent.set(&format!("components.by_name.{name}.limits.cpu"), time);
            let fixture =
                json!({"options": {"factor": factor}, "steps": [{"batch": [sample], "out": []}]});
            let fixture = agent.folder.write(&format!("{factor}.json"), fixture.to_string());
            let test =
                ["component", "test", component.to_str().unwrap(), fixture.to_str().unwrap()];
            let ended = agent.execute(&test).code(1).reports(reason);
            assert!(!ended.stderr.contains("panicked at host"), "{language}: {}", ended.stderr);
        }
    }
}

#[test]
fn the_tariff_passes_its_fixtures_in_every_language() {
    let agent = Agent::new("authoring-tariff");
    let fixtures = root().join("guest-examples/tariff/fixtures");
    for language in TARIFFS {
        let (file, fixtures) = (tariff(language), fixtures.to_str().unwrap());
        let ended = agent.execute(&["component", "test", file.to_str().unwrap(), fixtures]).code(0);
        assert_eq!(ended.stdout.matches("ok: ").count(), 6, "{language}: {}", ended.stdout);
    }
    let inspected = |language: &str| {
        agent.execute(&["component", "inspect", tariff(language).to_str().unwrap()]).code(0)
    };
    inspected("go").reports("language: Go").reports("processed-by: Go cmd/compile");
    inspected("c").reports("language: C11").reports("wit-bindgen-c");
}

/// Built by public tools alone: docs/language-without-template.md.
#[test]
fn a_component_without_template_and_library_passes_its_fixture() {
    let agent = Agent::new("authoring-assemblyscript");
    let component = root().join("target/languages/drop_zero.wasm");
    assert!(component.is_file(), "{} is missing: run `make test`", component.display());
    let fixture = root().join("guest-examples/drop_zero-assemblyscript/fixture.json");
    let test = ["component", "test", component.to_str().unwrap(), fixture.to_str().unwrap()];
    agent.execute(&test).code(0).reports("ok: ");
    let inspect = ["component", "inspect", component.to_str().unwrap()];
    agent.execute(&inspect).code(0).reports("transformer without state");
}

#[test]
fn one_language_takes_over_from_the_other_with_its_state() {
    let agent = Agent::new("authoring-reload").everything_to(&["file:///dev/null"]);
    let folder = agent.folder.at("components");
    fs::create_dir(&folder).unwrap();
    let put = |language: &str| {
        let new = folder.join("tariff.new");
        fs::copy(tariff(language), &new).unwrap();
        fs::rename(new, folder.join("tariff.wasm")).unwrap();
    };
    put("rust");
    // The first poll finds the project id of a simulated domain.
    let raw = agent.execute(&["once", "--raw", "--format", "ndjson"]);
    let project = ndjson(&raw.stdout)
        .into_iter()
        .find_map(|one| one["project_id"].as_str().map(str::to_owned));
    let prices = json!({ project.expect("a project"): [{"from": 0, "to": 24, "price": 1000}] });
    let parameters = json!({ "currency": "EUR", "prices": prices });
    let out = agent.folder.at("out");
    let delta = root().join("target/components").canonicalize().unwrap();
    let agent = agent.set("components.path", json!([folder, delta])).through(
        &format!("[{{name: delta, parameters: {{target: {{name: cpu}}}}}}, {{name: tariff, parameters: {parameters}}}]"),
        &[&format!("file://{}?json", out.display())],
    );
    let running = agent.run();
    let totals = |at_least: usize| {
        eventually("totals", PATIENCE * 2, || {
            let all = ndjson(&fs::read_to_string(&out).unwrap_or_default());
            let totals: Vec<Value> =
                all.into_iter().filter(|one| text(one, "name") == "cost.total").collect();
            (totals.len() >= at_least).then_some(totals)
        })
    };
    let mut count = totals(2).len();
    for (number, language) in
        ["c", "go", "zig", "python", "javascript", "rust"].into_iter().enumerate()
    {
        put(language);
        eventually("the reload", PATIENCE * 2, || {
            (running.logged("transformers replaced").len() > number).then_some(())
        });
        count = totals(count + 2).len();
    }
    running.stop().code(0);
    let volumes: Vec<f64> = totals(count).iter().map(number).collect();
    assert!(volumes.is_sorted() && volumes.first() < volumes.last(), "{volumes:?}");
}

#[test]
fn a_replay_is_reproducible_and_shows_the_first_sample_that_differs() {
    let agent = Agent::new("authoring-recording").through(
        "[{name: rate_of_change, parameters: {source: {map_from: {name: cpu}}, target: {name: rate, type: gauge, unit: '%'}}}]",
        &["file:///dev/null"],
    );
    let file = agent.folder.at("recording").display().to_string();
    agent
        .execute(&["record", &file, "--samples", "3", "--every", "200ms"])
        .code(0)
        .reports("3 batches");
    let first = agent.execute(&["replay", &file]).code(0).stdout;
    assert!(first.contains("\"rate\""), "{first}");
    assert_eq!(agent.execute(&["replay", &file]).code(0).stdout, first);

    // Two implementations of a component, and two sets of options.
    let (rust, c) = (tariff("rust"), tariff("c"));
    let options = |price: f64| {
        let day = json!([{"from": 0, "to": 24, "price": price}]);
        json!({"currency": "EUR", "prices": {"none": day}}).to_string()
    };
    let (rust, c) = (rust.to_str().unwrap(), c.to_str().unwrap());
    let alike = ["replay", &file, "--component", rust, "--options", &options(1.0), "--against", c];
    let bare = Agent::new("authoring-recording-components");
    bare.execute(&alike).code(0).reports("ok: identical output, 3 batches");
    let scaled = crate::harness::component("unit_conversion");
    let scaled = scaled.to_str().unwrap();
    let by = |scale: &str| json!({"target": {"name": "x", "scale": scale}}).to_string();
    let (one, other) = (by("volume * 2"), by("volume * 3"));
    let unlike = [
        "replay",
        &file,
        "--component",
        scaled,
        "--options",
        &one,
        "--against",
        scaled,
        "--against-options",
        &other,
    ];
    bare.execute(&unlike).code(1).reports("batch 1").reports("sample 1 of").reports("in volume");

    two_configurations_on_one_recording(&agent, &file);

    // `run` records, too.
    let mut running = agent.start(
        agent.command(&["run", "--record", &file, "--log-format", "json", "--log", "debug"]),
        None,
    );
    running.wait_for_cycles(2);
    running.stop().code(0);
    agent
        .execute(&["component", "run", rust, "--options", &options(1.0), "--recording", &file])
        .code(0);
}

fn two_configurations_on_one_recording(agent: &Agent, file: &str) {
    let pipeline = fs::read_to_string(agent.folder.at("pipeline.yaml")).unwrap();
    let changed =
        agent.folder.write("changed.yaml", pipeline.replace("rate, type", "velocity, type"));
    let changed = changed.to_str().unwrap();
    agent.execute(&["replay", file, "--against", changed]).code(1).reports("in name");
    let same = agent.folder.at("pipeline.yaml").display().to_string();
    agent.execute(&["replay", file, "--against", &same]).code(0).reports("ok: identical output");
    // A sink that only one pipeline has would not be compared.
    let more = agent.folder.write(
        "more.yaml",
        pipeline
            .replace(
                "sinks: [{name: out",
                "sinks: [{name: extra, publishers: ['file:///dev/null']}, {name: out",
            )
            .replace("sinks: [out]", "sinks: [out, extra]"),
    );
    agent
        .execute(&["replay", file, "--against", more.to_str().unwrap()])
        .code(64)
        .reports("only the second pipeline has the sink \"extra\"");
    // A new recording replaces the previous one.
    agent.execute(&["record", file, "--samples", "1"]).code(0).reports("1 batches");
    agent
        .execute(&["record", "/nowhere/file", "--samples", "1"])
        .code(64)
        .reports("cannot write the recording /nowhere/file");
    agent.folder.write("nonsense", "no recording\n");
    agent
        .execute(&["replay", &agent.folder.at("nonsense").display().to_string()])
        .code(64)
        .reports("nonsense:1");
}

#[test]
fn a_failing_batch_is_kept_as_a_fixture_that_reproduces_the_failure() {
    let agent = Agent::new("authoring-failure")
        .set("components.by_name.misbehaving", json!({"on_error": "drop"}))
        .through(
            "[{name: misbehaving, parameters: {mode: trap-transform}}]",
            &["file:///dev/null"],
        );
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let kept = ended.logged("failed input saved as a fixture");
    let fixture = text(&kept[0], "fixture");
    let component = crate::harness::component("misbehaving");
    let test = ["component", "test", component.to_str().unwrap(), fixture];
    agent.execute(&test).code(1).reports("this mode traps").reports("misbehaving");
}
