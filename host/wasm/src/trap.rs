//! Formats a failed call: its cause, and its location in the guest.
//!
//! Function names come from the guest's file. They are truncated before any other processing, and
//! only names mangled by Rust are demangled, into text of bounded length.

use std::fmt::{self, Write};
use std::sync::Arc;

use wasmtime::{FrameInfo, WasmBacktrace};

use super::cause::cause;
use super::limits::LimitExceeded;
use super::log::clean;
use super::symbolize::{ComponentFile, InlinedFrames, Symbolizer};
use nephometer_model::Bound;

/// Appends cause and stack to the reason. If a limit ended the call, it is the cause.
pub(super) async fn explain(
    error: &wasmtime::Error,
    exceeded: Option<LimitExceeded>,
    symbolizer: &Arc<Symbolizer>,
    file: &ComponentFile,
    reason: &mut String,
) {
    if !matches!(exceeded, Some(LimitExceeded::Cpu | LimitExceeded::Returned)) {
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(&cause(error));
    }
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return };
    let frames: Vec<(String, Option<u64>)> = trace.frames().iter().map(frame).collect();
    let offsets: Vec<u64> = frames.iter().filter_map(|(_, offset)| *offset).collect();
    let resolved = if offsets.len() == frames.len() {
        symbolizer.resolve(file, offsets).await
    } else {
        Arc::default()
    };
    let functions = functions(frames, &resolved);
    if !functions.is_empty() {
        reason.push_str("; in ");
        reason.push_str(&functions.join(" < "));
    }
}

/// The function name of a frame, and its offset in the component file.
fn frame(frame: &FrameInfo) -> (String, Option<u64>) {
    let name = match frame.func_name() {
        Some(name) => name.to_owned(),
        None => format!("function {}", frame.func_index()),
    };
    (name, frame.module_offset().map(|offset| offset as u64))
}

/// The innermost functions with their source locations, without the panic machinery of Rust.
fn functions(frames: Vec<(String, Option<u64>)>, resolved: &[InlinedFrames]) -> Vec<String> {
    const MACHINERY: [&str; 5] = ["std::", "core::", "alloc::", "__rustc", "<alloc::"];
    let all = frames.into_iter().enumerate().flat_map(|(index, (name, _))| {
        match resolved.get(index).filter(|functions| !functions.is_empty()) {
            Some(functions) => functions.clone(),
            None => vec![(name, String::new())],
        }
    });
    let demangled = all.map(|(name, location)| (demangle(&name), location));
    demangled
        .filter(|(name, _)| !MACHINERY.iter().any(|machinery| name.starts_with(machinery)))
        .map(
            |(name, location)| {
                if location.is_empty() { name } else { format!("{name} ({location})") }
            },
        )
        .take(Bound::Frames.size())
        .collect()
}

/// The demangled name of a function if it is one of Rust, the raw name otherwise. Cleaned and truncated:
/// a short name can stand for a very long one.
pub fn demangle(name: &str) -> String {
    let max = Bound::TextBytes.size();
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) if name.len() <= max => {
            let mut text = BoundedText { text: String::new(), max };
            // An error means that the name was truncated at the bound.
            let _truncated = write!(text, "{demangled:#}");
            clean(&text.text)
        }
        _ => clean(name),
    }
}

/// A text of at most `max` bytes.
struct BoundedText {
    text: String,
    max: usize,
}

impl Write for BoundedText {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > self.max {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<(String, Option<u64>)> {
        names.iter().map(|name| ((*name).to_owned(), None)).collect()
    }

    #[test]
    fn stack_omits_the_panic_machinery() {
        let frames = named(&[
            "_RNvNtCs4fqI2P2rA04_4core9panicking9panic_fmt",
            "_ZN3top6divide17h05af221e174051e9E",
            "cost_of",
            "nephometer:metering/transform@0.2.0#transform",
        ]);
        let resolved = vec![
            vec![],
            vec![("_ZN3top6divide17h05af221e174051e9E".to_owned(), "src/lib.rs:3".to_owned())],
            vec![
                ("inlined".to_owned(), "./component.c:63:9".to_owned()),
                ("cost_of".to_owned(), "./component.c:70:1".to_owned()),
            ],
            vec![],
        ];
        assert_eq!(
            functions(frames.clone(), &resolved),
            [
                "top::divide (src/lib.rs:3)",
                "inlined (./component.c:63:9)",
                "cost_of (./component.c:70:1)",
                "nephometer:metering/transform@0.2.0#transform",
            ]
        );
        assert_eq!(functions(frames, &[])[0], "top::divide");
    }

    // Regression: one mangled C++ name with doubling substitutions took 6.4 GB and 28 s per batch.
    #[test]
    fn names_are_truncated_and_only_rust_names_are_demangled() {
        let doubling = format!("_Z1f1A1BIS_S_E{}", "S0_IS1_S1_E".repeat(40));
        assert_eq!(demangle(&doubling), doubling);
        let max = Bound::TextBytes.size();
        let long = demangle(&"a".repeat(max + 1));
        assert!(long.ends_with("[cut]") && long.len() < max + 10);
        assert_eq!(demangle(&"a".repeat(max)).len(), max);
        // Back references of Rust's own scheme multiply as well.
        let rust = format!("_RINvC1a1b{}E", "TB_B_".repeat(100));
        assert!(demangle(&rust).len() <= rust.len().max(max) + 10);
    }
}
