//! Checks one entry of `sources`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::units::python_int;
use crate::error::{exceeded, nearest};
use crate::filter::MeterFilter;
use crate::keys::SOURCE;
use crate::raw::{Field, Kind, RawSource, Scalar, Scalars};
use crate::routing::Pipeline;
use crate::spec::SourceSpec;
use nephometer_model::{Bound, Glob};

/// The key that divides work between central agents.
const PARTITION: &str = "group_id_coordination_expression";

const INTERVAL: &str = "write a whole number of seconds";

/// The default of Ceilometer releases with this form.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// Bounds the interval, because times are added to it.
const LONGEST_INTERVAL: i64 = 10 * 366 * 86400;

/// The only discovery of this agent.
const DISCOVERY: &str = "local_instances";

/// Checks one source that polls. `sinks` are the valid names; `None` in `polling.yaml`, where a source
/// has no sinks and needs an interval.
pub(super) fn polling(
    check: &mut Check<'_>,
    at: &str,
    raw: &RawSource,
    sinks: Option<&[Arc<str>]>,
) -> Option<SourceSpec> {
    check.keys(at, &SOURCE, &[]);
    let name = check.name(at, &raw.name, "source");
    if sinks.is_none() && matches!(raw.interval, Field::Absent) {
        check.fault(at, "this source has no `interval`", INTERVAL);
    }
    let interval = interval(check, at, &raw.interval);
    let meters = meters(check, at, raw);
    let resources = plain_list(check, &format!("{at}/resources"), &raw.resources);
    let discovery = discovery(check, at, &raw.discovery);
    if let (Some([_, ..]), Some(names)) = (resources.as_deref(), discovery.as_deref()) {
        let what = match names.is_empty() {
            true => {
                "no meter of this agent can use `resources`, so that this source has no samples"
            }
            false => "`resources` has no effect: this agent meters instances only",
        };
        check.warn(&format!("{at}/resources"), what, "remove it");
    }
    let sinks = match sinks {
        Some(sinks) => sink_names(check, at, raw, sinks),
        None => Some(Vec::new()),
    };
    if check.doc.fact(&format!("{at}/{PARTITION}")).is_some() {
        let what = format!("`{PARTITION}` has no effect: this agent meters all of its host");
        check.warn(&format!("{at}/{PARTITION}"), what, "remove it");
    }
    Some(SourceSpec {
        name: name?.into(),
        interval: interval?,
        meters: meters?,
        resources: resources?,
        discovery: discovery?,
        sinks: sinks?,
    })
}

/// Checks one source of a `pipeline.yaml` beside a `polling.yaml`, which only selects samples.
pub(super) fn pipeline(
    check: &mut Check<'_>,
    at: &str,
    raw: &RawSource,
    sinks: &[Arc<str>],
) -> Option<Pipeline> {
    // Polling keys are accepted and ignored, as upstream does.
    check.keys(at, &SOURCE, &[]);
    let name = check.name(at, &raw.name, "source");
    let meters = meters(check, at, raw);
    let sinks = sink_names(check, at, raw, sinks);
    Some(Pipeline { name: name?.into(), meters: meters?, sinks: sinks? })
}

fn interval(check: &mut Check<'_>, at: &str, field: &Field<Scalar>) -> Option<Duration> {
    const RIGHT: &str = INTERVAL;
    let pointer = format!("{at}/interval");
    let value = match field {
        Field::Absent => return Some(DEFAULT_INTERVAL),
        Field::Given(value) => value,
        Field::Null | Field::Wrong => {
            check.wrong(&pointer, format!("{RIGHT}, or leave the key out for 600"));
            return None;
        }
    };
    let Some(seconds) = python_int(value, check.kind(&pointer)) else {
        check.fault(
            &pointer,
            format!("the interval {:?} is not a number", value.to_string()),
            RIGHT,
        );
        return None;
    };
    let found = u64::try_from(seconds).ok().filter(|_| (1..=LONGEST_INTERVAL).contains(&seconds));
    if found.is_none() {
        let what = if seconds < 1 {
            format!("the interval {value} is not above 0")
        } else {
            format!("the interval {value} is longer than ten years")
        };
        check.fault(&pointer, what, RIGHT);
    }
    found.map(Duration::from_secs)
}

fn meters(check: &mut Check<'_>, at: &str, raw: &RawSource) -> Option<MeterFilter> {
    const RIGHT: &str = "write a list of meter names, or \"*\" for all of them";
    let (key, field) = match (&raw.meters, &raw.counters) {
        (Field::Absent, Field::Absent) => {
            check.fault(at, "this source has no `meters`", RIGHT);
            return None;
        }
        (Field::Absent, counters) => ("counters", counters),
        (meters, _) => ("meters", meters),
    };
    let pointer = format!("{at}/{key}");
    let texts = match (field, check.kind(&pointer)) {
        (Field::Given(entries), Kind::List) if !entries.is_empty() => {
            let texts = check.texts(&pointer, entries);
            if texts.len() < entries.len() {
                return None;
            }
            texts
        }
        // Ceilometer iterates over the letters of a text; the text `*` works there and was used.
        (_, Kind::Text) if check.text(&pointer) == Some("*") => {
            vec![(pointer, "*".to_owned())]
        }
        (Field::Given(_), Kind::List) | (Field::Null, _) => {
            check.fault(&pointer, format!("`{key}` is empty"), RIGHT);
            return None;
        }
        _ => {
            check.wrong(&pointer, RIGHT);
            return None;
        }
    };
    let faults = check.report.faults();
    if let Err(error) = Bound::Globs.check(texts.len()) {
        check.report.push(exceeded(check.doc.location(&format!("{at}/{key}")), error));
        return None;
    }
    check_meters(check, &texts);
    if check.report.faults() > faults {
        return None;
    }
    let filter = MeterFilter::new(texts.iter().map(|(_, text)| text.as_str()));
    filter.ok()
}

