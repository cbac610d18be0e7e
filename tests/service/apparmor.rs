//! The profiles in `config/apparmor`: AppArmor's parser accepts them, and their rules cover what both
//! programs open, map, execute and connect to in a real run under `strace`. A kernel that enforces
//! profiles is not needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::json;

use crate::harness::{
    Agent, Collector, Folder, PATIENCE, Running, api_of, broker, closed_port, component,
    eventually, hypervisor, root,
};

const CALLS: &str = "open,openat,openat2,creat,execve,connect,bind,unlink,unlinkat,rename,renameat,\
                     renameat2,mkdir,mkdirat,mmap,flock,fcntl";

fn profile(name: &str) -> PathBuf {
    root().join("config/apparmor").join(name)
}

/// AppArmor's parser, which loads nothing into a kernel here.
fn parser(arguments: &[&str], profile: &Path) -> String {
    let mut command = Command::new("/sbin/apparmor_parser");
    let output = command.args(arguments).args(["--skip-kernel-load", "--skip-cache"]).arg(profile);
    let output = output.output().expect("apparmor_parser; install it with: scripts/install test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", profile.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The file rules of a profile.
struct Rules(Vec<(Regex, String)>);

impl Rules {
    fn read(name: &str) -> Self {
        let text = parser(&["--preprocess"], &profile(name));
        let variable = Regex::new(r"(?m)^@\{(\w+)\}\s*=\s*(.*)$").unwrap();
        let variables: HashMap<&str, String> = variable
            .captures_iter(&text)
            .map(|found| {
                let (_, [name, values]) = found.extract();
                // A slash follows each use.
                let values: Vec<&str> =
                    values.split_whitespace().map(|value| value.trim_end_matches('/')).collect();
                (name, format!("{{{}}}", values.join(",").replace('"', "")))
            })
            .collect();
        let rule = Regex::new(r"(?m)^\s*(?:owner\s+)?([/@]\S+)\s+([rwklmaix]+),").unwrap();
        let rules = rule.captures_iter(&text).map(|found| {
            let (_, [path, access]) = found.extract();
            (expression(&expanded(path, &variables)), access.to_owned())
        });
        let rules: Vec<_> = rules.collect();
        assert!(rules.len() > 20, "{text}");
        Self(rules)
    }

    /// Which of these letters no rule gives for a path.
    fn missing(&self, path: &str, needed: &str) -> String {
        let given: String = self
            .0
            .iter()
            .filter(|(pattern, _)| pattern.is_match(path))
            .map(|(_, access)| access.as_str())
            .collect();
        needed.chars().filter(|letter| !given.contains(*letter)).collect()
    }
}

fn expanded(path: &str, variables: &HashMap<&str, String>) -> String {
    let mut path = path.to_owned();
    while let Some((before, rest)) = path.split_once("@{") {
        let (name, after) = rest.split_once('}').unwrap();
        path = format!("{before}{}{after}", variables[name]);
    }
    path
}

/// The expression for a pattern of AppArmor: `**` crosses slashes, `*` and `?` do not, `{a,b}` is
/// either, and what stands behind a slash is not empty.
fn expression(pattern: &str) -> Regex {
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    let mut braces = 0;
    while let Some(letter) = rest.next() {
        let behind_slash = text.ends_with('/');
        match letter {
            '*' if rest.next_if_eq(&'*').is_some() => {
                text.push_str(if behind_slash { "[^/].*" } else { ".*" });
            }
            '*' => text.push_str(if behind_slash { "[^/]+" } else { "[^/]*" }),
            '?' => text.push_str("[^/]"),
            '{' => {
                braces += 1;
                text.push_str("(?:");
            }
            '}' => {
                braces -= 1;
                text.push(')');
            }
            ',' if braces > 0 => text.push('|'),
            '[' | ']' | '^' | '-' => text.push(letter),
            other => text.push_str(&regex::escape(&other.to_string())),
        }
    }
    Regex::new(&format!("^(?:{text})$")).unwrap()
}

/// Starts a command under `strace`, as its own process. The log is complete when it has ended.
fn traced(inner: &Command, folder: &Folder) -> (Running, PathBuf) {
    let log = folder.at("strace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-y", "--seccomp-bpf", "-e", &format!("trace={CALLS}"), "-o"]);
    command.arg(&log).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder.path());
    (Running::start(command, folder, "traced"), log)
}

