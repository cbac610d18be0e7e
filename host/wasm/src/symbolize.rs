//! Finds the source lines of a trap's frames in a component's own debug information.
//!
//! Debug information is untrusted: it controls the recursion and the work of its parsers. It is
//! therefore parsed by a child under the compiler's limits, for at most [`Bound::SymbolizeTime`],
//! one child at a time, and once per trap. If that fails, the trap is reported without lines.

use std::collections::HashMap;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use rustix::process::Resource;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmparser::{Parser, Payload};

use super::compile::{CompilerError, anonymous_file, confined_input, finish, limit, start};
use super::digest::Digest;
use super::load;
use super::log::clean;
use nephometer_model::Bound;

/// Traces that are cached.
const MAX_TRACES: usize = 1_000;
/// Bytes that a child may write.
const MAX_OUTPUT: u64 = 64 << 10;

/// The functions of one frame with their source locations `FILE:LINE:COLUMN`, empty if unknown.
/// Innermost first; several if calls were inlined.
pub(super) type InlinedFrames = Vec<(String, String)>;

/// The functions of each frame.
type Trace = Arc<Vec<InlinedFrames>>;

/// The file that a component was loaded from, with its digest at that time.
#[derive(Debug, Clone)]
pub(super) struct ComponentFile {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
}

/// Finds source lines, and caches them.
#[derive(Debug)]
pub(super) struct Symbolizer {
    /// The program that reads debug information; without one there are no lines.
    program: Option<PathBuf>,
    traces: Mutex<HashMap<(Digest, Vec<u64>), Trace>>,
    permit: Semaphore,
}

impl Symbolizer {
    pub(super) fn new(program: Option<PathBuf>) -> Self {
        Self { program, traces: Mutex::default(), permit: Semaphore::new(1) }
    }

    /// The functions at these offsets of the component file. Empty if unknown, if another trap is
    /// being processed, or on timeout.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        file: &ComponentFile,
        offsets: Vec<u64>,
    ) -> Trace {
        let key = (file.digest, offsets);
        if let Some(known) = self.traces().get(&key) {
            return Arc::clone(known);
        }
        let (Some(program), Ok(permit)) = (self.program.clone(), self.permit.try_acquire()) else {
            return Trace::default();
        };
        let (path, (digest, offsets)) = (file.path.clone(), key.clone());
        let work = tokio::task::spawn_blocking(move || {
            look_up(&program, &path, digest, &offsets).unwrap_or_default()
        });
        let limit = Duration::from_millis(Bound::SymbolizeTime.most());
        let found = timeout(limit, work).await;
        drop(permit);
        let found = Arc::new(found.ok().and_then(Result::ok).unwrap_or_default());
        let mut traces = self.traces();
        if traces.len() >= MAX_TRACES {
            traces.clear();
        }
        traces.insert(key, Arc::clone(&found));
        found
    }

    fn traces(&self) -> MutexGuard<'_, HashMap<(Digest, Vec<u64>), Trace>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a child. `None` if the file has changed or the child failed: the trace then has no lines.
fn look_up(
    program: &Path,
    path: &Path,
    digest: Digest,
    offsets: &[u64],
) -> Option<Vec<InlinedFrames>> {
    let (bytes, found) = load::read(path).ok()?;
    if found != digest {
        return None;
    }
    let mut output = anonymous_file("nephometer-lines").ok()?;
    let mut command = vec!["symbolize".to_owned()];
    command.extend(offsets.iter().map(ToString::to_string));
    let mut child = start(program, &command, &bytes, &output).ok()?;
    let limit = Duration::from_millis(Bound::SymbolizeTime.most());
    let (status, _) = finish(&mut child, limit).ok()?;
    if !status?.success() {
        return None;
    }
    output.rewind().ok()?;
    let mut text = String::new();
    output.take(MAX_OUTPUT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The work of the child process: sets its resource limits, reads a component, and writes the
/// functions at these offsets as JSON. `component` and `output` are its standard input and output.
///
/// # Errors
/// If limits cannot be set, reading or writing fails, or the component cannot be parsed.
pub fn symbolize_confined(
    component: impl Read,
    mut output: impl Write,
    offsets: &[u64],
) -> Result<(), CompilerError> {
    let bytes = confined_input(component)?;
    limit(Resource::Cpu, Bound::SymbolizeTime.most().div_ceil(1_000))
        .and_then(|()| limit(Resource::Fsize, MAX_OUTPUT))
        .map_err(CompilerError::Limits)?;
    let modules = modules(&bytes).map_err(|error| CompilerError::Component(error.to_string()))?;
    let found: Vec<InlinedFrames> =
        offsets.iter().map(|offset| functions_at(&modules, *offset)).collect();
    let text = serde_json::to_string(&found).map_err(std::io::Error::from)?;
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

/// The debug information of a core module, and the range of its code in the file.
#[derive(Default)]
struct Module<'a> {
    code: std::ops::Range<u64>,
    sections: HashMap<&'a str, &'a [u8]>,
}

fn modules(bytes: &[u8]) -> wasmparser::Result<Vec<Module<'_>>> {
    let mut modules: Vec<Module<'_>> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } => modules.push(Module::default()),
            Payload::CodeSectionStart { range, .. } => {
                if let Some(module) = modules.last_mut() {
                    module.code = range.start as u64..range.end as u64;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                if let Some(module) = modules.last_mut() {
                    module.sections.insert(section.name(), section.data());
                }
            }
            _ => {}
        }
    }
    Ok(modules)
}

fn functions_at(modules: &[Module<'_>], offset: u64) -> InlinedFrames {
    let Some(module) = modules.iter().find(|module| module.code.contains(&offset)) else {
        return InlinedFrames::new();
    };
    let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let data = module.sections.get(id.name()).copied().unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    // Addresses in debug information are relative to the code section.
    let address = offset - module.code.start;
    let context = Dwarf::load(section).and_then(Context::from_dwarf);
    let frames = context.and_then(|context| {
        let mut found = InlinedFrames::new();
        let mut frames = context.find_frames(address).skip_all_loads()?;
        while let Some(frame) = frames.next()? {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let location =
                frame.location.map(|location| format_location(&location)).unwrap_or_default();
            found.push((clean(&name.unwrap_or_default()), location));
        }
        Ok(found)
    });
    // Unreadable debug information is treated as missing.
    frames.unwrap_or_default()
}

fn format_location(location: &addr2line::Location<'_>) -> String {
    let numbers = [location.line, location.column];
    let mut text = clean(location.file.unwrap_or_default());
    for number in numbers.into_iter().map_while(|number| number) {
        text.push(':');
        text.push_str(&number.to_string());
    }
    text
}
