//! Compiles components, in a child process if a compiler program is configured.
//!
//! Untrusted input can make a compiler use any amount of time and memory, and a process keeps the
//! memory it has used. The agent therefore starts itself with the subcommand `compile` and an empty
//! environment. Standard input is the component, standard output receives the code. Both are
//! anonymous memory files: no other process can open them, and nothing is left behind. The child
//! sets its resource limits before it reads anything ([`confine`]), then tightens them by the size
//! of the component. The parent kills it at the wall clock limit, the kernel when the parent ends.
//! The code is sealed and mapped, never copied.

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

/// Wall clock limit of one compilation. A Python component takes 10 to 60 s.
const WALL_LIMIT: Duration = Duration::from_secs(120);
/// Processor time limit of the child until it knows the component's size, over all threads.
const CPU_SECONDS: u64 = 120;
/// Open files: the standard streams, and a few for the threads.
const MAX_FILES: u64 = 32;
/// Bytes of the child's standard error that are kept.
const STDERR_BYTES: u64 = 4 << 10;
/// How often the parent checks for the end of the child.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why a compilation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CompileFailure {
    /// Caused by the component: a retry would fail the same way.
    Component(String),
    /// Caused by the environment: a retry may succeed.
    Environment(String),
}

/// Compiles a component into sealed memory, for [`super::code::load`]. Blocks until done: for at
/// most [`WALL_LIMIT`] in the `compiler` program, without a limit if there is none and the work is
/// done in this process.
pub(super) fn compile(
    compiler: Option<&Path>,
    engine: &Engine,
    component: &[u8],
) -> Result<File, CompileFailure> {
    let failed = |error: io::Error| {
        CompileFailure::Environment(format!("cannot store compiled code: {error}"))
    };
    let mut code = anonymous_file("nephometer-code").map_err(failed)?;
    match compiler {
        None => {
            let compiled = precompile(engine, component).map_err(CompileFailure::Component)?;
            code.write_all(&compiled).map_err(failed)?;
        }
        Some(program) => compile_in_child(program, component, &code)?,
    }
    seal(&mut code).map_err(failed)?;
    Ok(code)
}

/// Limit on the compiled code of a component of `component` bytes, bytes.
fn max_code_bytes(component: usize) -> u64 {
    let by_size = Bound::CodeFactor.most().saturating_mul(component as u64);
    Bound::CodeBase.most().saturating_add(by_size)
}

/// Limit on the processor time to compile a component of `component` bytes.
pub(super) fn max_cpu(component: usize) -> Duration {
    let by_size = Bound::CompileFactor.most().saturating_mul(component as u64) >> 20;
    Duration::from_millis(Bound::CompileBase.most().saturating_add(by_size))
}