/// The calls of a log, whole: those that another thread has interrupted are joined.
fn calls(log: &Path) -> Vec<String> {
    let text = eventually("the end of the log", PATIENCE, || {
        let text = fs::read_to_string(log).unwrap();
        let first = text.split(' ').next().unwrap().to_owned();
        // Short numbers are padded.
        let ended = |line: &str| {
            let rest = line.strip_prefix(&first).unwrap_or_default();
            rest.trim_start().starts_with("+++ exited with 0")
        };
        text.lines().any(ended).then_some(text)
    });
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut whole = Vec::new();
    for line in text.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix("<unfinished ...>") {
            begun.insert(process, beginning);
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            let beginning = begun.remove(process).unwrap_or_default();
            whole.push(format!("{beginning}{end}"));
        } else {
            whole.push(call.to_owned());
        }
    }
    whole
}

/// The paths of successful calls with the access that each needs, in AppArmor's letters.
fn accesses(calls: &[String], folder: &Path) -> BTreeSet<(String, &'static str)> {
    let result = Regex::new(r"\) += \d+<(/[^>]*)>").unwrap();
    let descriptor = Regex::new(r"\d+<(/[^>]*)>").unwrap();
    let quoted = Regex::new(r#""([^"]+)""#).unwrap();
    let mut found = BTreeSet::new();
    for call in calls.iter().filter(|call| !call.contains(") = -1")) {
        let (name, arguments) = call.split_once('(').unwrap_or_default();
        let of = |path: &Regex, text: &str| path.captures(text).map(|found| found[1].to_owned());
        let mut add = |path: Option<String>, access| {
            let Some(path) = path else { return };
            let path = path.trim_end_matches(" (deleted)");
            let path = folder.join(path);
            let slash = if path.is_dir() { "/" } else { "" };
            found.insert((format!("{}{slash}", path.display()), access));
        };
        match name {
            "open" | "openat" | "openat2" | "creat" if !call.contains("O_PATH") => {
                let path = of(&result, call);
                let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|one| call.contains(one));
                if !call.contains("O_WRONLY") {
                    add(path.clone(), "r");
                }
                if writes {
                    add(path, "w");
                }
            }
            "mmap" if call.contains("PROT_EXEC") => add(of(&descriptor, arguments), "m"),
            "flock" => add(of(&descriptor, arguments), "k"),
            "fcntl" if call.contains("SETLK") => add(of(&descriptor, arguments), "k"),
            "execve" => add(of(&quoted, arguments), "x"),
            "connect" if call.contains("sun_path=\"") => add(of(&quoted, arguments), "w"),
            "bind" if call.contains("sun_path=\"") => add(of(&quoted, arguments), "w"),
            "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" | "mkdir" | "mkdirat" => {
                quoted.captures_iter(arguments).for_each(|path| add(Some(path[1].to_owned()), "w"));
            }
            _ => {}
        }
    }
    found
}

/// Compares a run with a profile. `installed` has where folders of this test are on a host, the longest
/// paths first. Returns all accesses by installed path.
fn compare(
    name: &str,
    log: &Path,
    folder: &Path,
    installed: &[(PathBuf, &str)],
) -> BTreeMap<String, String> {
    let rules = Rules::read(name);
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    // The first call executes the program, as the service manager does, who is not in the profile.
    for (path, access) in accesses(&calls(log)[1..], folder) {
        let place = |(from, to): &(PathBuf, &str)| {
            let rest = path.strip_prefix(from.to_str().unwrap())?;
            Some(format!("{to}{rest}"))
        };
        let path = installed.iter().find_map(place).unwrap_or(path.clone());
        let path = path.replace("/proc/self/exe", &format!("/usr/bin/{name}"));
        seen.entry(path).or_default().push_str(access);
    }
    let uncovered: Vec<String> = seen
        .iter()
        .map(|(path, needed)| (path, rules.missing(path, needed)))
        .filter(|(_, missing)| !missing.is_empty())
        .map(|(path, missing)| format!("{path} {missing}"))
        .collect();
    assert!(uncovered.is_empty(), "no rule of {name} covers:\n{}", uncovered.join("\n"));
    seen
}

#[test]
fn the_parser_accepts_the_profiles_in_both_modes() {
    let folder = Folder::new("apparmor");
    for name in ["nephometer", "nephometer-collector"] {
        parser(&[], &profile(name));
        let text = fs::read_to_string(profile(name)).unwrap();
        // As `aa-enforce` writes it.
        let enforced = text.replace(", complain)", ")");
        assert_ne!(text, enforced);
        parser(&[], &folder.write(name, enforced));
        let unit = format!("config/systemd/{name}.service");
        let unit = fs::read_to_string(root().join(unit)).unwrap();
        assert!(unit.contains(&format!("AppArmorProfile=-{name}\n")), "the unit names its profile");
    }
}

