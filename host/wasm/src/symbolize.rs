//! Lines of source files for the frames of a trap, from a component's own debug information.
//!
//! Debug information is whatever a component's author wrote: parsers of it recurse and multiply as it says. So
//! it is read by a child under the compiler's limits, for no more than [`Bound::SymbolizeTime`], one child
//! at a time, and once for the same trap. Where it fails, the trap is reported without lines.

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

use super::compile::{CompilerError, confined_input, finish, limit, nameless, start};
use super::digest::Digest;
use super::load;
use super::log::clean;
use nephometer_model::Bound;

/// Traps that are remembered.
const KNOWN: usize = 1_000;
/// Bytes that a child may write.
const OUTPUT: u64 = 64 << 10;

/// A function and where in its source: `FILE:LINE:COLUMN`, empty if unknown. Innermost first, several where
/// calls were inlined.
pub(super) type Places = Vec<(String, String)>;

/// Places per frame.
type Trace = Arc<Vec<Places>>;

/// The file of a component: what was loaded, and what it was.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
}

/// Finds lines of sources.
#[derive(Debug)]
pub(super) struct Symbolizer {
    /// The program that reads debug information; without one there are no lines.
    program: Option<PathBuf>,
    known: Mutex<HashMap<(Digest, Vec<u64>), Trace>>,
    one: Semaphore,
}

impl Symbolizer {
    pub(super) fn new(program: Option<PathBuf>) -> Self {
        Self { program, known: Mutex::default(), one: Semaphore::new(1) }
    }

    /// What the frames at these offsets of the component's file are. Empty where nothing is known, where
    /// another trap is being looked at, or when time was over.
    pub(super) async fn places(self: &Arc<Self>, origin: &Origin, offsets: Vec<u64>) -> Trace {
        let key = (origin.digest, offsets);
        if let Some(known) = self.known().get(&key) {
            return Arc::clone(known);
        }
        let (Some(program), Ok(permit)) = (self.program.clone(), self.one.try_acquire()) else {
            return Trace::default();
        };
        let (path, (digest, offsets)) = (origin.path.clone(), key.clone());
        let work = tokio::task::spawn_blocking(move || {
            look_up(&program, &path, digest, &offsets).unwrap_or_default()
        });
        let limit = Duration::from_millis(Bound::SymbolizeTime.most());
        let found = timeout(limit, work).await;
        drop(permit);
        let found = Arc::new(found.ok().and_then(Result::ok).unwrap_or_default());
        let mut known = self.known();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, Arc::clone(&found));
        found
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Digest, Vec<u64>), Trace>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a child. `None` if the file has changed, or if the child failed in any way: a component without lines
/// is all that follows.
fn look_up(program: &Path, path: &Path, digest: Digest, offsets: &[u64]) -> Option<Vec<Places>> {
    let (bytes, found) = load::read(path).ok()?;
    if found != digest {
        return None;
    }
    let mut output = nameless("nephometer-lines").ok()?;
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
    output.take(OUTPUT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// What the child does: limits itself, reads a component, writes the places of these offsets as JSON.
/// `component` and `places` are its standard input and output.
pub fn symbolize_confined(
    component: impl Read,
    mut places: impl Write,
    offsets: &[u64],
) -> Result<(), CompilerError> {
    let bytes = confined_input(component)?;
    limit(Resource::Cpu, Bound::SymbolizeTime.most().div_ceil(1_000))
        .and_then(|()| limit(Resource::Fsize, OUTPUT))
        .map_err(CompilerError::Limits)?;
    let modules = modules(&bytes).map_err(|error| CompilerError::Component(error.to_string()))?;
    let found: Vec<Places> = offsets.iter().map(|offset| places_at(&modules, *offset)).collect();
    let text = serde_json::to_string(&found).map_err(std::io::Error::from)?;
    places.write_all(text.as_bytes())?;
    Ok(places.flush()?)
}

/// A core module's debug information and where its code is in the file.
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

fn places_at(modules: &[Module<'_>], offset: u64) -> Places {
    let Some(module) = modules.iter().find(|module| module.code.contains(&offset)) else {
        return Places::new();
    };
    let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let data = module.sections.get(id.name()).copied().unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    // Addresses in debug information count from the beginning of the code section.
    let address = offset - module.code.start;
    let context = Dwarf::load(section).and_then(Context::from_dwarf);
    let frames = context.and_then(|context| {
        let mut found = Places::new();
        let mut frames = context.find_frames(address).skip_all_loads()?;
        while let Some(frame) = frames.next()? {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let place = frame.location.map(|location| place(&location)).unwrap_or_default();
            found.push((clean(&name.unwrap_or_default()), place));
        }
        Ok(found)
    });
    // Debug information that cannot be read is as good as none.
    frames.unwrap_or_default()
}

fn place(location: &addr2line::Location<'_>) -> String {
    let numbers = [location.line, location.column];
    let mut text = clean(location.file.unwrap_or_default());
    for number in numbers.into_iter().map_while(|number| number) {
        text.push(':');
        text.push_str(&number.to_string());
    }
    text
}