/// Meters with these prefixes are not among those of `*`, so that they may be named beside it.
const OPT_IN: [&str; 2] = ["libvirt.", "nephometer."];

/// Checks the combination of entries. One that begins with `*` counts as neither include nor exclude.
fn check_meters(check: &mut Check<'_>, texts: &[(String, String)]) {
    let mut include = None;
    let mut exclude = None;
    let wildcard = texts.iter().find(|(_, text)| text == "*");
    let is_opt_in = |text: &str| OPT_IN.iter().any(|prefix| text.starts_with(prefix));
    for (pointer, text) in texts {
        match text.chars().next() {
            None => check.fault(
                pointer,
                "this meter name is empty",
                "write a name or \"*\", or remove the entry",
            ),
            Some('!') => exclude = exclude.or(Some((pointer, text))),
            Some('*') => {}
            Some(_) if wildcard.is_some() && is_opt_in(text) => {}
            Some(_) => include = include.or(Some((pointer, text))),
        }
        if let Err(error) = Glob::new(text.strip_prefix('!').unwrap_or(text)) {
            check.fault(pointer, error.to_string(), "write a list of shorter ones");
        }
    }
    if let (Some((_, include)), Some((pointer, exclude))) = (include, exclude) {
        check.fault(
            pointer,
            format!("{exclude:?} excludes meters where {include:?} includes some"),
            "list either meters to include, or \"*\" and meters to exclude",
        );
    }
    if let (Some((_, include)), Some((pointer, _))) = (include, wildcard) {
        check.fault(pointer, format!("\"*\" already includes {include:?}"), "remove one of them");
    }
}

/// A list of scalars as written; any value that is false in Python is an empty list.
fn plain_list(check: &mut Check<'_>, pointer: &str, field: &Scalars) -> Option<Vec<String>> {
    if check.falsy(pointer) {
        return Some(Vec::new());
    }
    let Field::Given(entries) = field else {
        check.wrong(pointer, "write a list");
        return None;
    };
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match entry {
            Field::Given(value) => found.push(value.to_string()),
            _ => check.wrong(&format!("{pointer}/{at}"), "write text"),
        }
    }
    (found.len() == entries.len()).then_some(found)
}

fn discovery(check: &mut Check<'_>, at: &str, field: &Scalars) -> Option<Vec<String>> {
    let pointer = format!("{at}/discovery");
    let found = plain_list(check, &pointer, field)?;
    for (at, name) in found.iter().enumerate() {
        // A colon separates a parameter, which `local_instances` ignores.
        let plain = name.split(':').next().unwrap_or(name);
        if plain == DISCOVERY {
            continue;
        }
        let remedy = match nearest(plain, [DISCOVERY]) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("`{DISCOVERY}` is the only one on a compute node"),
        };
        let what = format!("unknown discovery {plain:?}, it matches nothing");
        check.warn(&format!("{pointer}/{at}"), what, remedy);
    }
    Some(found)
}

fn sink_names(
    check: &mut Check<'_>,
    at: &str,
    raw: &RawSource,
    known: &[Arc<str>],
) -> Option<Vec<Arc<str>>> {
    const RIGHT: &str = "list the names of one or more entries of `sinks`";
    let pointer = format!("{at}/sinks");
    let entries = match (&raw.sinks, check.kind(&pointer)) {
        (Field::Absent, _) => {
            check.fault(at, "this source names no sink", RIGHT);
            return None;
        }
        (Field::Given(entries), Kind::List) if !entries.is_empty() => entries,
        (Field::Null | Field::Given(_), _) => {
            check.fault(&pointer, "`sinks` is empty", RIGHT);
            return None;
        }
        (Field::Wrong, _) => {
            check.wrong(&pointer, RIGHT);
            return None;
        }
    };
    let mut found: Vec<Arc<str>> = Vec::new();
    let mut named: HashSet<Arc<str>> = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let inner = format!("{pointer}/{at}");
        let Field::Given(value) = entry else {
            check.wrong(&inner, RIGHT);
            continue;
        };
        let name = value.to_string();
        if named.contains(&*name) {
            let what = format!("the sink {name:?} is named twice by this source");
            check.fault(&inner, what, "name it once");
        } else if let Some(sink) = known.iter().find(|sink| ***sink == *name) {
            named.insert(Arc::clone(sink));
            found.push(Arc::clone(sink));
        } else {
            let meant = nearest(&name, known.iter().map(|sink| &**sink));
            let remedy = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add a sink of this name, or {RIGHT}"),
            };
            check.fault(&inner, format!("unknown sink {name:?}"), remedy);
        }
    }
    (found.len() == entries.len()).then_some(found)
}