#[test]
fn patterns_are_those_of_apparmor() {
    let matches = |pattern: &str, path: &str| expression(pattern).is_match(path);
    assert!(matches("/a/{,**}", "/a/") && matches("/a/{,**}", "/a/b/c"));
    assert!(!matches("/a/**", "/a/") && !matches("/a/*", "/a/b/c"));
    assert!(matches("{/proc}/{[1-9],[1-9][0-9]}/stat", "/proc/12/stat"));
    assert!(!matches("{/proc}/{[1-9],[1-9][0-9]}/stat", "/proc/x/stat"));
    assert!(
        matches("/x/{a,b}-sock-ro", "/x/b-sock-ro") && !matches("/x/{a,b}-sock-ro", "/x/b-sock")
    );
}

#[test]
fn the_profile_of_the_agent_covers_a_run() {
    let lab = hypervisor();
    let agent = Agent::new("apparmor-agent");
    let components = agent.folder.at("components");
    fs::create_dir(&components).unwrap();
    fs::copy(component("rate_of_change"), components.join("rate_of_change.wasm")).unwrap();
    let file = format!("file://{}?json", agent.folder.at("store/samples").display());
    let agent = agent
        .set("components.path", json!([components]))
        .set("telemetry.listen", format!("127.0.0.1:{}", closed_port()))
        .libvirt(lab.libvirt_uri())
        .amqp(broker().amqp_url())
        .through(
            "[{name: rate_of_change, parameters: {target: {name: rate}}}]",
            &["notifier://?topic=apparmor", &file],
        );
    let inner = agent.command(&["run", "--log-format", "json", "--log", "debug"]);
    let (mut running, log) = traced(&inner, &agent.folder);
    running.wait_for_cycles(3);
    eventually("the component", PATIENCE, || running.logged("transformers replaced").pop());
    agent.execute(&["status"]).code(0);
    agent.execute(&["reload"]).code(0);
    running.wait_for_cycles(2);
    running.stop().code(0);

    let program = PathBuf::from(env!("CARGO_BIN_EXE_nephometer"));
    let (_, socket) = lab.libvirt_uri().split_once("socket=").unwrap();
    let folder = agent.folder.path().to_owned();
    let installed = [
        (program, "/usr/bin/nephometer"),
        (PathBuf::from(socket), "/run/libvirt/libvirt-sock-ro"),
        (agent.folder.at("store"), "/var/lib/nephometer"),
        (agent.folder.at("cache"), "/var/cache/nephometer"),
        (agent.folder.at("agent.sock"), "/run/nephometer/agent.sock"),
        (components, "/usr/lib/nephometer/components"),
        (folder.clone(), "/etc/nephometer"),
    ];
    let seen = compare("nephometer", &log, &folder, &installed);
    let has = |start: &str, access: &str| {
        seen.iter().any(|(path, all)| path.starts_with(start) && all.contains(access))
    };
    for (path, access) in [
        ("/usr/bin/nephometer", "x"),
        ("/var/cache/nephometer/", "m"),
        ("/var/lib/nephometer/agent.redb", "k"),
        ("/run/libvirt/libvirt-sock-ro", "w"),
        ("/run/nephometer/agent.sock", "w"),
        ("/usr/lib/nephometer/components/rate_of_change.wasm", "r"),
    ] {
        assert!(has(path, access), "the run has not used {path} {access}: {seen:#?}");
    }
}

#[test]
fn the_profile_of_the_collector_covers_a_run() {
    let url = broker().amqp_url();
    let collector = Collector::new("apparmor-collector").consuming(url, &["apparmor-collected"]);
    let agent = Agent::new("apparmor-sender").amqp(url);
    let agent = agent.everything_to(&["notifier://?topic=apparmor-collected"]);
    let (running, log) = traced(&collector.command(&["run", "--log-json"]), &collector.folder);
    api_of(&running);
    let agents = agent.run();
    eventually("samples", PATIENCE, || (!collector.samples().is_empty()).then_some(()));
    agents.stop().code(0);
    running.stop().code(0);
    let program =
        Path::new(env!("CARGO_BIN_EXE_nephometer")).with_file_name("nephometer-collector");
    let folder = collector.folder.path().to_owned();
    let installed = [
        (program, "/usr/bin/nephometer-collector"),
        (collector.folder.at("store"), "/var/lib/nephometer-collector"),
        (folder.clone(), "/etc/nephometer"),
    ];
    let seen = compare("nephometer-collector", &log, &folder, &installed);
    let writes =
        |(path, all): (&String, &String)| path.ends_with(".default.db") && all.contains('w');
    assert!(seen.iter().any(writes), "{seen:#?}");
}