fn precompile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    survey(component).map_err(|reason| clean(&reason))?;
    let code =
        engine.precompile_component(component).map_err(|error| clean(&format!("{error:#}")))?;
    let most = max_code_bytes(component.len());
    if code.len() as u64 > most {
        return Err(format!(
            "{}: {} bytes compiled from {} bytes, at most {most} bytes ({}, {}); {}",
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

fn compile_in_child(program: &Path, component: &[u8], code: &File) -> Result<(), CompileFailure> {
    let failed = |error: io::Error| {
        CompileFailure::Environment(format!(
            "cannot run the compiler {}: {error}",
            program.display()
        ))
    };
    let mut child = start(program, &["compile".to_owned()], component, code).map_err(failed)?;
    let (status, output) = finish(&mut child, WALL_LIMIT).map_err(failed)?;
    match status {
        None => {
            Err(CompileFailure::Component(format!("compilation took more than {WALL_LIMIT:?}")))
        }
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(classify_exit(status, &output, max_cpu(component.len()))),
    }
}

/// Creates an anonymous memory file. `label` shows up in `/proc` only.
pub(super) fn anonymous_file(label: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(memfd_create(label, flags)?))
}

/// Makes the file immutable, even for processes that still have it open.
fn seal(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    fcntl_add_seals(
        &*file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(())
}

/// Starts this program with a subcommand that works on a component under limits.
pub(super) fn start(
    program: &Path,
    command: &[String],
    component: &[u8],
    output: &File,
) -> io::Result<Child> {
    let mut input = anonymous_file("nephometer-component")?;
    input.write_all(component)?;
    input.rewind()?;
    Command::new(program)
        .arg0("nephometer")
        .args(command)
        .env_clear()
        .current_dir("/")
        // Signals from the terminal go to the agent only. The child ends with it.
        .process_group(0)
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for the end of a child and collects its standard error. The status is `None` if the child
/// was killed at the `wall` limit.
pub(super) fn finish(
    child: &mut Child,
    wall: Duration,
) -> io::Result<(Option<ExitStatus>, String)> {
    let stderr = child.stderr.take();
    // Reads to the end: a full pipe would block a child that writes much.
    let reader = thread::Builder::new()
        .name("compiler-stderr".to_owned())
        .spawn(move || stderr.map(read_stderr).unwrap_or_default());
    let status = wait(child, wall);
    let output = reader?.join().unwrap_or_default();
    Ok((status?, output))
}

/// Reads a stream to its end and keeps the first [`STDERR_BYTES`], as one clean line.
fn read_stderr(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let read = (&mut from)
        .take(STDERR_BYTES)
        .read_to_end(&mut kept)
        .and_then(|_| io::copy(&mut from, &mut io::sink()));
    let text = String::from_utf8_lossy(&kept);
    match read {
        Ok(_) => clean(&text),
        Err(error) => clean(&format!("{text} ({error})")),
    }
}

/// Waits for the child's exit status; `None` if it was killed at the `wall` limit.
fn wait(child: &mut Child, wall: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= wall {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Attributes a failed exit to the component or to the environment.
fn classify_exit(status: ExitStatus, output: &str, cpu: Duration) -> CompileFailure {
    let suffix = if output.is_empty() { String::new() } else { format!("; output: {output}") };
    let reason = match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU | Signal::KILL) => format!(
            "compilation exceeded {} s of processor time for the size of the component ({}, {}), \
             or ran out of memory; {}{suffix}",
            cpu.as_secs(),
            Bound::CompileBase.row().name,
            Bound::CompileFactor.row().name,
            Bound::CompileFactor.row().remedy
        ),
        // Rust aborts when an allocation fails.
        Some(Signal::ABORT) => format!(
            "compilation needed more than {} bytes of memory ({}), or failed{suffix}",
            Bound::CompileMemory.most(),
            Bound::CompileMemory.row().name
        ),
        Some(Signal::XFSZ) => format!(
            "compiled code is too large for the size of the component ({}, {}); {}{suffix}",
            Bound::CodeBase.row().name,
            Bound::CodeFactor.row().name,
            Bound::CodeFactor.row().remedy
        ),
        Some(Signal::SEGV | Signal::BUS) => format!("compilation crashed ({status}){suffix}"),
        None if !output.is_empty() => output.to_owned(),
        _ => return CompileFailure::Environment(format!("compiler exited with {status}{suffix}")),
    };
    CompileFailure::Component(reason)
}

/// Why the compiler process failed.
#[derive(Debug, thiserror::Error)]
pub enum CompilerError {
    /// The resource limits could not be set; nothing was read.
    #[error("cannot set the resource limits of the compiler")]
    Limits(#[source] rustix::io::Errno),
    /// Standard input or standard output failed.
    #[error("cannot read the component or write the result")]
    Io(#[from] io::Error),
    /// The component cannot be compiled.
    #[error("{0}")]
    Component(String),
}

/// The work of the child process: sets its resource limits, reads a component to the end and writes
/// the compiled code. `component` and `code` are its standard input and output.
///
/// # Errors
/// If limits cannot be set, reading or writing fails, or the component cannot be compiled.
pub fn compile_confined(component: impl Read, mut code: impl Write) -> Result<(), CompilerError> {
    let bytes = confined_input(component)?;
    let cpu = max_cpu(bytes.len()).as_secs().min(CPU_SECONDS);
    limit(Resource::Cpu, cpu).map_err(CompilerError::Limits)?;
    limit(Resource::Fsize, max_code_bytes(bytes.len())).map_err(CompilerError::Limits)?;
    let engine = engine().map_err(|error| CompilerError::Component(format!("{error:#}")))?;
    let compiled = precompile(&engine, &bytes).map_err(CompilerError::Component)?;
    code.write_all(&compiled)?;
    Ok(code.flush()?)
}

/// Confines this process, then reads the component.
pub(super) fn confined_input(component: impl Read) -> Result<Vec<u8>, CompilerError> {
    confine().map_err(CompilerError::Limits)?;
    let mut bytes = Vec::new();
    component.take(Bound::ComponentBytes.most()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Limits the resources of this process, and ties its life to the parent's.
fn confine() -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::As, Bound::CompileMemory.most())?;
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::Fsize, max_code_bytes(Bound::ComponentBytes.size()))?;
    limit(Resource::Nofile, MAX_FILES)?;
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
        let stderr = read_stderr(child.stderr.take().unwrap());
        (child, stderr)
    }

    #[test]
    fn stderr_of_the_child_is_truncated_and_cleaned() {
        let (mut child, stderr) = shell("head -c 1000000 /dev/zero | tr '\\0' 'x' >&2");
        assert!(wait(&mut child, WALL_LIMIT).unwrap().unwrap().success());
        assert!(stderr.len() < 2_000 && stderr.starts_with("xxx"), "{}", stderr.len());
    }

    #[test]
    fn child_is_killed_at_the_wall_limit() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_millis(30)).unwrap(), None);
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn exit_status_attributes_the_failure() {
        for (script, component) in [
            ("kill -XCPU $$", true),
            ("kill -ABRT $$", true),
            ("kill -KILL $$", true),
            ("echo invalid header >&2; exit 70", true),
            ("exit 70", false),
            ("kill -TERM $$", false),
        ] {
            let (mut child, stderr) = shell(script);
            let status = wait(&mut child, WALL_LIMIT).unwrap().unwrap();
            let failure = classify_exit(status, &stderr, WALL_LIMIT);
            assert_eq!(matches!(failure, CompileFailure::Component(_)), component, "{failure:?}");
        }
    }

    #[test]
    fn missing_compiler_is_a_failure_of_the_environment() {
        let engine = engine().unwrap();
        let missing = Path::new("/nowhere/nephometer");
        let failure = compile(Some(missing), &engine, b"").unwrap_err();
        assert!(
            matches!(failure, CompileFailure::Environment(reason) if reason.contains("/nowhere"))
        );
    }
}
