//! A failed call in words: what happened, and where in the guest.
//!
//! Names of functions are what the guest's file has: they are cut before anything else is done with them, and
//! only names that Rust has mangled are made readable, into a text of bounded length.

use std::fmt::{self, Write};
use std::sync::Arc;

use wasmtime::{FrameInfo, WasmBacktrace};

use super::cause::cause;
use super::limits::LimitExceeded;
use super::log::clean;
use super::symbolize::{Origin, Places, Symbolizer};
use nephometer_model::Bound;

/// Adds to the reason what happened and where. A call that was ended by a limit has no more to add than that.
pub(super) async fn explain(
    error: &wasmtime::Error,
    hit: Option<LimitExceeded>,
    symbolizer: &Arc<Symbolizer>,
    origin: &Origin,
    reason: &mut String,
) {
    if !matches!(hit, Some(LimitExceeded::Cpu | LimitExceeded::Returned)) {
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(&cause(error));
    }
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return };
    let frames: Vec<(String, Option<u64>)> = trace.frames().iter().map(frame).collect();
    let offsets: Vec<u64> = frames.iter().filter_map(|(_, offset)| *offset).collect();
    let places = if offsets.len() == frames.len() {
        symbolizer.places(origin, offsets).await
    } else {
        Arc::default()
    };
    let functions = functions(frames, &places);
    if !functions.is_empty() {
        reason.push_str("; in ");
        reason.push_str(&functions.join(" < "));
    }
}

/// A frame's function by name, and its offset in the component's file.
fn frame(frame: &FrameInfo) -> (String, Option<u64>) {
    let name = match frame.func_name() {
        Some(name) => name.to_owned(),
        None => format!("function {}", frame.func_index()),
    };
    (name, frame.module_offset().map(|offset| offset as u64))
}

/// The innermost functions with their places, without what stands above the author's own whenever Rust
/// panics.
fn functions(frames: Vec<(String, Option<u64>)>, places: &[Places]) -> Vec<String> {
    const MACHINERY: [&str; 5] = ["std::", "core::", "alloc::", "__rustc", "<alloc::"];
    let all = frames.into_iter().enumerate().flat_map(|(index, (name, _))| {
        match places.get(index).filter(|places| !places.is_empty()) {
            Some(places) => places.clone(),
            None => vec![(name, String::new())],
        }
    });
    let readable = all.map(|(name, place)| (readable(&name), place));
    readable
        .filter(|(name, _)| !MACHINERY.iter().any(|machinery| name.starts_with(machinery)))
        .map(|(name, place)| if place.is_empty() { name } else { format!("{name} ({place})") })
        .take(Bound::Frames.size())
        .collect()
}

/// A name as its author wrote it, where that is Rust; the raw name otherwise.
fn readable(name: &str) -> String {
    let most = Bound::TextBytes.size();
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) if name.len() <= most => {
            let mut text = Text { text: String::new(), most };
            // A name that becomes longer than the bound is cut there.
            let _cut = write!(text, "{demangled:#}");
            clean(&text.text)
        }
        _ => clean(name),
    }
}

/// A text that takes so many bytes and no more.
struct Text {
    text: String,
    most: usize,
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > self.most {
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
    fn a_stack_is_reported_without_the_machinery_of_panics() {
        let frames = named(&[
            "_RNvNtCs4fqI2P2rA04_4core9panicking9panic_fmt",
            "_ZN3top6divide17h05af221e174051e9E",
            "cost_of",
            "nephometer:metering/transform@0.2.0#transform",
        ]);
        let places = vec![
            vec![],
            vec![("_ZN3top6divide17h05af221e174051e9E".to_owned(), "src/lib.rs:3".to_owned())],
            vec![
                ("inlined".to_owned(), "./component.c:63:9".to_owned()),
                ("cost_of".to_owned(), "./component.c:70:1".to_owned()),
            ],
            vec![],
        ];
        assert_eq!(
            functions(frames.clone(), &places),
            [
                "top::divide (src/lib.rs:3)",
                "inlined (./component.c:63:9)",
                "cost_of (./component.c:70:1)",
                "nephometer:metering/transform@0.2.0#transform",
            ]
        );
        assert_eq!(functions(frames, &[])[0], "top::divide");
    }

    // One mangled name of C++ with substitutions that double took 6.4 GB and 28 s a batch.
    #[test]
    fn names_are_cut_and_only_those_of_rust_are_made_readable() {
        let doubling = format!("_Z1f1A1BIS_S_E{}", "S0_IS1_S1_E".repeat(40));
        assert_eq!(readable(&doubling), doubling);
        let most = Bound::TextBytes.size();
        let long = readable(&"a".repeat(most + 1));
        assert!(long.ends_with("[cut]") && long.len() < most + 10);
        assert_eq!(readable(&"a".repeat(most)).len(), most);
        // Back references of Rust's own scheme multiply, too.
        let rust = format!("_RINvC1a1b{}E", "TB_B_".repeat(100));
        assert!(readable(&rust).len() <= rust.len().max(most) + 10);
    }
}
