//! The compiler process: its limits, its end with the agent, and failed compilations.

use std::fs;

use rustix::process::Signal;

use super::parts::transformer;
use super::{agent, assert_memory_within, case, measure_memory};
use crate::harness::{PATIENCE, Running, eventually};

#[test]
fn failed_compilation_is_not_retried_until_the_file_changes() {
    let memories: String = (0..100).map(|_| "(memory 1)").collect();
    let cases = [case("never", transformer(&[("MORE", &memories)]), "")];
    let agent = agent("never", &cases);
    let running = agent.run();
    let tries = || running.logged("component compilation failed").len();
    eventually("the first attempt", PATIENCE, || (tries() == 1).then_some(()));
    for reload in 1..=3 {
        running.signal(Signal::HUP);
        eventually("a refused reload", PATIENCE, || {
            (running.logged("reload refused").len() >= reload).then_some(())
        });
    }
    assert_eq!(tries(), 1, "compiled once");
    let other = transformer(&[("MORE", &format!("{memories}(memory 1)"))]);
    let file = agent.folder.at("hostile/never.wasm");
    fs::write(&file, other).unwrap();
    eventually("an attempt with the other content", PATIENCE, || (tries() == 2).then_some(()));
    running.terminate();
    running.ended(PATIENCE);
}

/// A component with functions that each take almost a second to compile.
pub(super) fn bomb(functions: usize) -> Vec<u8> {
    let operations = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (local.get 0)))";
    let operations = operations.repeat(200_000);
    let function = format!("(func (param i32) (result i32) {operations} (local.get 0))");
    transformer(&[("MORE", &function.repeat(functions))])
}

#[test]
fn compile_bomb_uses_no_memory_of_the_agent() {
    let cases = [case("bomb", bomb(1), "")];
    let agent = agent("bomb", &cases);
    let running = agent.start(agent.command(&["check"]), None);
    let (ended, resident) = measure_memory(running, Running::ended);
    // A fast compiler may succeed.
    assert!(matches!(ended.status.code(), Some(0 | 78)), "{ended:?}");
    assert_memory_within(resident, "check", &cases);
}

/// The live child processes of a process.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn compiler_is_limited_and_ends_with_the_agent() {
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
        // Its new parent may reap it late.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}
