//! Warns about `meters` that select nothing of what this agent has.

use super::Check;
use super::context::KnownMeters;
use crate::error::nearest;
use crate::raw::{Field, Kind, RawSource, Scalar};
use nephometer_model::Glob;

/// Checks the `meters` of a source, which are valid. Files are shared with agents that have other
/// meters, so that these are warnings.
pub(super) fn meters(check: &mut Check<'_>, at: &str, raw: &RawSource, known: &KnownMeters) {
    if known.names.is_empty() {
        return;
    }
    let (key, field) = match &raw.meters {
        Field::Absent => ("counters", &raw.counters),
        meters => ("meters", meters),
    };
    let pointer = format!("{at}/{key}");
    let (Field::Given(entries), Kind::List) = (field, check.kind(&pointer)) else { return };
    let text = |(at, entry): (usize, &Field<Scalar>)| match entry {
        Field::Given(value) => Some((format!("{pointer}/{at}"), value.to_string())),
        _ => None,
    };
    let texts: Vec<(String, String)> = entries.iter().enumerate().filter_map(text).collect();
    source(check, &pointer, &texts, known);
}

fn source(check: &mut Check<'_>, pointer: &str, texts: &[(String, String)], known: &KnownMeters) {
    let is_unknown = |text: &&(String, String)| !is_known(&text.1, known);
    let unknown: Vec<&(String, String)> = texts.iter().filter(is_unknown).collect();
    let meant = |text: &str| meant(text.strip_prefix('!').unwrap_or(text), known);
    if unknown.len() == texts.len() && texts.iter().all(|(_, text)| !text.starts_with('!')) {
        if let [(_, first), ..] = unknown.as_slice() {
            let what = format!(
                "this agent has none of these meters, such as {first:?}: this source has no samples"
            );
            check.warn(pointer, what, meant(first));
        }
        return;
    }
    for (pointer, text) in unknown {
        check.warn(pointer, format!("no meter of this agent matches {text:?}"), meant(text));
    }
}

/// What stands for a meter that this agent does not have.
fn meant(text: &str, known: &KnownMeters) -> String {
    let release_of = |text: &str| known.others.iter().find(|(name, _)| name == text);
    if let Some((_, release)) = release_of(text) {
        return format!("it is one of `compatibility: {release}`; no action needed without it");
    }
    if let Some((base, transformer)) = computed(text) {
        if is_known(base, known) {
            return format!(
                "it is not polled but computed from `{base}`: poll that, and add the transformer \
                 {transformer} to a sink, or let the receiver compute it (Gnocchi: rate:mean)"
            );
        }
        if let Some((_, release)) = release_of(base) {
            return format!(
                "it is computed from `{base}`, one of `compatibility: {release}`; no action needed \
                 without it"
            );
        }
    }
    match nearest(text, known.names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "no action needed if another agent has it".to_owned(),
    }
}

/// The meter that Ceilometer's pipelines computed another from, and the transformer.
fn computed(text: &str) -> Option<(&str, &'static str)> {
    match text {
        "cpu_util" | "cpu.util" => Some(("cpu", "rate_of_change")),
        "cpu.delta" => Some(("cpu", "delta")),
        _ => text.strip_suffix(".rate").map(|base| (base, "rate_of_change")),
    }
}

fn is_known(text: &str, known: &KnownMeters) -> bool {
    let text = text.strip_prefix('!').unwrap_or(text);
    // The checks of the list itself report an invalid pattern.
    let Ok(glob) = Glob::new(text) else { return true };
    text.is_empty()
        || text.starts_with(known.prefix)
        || known.names.iter().any(|name| glob.matches(name))
}
