//! Compilation, in a process of its own where there is a program for it.
//!
//! A compiler that works on what others supply can be made to use any amount of time and memory, and
//! what it used stays with the process that it ran in. So the agent starts itself anew with the
//! subcommand `compile`: nothing of the environment, standard input is the component, standard
//! output takes the code. Both are files in memory that have no name, so that nobody else can
//! reach them, no folder is needed and nothing is left behind. The child limits itself before it
//! reads anything ([`confine`]), and then by the size of what it has read; the parent ends it when its time
//! is over, the kernel when the parent ends. Code that was written is sealed and mapped, never copied.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{
    Resource, Rlimit, Signal, set_parent_process_death_signal, setpriority_process, setrlimit,
};
use wasmtime::Engine;

use super::engine::engine;
use super::log::clean;
use super::survey::survey;
use nephometer_model::Bound;

/// How long one component may take by the clock. A Python component takes 10 to 60 s.
const WALL: Duration = Duration::from_secs(120);
/// Processor time of the child before it knows the component's size, over all its threads.
const CPU_SECONDS: u64 = 120;
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

/// The code of a component, in sealed memory: [`super::code::load`] maps it. Blocks for as long as it takes,
/// which is bounded if there is a `compiler` program; without one the work is done right here.
pub(super) fn compile(
    compiler: Option<&Path>,
    engine: &Engine,
    component: &[u8],
) -> Result<File, NotCompiled> {
    let machine = |error: io::Error| NotCompiled::Machine(format!("no compiled code: {error}"));
    let mut code = nameless("nephometer-code").map_err(machine)?;
    match compiler {
        None => {
            let made = translate(engine, component).map_err(NotCompiled::Component)?;
            code.write_all(&made).map_err(machine)?;
        }
        Some(program) => in_child(program, component, &code)?,
    }
    seal(&mut code).map_err(machine)?;
    Ok(code)
}

/// The most compiled code that a component of this size may become.
fn most_code(component: usize) -> u64 {
    let by_size = Bound::CodeFactor.most().saturating_mul(component as u64);
    Bound::CodeBase.most().saturating_add(by_size)
}

/// The most processor time that the compilation of a component of this size may take.
pub(super) fn most_cpu(component: usize) -> Duration {
    let by_size = Bound::CompileFactor.most().saturating_mul(component as u64) >> 20;
    Duration::from_millis(Bound::CompileBase.most().saturating_add(by_size))
}

fn translate(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    survey(component).map_err(|reason| clean(&reason))?;
    let code =
        engine.precompile_component(component).map_err(|error| clean(&format!("{error:#}")))?;
    let most = most_code(component.len());
    if code.len() as u64 > most {
        return Err(format!(
            "{}: {} bytes from {} bytes, at most {most} bytes ({}, {}); {}",
            Bound::CodeFactor.row().what,
            code.len(),
            component.len(),
            Bound::CodeBase.row().name,
            Bound::CodeFactor.row().name,
            Bound::CodeFactor.row().remedy
        ));
    }
    Ok(code)
}

fn in_child(program: &Path, component: &[u8], code: &File) -> Result<(), NotCompiled> {
    let machine = |error: io::Error| {
        NotCompiled::Machine(format!("the compiler {} cannot be run: {error}", program.display()))
    };
    let mut child = start(program, &["compile".to_owned()], component, code).map_err(machine)?;
    let (ended, output) = finish(&mut child, WALL).map_err(machine)?;
    match ended {
        None => Err(NotCompiled::Component(format!("it took more than {WALL:?} to compile"))),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(blame(status, &output, most_cpu(component.len()))),
    }
}

/// A file in memory that has no name.
pub(super) fn nameless(what: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(memfd_create(what, flags)?))
}

/// From now on nobody can change the file, not even a process that kept it open.
fn seal(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    fcntl_add_seals(
        &*file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(())
}

/// Starts this program anew with a command for confined work on a component.
pub(super) fn start(
    program: &Path,
    command: &[String],
    component: &[u8],
    output: &File,
) -> io::Result<Child> {
    let mut input = nameless("nephometer-component")?;
    input.write_all(component)?;
    input.rewind()?;
    Command::new(program)
        .arg0("nephometer")
        .args(command)
        .env_clear()
        .current_dir("/")
        // A signal from the terminal is for the agent, which then ends the child with itself.
        .process_group(0)
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for the end of a child and what it wrote to standard error; no status if its time was
/// over and it was ended.
pub(super) fn finish(
    child: &mut Child,
    wall: Duration,
) -> io::Result<(Option<ExitStatus>, String)> {
    let stderr = child.stderr.take();
    // Reads to the end, so that a child that writes much is not held up by a full pipe.
    let listener = thread::Builder::new()
        .name("compiler-words".to_owned())
        .spawn(move || stderr.map(words).unwrap_or_default());
    let ended = wait(child, wall);
    let output = listener?.join().unwrap_or_default();
    Ok((ended?, output))
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
fn blame(status: ExitStatus, output: &str, cpu: Duration) -> NotCompiled {
    let after = if output.is_empty() { String::new() } else { format!("; output: {output}") };
    let reason = match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU | Signal::KILL) => format!(
            "its compilation exceeded {} s of processor time for its size ({}, {}), or ran out of \
             memory; {}{after}",
            cpu.as_secs(),
            Bound::CompileBase.row().name,
            Bound::CompileFactor.row().name,
            Bound::CompileFactor.row().remedy
        ),
        // What Rust does when an allocation fails.
        Some(Signal::ABORT) => format!(
            "its compilation needed more than {} bytes of memory ({}), or failed{after}",
            Bound::CompileMemory.most(),
            Bound::CompileMemory.row().name
        ),
        Some(Signal::XFSZ) => format!(
            "its compiled code is too large for its size ({}, {}); {}{after}",
            Bound::CodeBase.row().name,
            Bound::CodeFactor.row().name,
            Bound::CodeFactor.row().remedy
        ),
        Some(Signal::SEGV | Signal::BUS) => format!("its compilation crashed ({status}){after}"),
        None if !output.is_empty() => output.to_owned(),
        _ => return NotCompiled::Machine(format!("the compiler ended with {status}{after}")),
    };
    NotCompiled::Component(reason)
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
    let bytes = confined_input(component)?;
    let cpu = most_cpu(bytes.len()).as_secs().min(CPU_SECONDS);
    limit(Resource::Cpu, cpu).map_err(CompilerError::Limits)?;
    limit(Resource::Fsize, most_code(bytes.len())).map_err(CompilerError::Limits)?;
    let engine = engine().map_err(|error| CompilerError::Component(format!("{error:#}")))?;
    let made = translate(&engine, &bytes).map_err(CompilerError::Component)?;
    code.write_all(&made)?;
    Ok(code.flush()?)
}

/// Confines this process, then reads the component that it works on.
pub(super) fn confined_input(component: impl Read) -> Result<Vec<u8>, CompilerError> {
    confine().map_err(CompilerError::Limits)?;
    let mut bytes = Vec::new();
    component.take(Bound::ComponentBytes.most()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Everything that this process may use from here on, and its end with its parent's.
fn confine() -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::As, Bound::CompileMemory.most())?;
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::Fsize, most_code(Bound::ComponentBytes.size()))?;
    limit(Resource::Nofile, FILES)?;
    limit(Resource::Core, 0)?;
    setpriority_process(None, 19)
}

pub(super) fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
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
            let blamed = blame(status, &said, WALL);
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
