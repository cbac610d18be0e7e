//! Compilation, in a process of its own where there is a program for it.
//!
//! A compiler that is fed by strangers can be made to use any amount of time and memory, and what
//! it used stays with the process that it ran in. So the agent starts itself anew with the
//! subcommand `compile`: nothing of the environment, standard input is the component, standard
//! output takes the code. Both are files in memory that have no name, so that nobody else can
//! reach them, no folder is needed and nothing is left behind. The child limits itself before it
//! reads anything ([`confine`]); the parent ends it when its time is over, the kernel when the
//! parent is gone.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Resource, Rlimit, Signal, set_parent_process_death_signal, setpriority_process, setrlimit,
};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::engine;
use super::log::clean;

/// How long one component may take by the clock. A Python component takes 10 to 60 s.
const WALL: Duration = Duration::from_secs(120);
/// Processor time of the child, over all its threads.
const CPU_SECONDS: u64 = 120;
/// Addresses of the child. The largest components seen need 400 MB.
const ADDRESSES: u64 = 4 << 30;
/// Bytes of compiled code: more than any component that may be loaded makes.
pub(super) const CODE: u64 = 1 << 30;
/// Bytes of a component: as many as the agent reads.
const COMPONENT: u64 = 64 << 20;
/// Open files: the standard ones, and a few for the threads.
const FILES: u64 = 32;
/// What is kept of the child's words.
const WORDS: u64 = 4 << 10;
/// How often the parent looks whether the child has ended. Against the seconds that a
/// compilation takes this is nothing.
const LOOK: Duration = Duration::from_millis(10);

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotCompiled {
    /// It is the component: another attempt would end the same way.
    Component(String),
    /// It is the machine: another attempt may end well.
    Machine(String),
}

/// The code of a component, as `Component::serialize` makes it. Blocks for as long as it takes,
/// which is bounded if there is a `compiler` program; without one the work is done right here.
pub(super) fn compile(
    compiler: Option<&Path>,
    engine: &Engine,
    component: &[u8],
) -> Result<Vec<u8>, NotCompiled> {
    match compiler {
        None => translate(engine, component).map_err(NotCompiled::Component),
        Some(program) => in_child(program, component),
    }
}

fn translate(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    Component::from_binary(engine, component)
        .and_then(|component| component.serialize())
        .map_err(|error| clean(&format!("{error:#}")))
}

fn in_child(program: &Path, component: &[u8]) -> Result<Vec<u8>, NotCompiled> {
    let machine = |error: io::Error| {
        NotCompiled::Machine(format!("the compiler {} cannot be run: {error}", program.display()))
    };
    let mut code = nameless("nephometer-code").map_err(machine)?;
    let mut child = start(program, component, &code).map_err(machine)?;
    let stderr = child.stderr.take();
    // Reads to the end, so that a child that says much is not held up by a full pipe.
    let listener = thread::Builder::new()
        .name("compiler-words".to_owned())
        .spawn(move || stderr.map(words).unwrap_or_default());
    let ended = wait(&mut child, WALL);
    let said = listener.map_err(machine)?.join().unwrap_or_default();
    match ended.map_err(machine)? {
        None => Err(NotCompiled::Component(format!("it took more than {WALL:?} to compile"))),
        Some(status) if status.success() => {
            let mut bytes = Vec::new();
            code.rewind().and_then(|()| code.read_to_end(&mut bytes)).map_err(machine)?;
            Ok(bytes)
        }
        Some(status) => Err(blame(status, &said)),
    }
}

/// A file in memory that has no name.
fn nameless(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

fn start(program: &Path, component: &[u8], code: &File) -> io::Result<Child> {
    let mut input = nameless("nephometer-component")?;
    input.write_all(component)?;
    input.rewind()?;
    Command::new(program)
        .arg0("nephometer")
        .arg("compile")
        .env_clear()
        .current_dir("/")
        // A signal from the terminal is for the agent, which then ends the child with itself.
        .process_group(0)
        .stdin(input)
        .stdout(code.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
}

/// What came on a channel, cut.
fn words(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let whole = (&mut from)
        .take(WORDS)
        .read_to_end(&mut kept)
        .and_then(|_| io::copy(&mut from, &mut io::sink()));
    let text = String::from_utf8_lossy(&kept);
    match whole {
        Ok(_) => clean(&text),
        Err(error) => clean(&format!("{text} ({error})")),
    }
}

/// How the child ended; `None` if its time was over, and it was ended.
fn wait(child: &mut Child, wall: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= wall {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Whose fault an end without code is.
fn blame(status: ExitStatus, said: &str) -> NotCompiled {
    let after = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU | Signal::KILL) => NotCompiled::Component(format!(
            "its compilation was ended by the limit of {CPU_SECONDS} s of processor time, or for \
             want of memory{after}"
        )),
        // What Rust does when an allocation fails.
        Some(Signal::ABORT) => NotCompiled::Component(format!(
            "its compilation wanted more than {ADDRESSES} bytes of memory, or failed{after}"
        )),
        Some(Signal::SEGV | Signal::BUS | Signal::XFSZ) => {
            NotCompiled::Component(format!("its compilation crashed ({status}){after}"))
        }
        None if !said.is_empty() => NotCompiled::Component(said.to_owned()),
        _ => NotCompiled::Machine(format!("the compiler ended with {status}{after}")),
    }
}

/// Why the compiler's process did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CompilerError {
    /// The limits could not be set, so nothing was read.
    #[error("the limits of the compiler cannot be set")]
    Limits(#[source] rustix::io::Errno),
    /// Standard input or standard output failed.
    #[error("the compiler cannot read or write")]
    Io(#[from] io::Error),
    /// The component cannot be compiled.
    #[error("{0}")]
    Component(String),
}

/// What the child does: limits itself, reads a component to its end, writes its code, which
/// [`super::cache`] knows how to load. `component` and `code` are its standard input and output.
pub fn compile_confined(component: impl Read, mut code: impl Write) -> Result<(), CompilerError> {
    confine().map_err(CompilerError::Limits)?;
    let mut bytes = Vec::new();
    component.take(COMPONENT).read_to_end(&mut bytes)?;
    let engine = engine().map_err(|error| CompilerError::Component(format!("{error:#}")))?;
    let made = translate(&engine, &bytes).map_err(CompilerError::Component)?;
    code.write_all(&made)?;
    Ok(code.flush()?)
}

/// Everything that this process may use from here on, and its end with its parent's.
fn confine() -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limits = [
        (Resource::As, ADDRESSES),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Fsize, CODE),
        (Resource::Nofile, FILES),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    setpriority_process(None, 19)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Child, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = words(child.stderr.take().unwrap());
        (child, said)
    }

    #[test]
    fn what_a_child_says_is_kept_in_part_and_made_harmless() {
        let (mut child, said) = shell("head -c 1000000 /dev/zero | tr '\\0' 'x' >&2");
        assert!(wait(&mut child, WALL).unwrap().unwrap().success());
        assert!(said.len() < 2_000 && said.starts_with("xxx"), "{}", said.len());
    }

    #[test]
    fn a_child_whose_time_is_over_is_ended() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_millis(30)).unwrap(), None);
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn the_end_of_a_child_says_whose_fault_it_is() {
        for (script, component) in [
            ("kill -XCPU $$", true),
            ("kill -ABRT $$", true),
            ("kill -KILL $$", true),
            ("echo it has no head >&2; exit 70", true),
            ("exit 70", false),
            ("kill -TERM $$", false),
        ] {
            let (mut child, said) = shell(script);
            let status = wait(&mut child, WALL).unwrap().unwrap();
            let blamed = blame(status, &said);
            assert_eq!(matches!(blamed, NotCompiled::Component(_)), component, "{blamed:?}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_the_machines_fault() {
        let engine = engine().unwrap();
        let missing = Path::new("/nowhere/nephometer");
        let failed = compile(Some(missing), &engine, b"").unwrap_err();
        assert!(matches!(failed, NotCompiled::Machine(reason) if reason.contains("/nowhere")));
    }
}
