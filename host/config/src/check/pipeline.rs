//! Checks `pipeline.yaml` and `polling.yaml`: sources that poll, sinks that transform and publish.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::context::PipelineContext;
use super::{Check, known, publisher, source};
use crate::error::{Report, exceeded};
use crate::keys::{self, SINK, TRANSFORMER};
use crate::raw::{
    Document, Field, Kind, RawPipeline, RawSink, RawSource, RawTransformer, Scalar, Scalars,
};
use crate::routing::Pipeline;
use crate::spec::{PipelineSpec, PublisherSpec, SinkSpec, SourceSpec, TransformerSpec};
use nephometer_model::Bound;

const RIGHT: &str = "write a mapping with the keys `sources` and `sinks`, each a list";

/// Checks a `pipeline.yaml` in the form of 2015, whose sources poll.
pub(crate) fn check(
    doc: &Document,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<PipelineSpec> {
    let poll = |check: &mut Check<'_>, at: &str, raw: &RawSource, sinks: &[Arc<str>]| {
        source::polling(check, at, raw, Some(sinks))
    };
    let (sources, sinks) = file(doc, context, report, poll)?;
    Some(PipelineSpec { sources, sinks })
}

/// Checks a `pipeline.yaml` beside a `polling.yaml`: its sources only select polled samples.
pub(crate) fn pipeline_sources(
    doc: &Document,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<(Vec<Pipeline>, Vec<SinkSpec>)> {
    file(doc, context, report, source::pipeline)
}

/// Checks a `polling.yaml`.
pub(crate) fn polling(
    doc: &Document,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<Vec<SourceSpec>> {
    let mut check = Check::new(doc, report);
    let raw = top(&mut check, "write a mapping with the key `sources`, a list")?;
    check.keys("", &keys::POLLING_FILE, &[]);
    let sources = entries(&mut check, "sources", raw.sources)?;
    check_names(&mut check, &sources, "source");
    let made: Vec<Option<SourceSpec>> = sources
        .into_iter()
        .map(|(at, raw)| {
            let source = source::polling(&mut check, &at, &raw, None)?;
            known::meters(&mut check, &at, &raw, &context.meters);
            Some(source)
        })
        .collect();
    made.into_iter().collect()
}

/// The mirror of a whole file.
fn top(check: &mut Check<'_>, right: &str) -> Option<RawPipeline> {
    match (check.doc.mirror(), check.kind("")) {
        (Field::Given(raw), Kind::Map) => return Some(raw),
        (_, Kind::Null) => check.fault("", "the file is empty", right),
        _ => check.wrong("", right),
    }
    None
}

/// Checks the sinks, and the sources against the names of the sinks.
fn file<T: RoutedSource>(
    doc: &Document,
    context: &PipelineContext,
    report: &mut Report,
    source: impl Fn(&mut Check<'_>, &str, &RawSource, &[Arc<str>]) -> Option<T>,
) -> Option<(Vec<T>, Vec<SinkSpec>)> {
    let mut check = Check::new(doc, report);
    let raw = top(&mut check, RIGHT)?;
    check.keys("", &keys::PIPELINE, &[]);
    let sinks = entries(&mut check, "sinks", raw.sinks);
    let sources = entries(&mut check, "sources", raw.sources);
    let names = check_names(&mut check, sinks.as_deref().unwrap_or_default(), "sink");
    check_names(&mut check, sources.as_deref().unwrap_or_default(), "source");
    let sinks = sinks.map(|sinks| {
        sinks.into_iter().map(|(at, raw)| sink(&mut check, &at, raw, context)).collect::<Vec<_>>()
    });
    let sources = sources.map(|sources| {
        let made = sources.into_iter().map(|(at, raw)| {
            let source = source(&mut check, &at, &raw, &names);
            if source.is_some() {
                known::meters(&mut check, &at, &raw, &context.meters);
            }
            (at, source)
        });
        made.collect::<Vec<_>>()
    });
    check_pipeline_names(&mut check, sources.as_deref().unwrap_or_default());
    let sources = sources?.into_iter().map(|(_, source)| source).collect::<Option<_>>()?;
    Some((sources, sinks?.into_iter().collect::<Option<_>>()?))
}

/// The mirrors of a top-level list with their pointers; entries that are not mappings are problems.
fn entries<T: Default>(
    check: &mut Check<'_>,
    key: &str,
    field: Field<Vec<Field<T>>>,
) -> Option<Vec<(String, T)>> {
    let pointer = format!("/{key}");
    let fields = match (field, check.kind(&pointer)) {
        (Field::Given(fields), Kind::List) => fields,
        (Field::Absent, _) => {
            check.fault("", format!("`{key}` is missing"), RIGHT);
            return None;
        }
        _ => {
            check.wrong(&pointer, format!("write a list of {key}"));
            return None;
        }
    };
    if fields.is_empty() {
        check.warn(&pointer, format!("`{key}` is empty"), "this agent has nothing to do");
    }
    if let Err(error) = Bound::Entries.check(fields.len()) {
        check.report.push(exceeded(check.doc.location(&pointer), error));
        return None;
    }
    let mut found = Vec::new();
    for (at, field) in fields.into_iter().enumerate() {
        let pointer = format!("{pointer}/{at}");
        match field {
            Field::Null => check.wrong(&pointer, "write a mapping, or remove it"),
            field => found.extend(check.mapping(&pointer, field).map(|raw| (pointer, raw))),
        }
    }
    Some(found)
}

/// The names of all entries, including entries with other problems. Duplicates are problems.
fn check_names<T: Named>(
    check: &mut Check<'_>,
    entries: &[(String, T)],
    of: &str,
) -> Vec<Arc<str>> {
    let (mut names, mut taken) = (Vec::new(), HashSet::new());
    for (at, raw) in entries {
        let Field::Given(name) = raw.name() else { continue };
        let name: Arc<str> = name.to_string().into();
        if !taken.insert(Arc::clone(&name)) {
            let what = format!("the name {name:?} is taken by another {of}");
            check.fault(&format!("{at}/name"), what, format!("give every {of} a unique name"));
        } else {
            names.push(name);
        }
    }
    names
}

/// Sources and sinks by name.
trait Named {
    fn name(&self) -> &Field<Scalar>;
}

impl Named for RawSource {
    fn name(&self) -> &Field<Scalar> {
        &self.name
    }
}

impl Named for RawSink {
    fn name(&self) -> &Field<Scalar> {
        &self.name
    }
}

/// Sources of both forms, with their names and sinks.
trait RoutedSource {
    fn name_and_sinks(&self) -> (&Arc<str>, &[Arc<str>]);
}

impl RoutedSource for SourceSpec {
    fn name_and_sinks(&self) -> (&Arc<str>, &[Arc<str>]) {
        (&self.name, &self.sinks)
    }
}

impl RoutedSource for Pipeline {
    fn name_and_sinks(&self) -> (&Arc<str>, &[Arc<str>]) {
        (&self.name, &self.sinks)
    }
}

/// A pipeline is a source with a sink, named `source:sink`, or just `source` where both are the
/// same. These names must be unique.
fn check_pipeline_names<T: RoutedSource>(check: &mut Check<'_>, sources: &[(String, Option<T>)]) {
    let mut taken: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for (at, source) in sources {
        let Some((source, sinks)) = source.as_ref().map(RoutedSource::name_and_sinks) else {
            continue;
        };
        for sink in sinks {
            let name = if source == sink { sink.to_string() } else { format!("{source}:{sink}") };
            match taken.get(&name) {
                // Duplicate names of sources are reported already.
                Some(other) if other != source => {
                    let what =
                        format!("the pipeline name {name:?} is already used by source {other:?}");
                    check.fault(&format!("{at}/name"), what, "rename the source");
                }
                Some(_) => {}
                None => {
                    taken.insert(name, Arc::clone(source));
                }
            }
        }
    }
}

fn sink(
    check: &mut Check<'_>,
    at: &str,
    raw: RawSink,
    context: &PipelineContext,
) -> Option<SinkSpec> {
    check.keys(at, &SINK, &[]);
    let name = check.name(at, &raw.name, "sink");
    let transformers = transformers(check, at, raw.transformers);
    let publishers = publishers(check, at, &raw.publishers, context);
    let good = transformers.iter().flatten().flatten().cloned();
    check.report.checkable.push(SinkSpec {
        name: name.as_deref().unwrap_or(at).into(),
        transformers: good.collect(),
        publishers: publishers.clone().unwrap_or_default(),
    });
    let transformers = transformers?.into_iter().collect::<Option<_>>()?;
    Some(SinkSpec { name: name?.into(), transformers, publishers: publishers? })
}

/// All transformers of the list; `None` for an invalid one.
fn transformers(
    check: &mut Check<'_>,
    at: &str,
    field: Field<Vec<Field<RawTransformer>>>,
) -> Option<Vec<Option<TransformerSpec>>> {
    let pointer = format!("{at}/transformers");
    if check.falsy(&pointer) {
        return Some(Vec::new());
    }
    let (Field::Given(fields), Kind::List) = (field, check.kind(&pointer)) else {
        check.wrong(&pointer, "write a list of mappings with `name` and `parameters`");
        return None;
    };
    if let Err(error) = Bound::Entries.check(fields.len()) {
        check.report.push(exceeded(check.doc.location(&pointer), error));
        return None;
    }
    let mut found = Vec::new();
    for (at, field) in fields.into_iter().enumerate() {
        let pointer = format!("{pointer}/{at}");
        found.push(match field {
            Field::Null => {
                check.wrong(&pointer, "write a mapping with `name` and `parameters`");
                None
            }
            field => {
                check.mapping(&pointer, field).and_then(|raw| transformer(check, &pointer, raw))
            }
        });
    }
    Some(found)
}

fn transformer(check: &mut Check<'_>, at: &str, raw: RawTransformer) -> Option<TransformerSpec> {
    check.keys(at, &TRANSFORMER, &[]);
    let name = check.name(at, &raw.name, "transformer").filter(|name| file_name(check, at, name));
    let pointer = format!("{at}/parameters");
    let parameters = match (raw.parameters, check.kind(&pointer)) {
        (Field::Absent, _) => {
            check.fault(
                at,
                "this transformer has no `parameters`",
                "write `parameters:`, without a value if there are none",
            );
            None
        }
        (Field::Given(parameters), Kind::Map) => finite(check, &pointer).then_some(parameters),
        _ if check.falsy(&pointer) => Some(serde_json::Map::new()),
        _ => {
            check.wrong(&pointer, "write a mapping of `key: value` lines");
            None
        }
    };
    Some(TransformerSpec {
        name: name?.into(),
        location: check.location(&format!("{at}/name")).clone(),
        parameters: parameters?,
        locations: check.doc.locations(&pointer),
    })
}

/// The name is used as a file name and must not leave the folder.
fn file_name(check: &mut Check<'_>, at: &str, name: &str) -> bool {
    let good = !name.contains(['/', '\\', '\0']) && !name.starts_with('.');
    if !good {
        check.fault(
            &format!("{at}/name"),
            format!("the transformer's name {name:?} cannot be that of a component"),
            "write the name of a file on `components.path` without folder and .wasm",
        );
    }
    good
}

/// JSON, in which components get their parameters, has no infinities.
fn finite(check: &mut Check<'_>, pointer: &str) -> bool {
    let bad = check.doc.infinite(pointer, Bound::Problems.size());
    for inner in &bad {
        check.wrong(inner, "write a finite number, or quotes around it if it is text");
    }
    bad.is_empty()
}

fn publishers(
    check: &mut Check<'_>,
    at: &str,
    field: &Scalars,
    context: &PipelineContext,
) -> Option<Vec<PublisherSpec>> {
    const RIGHT: &str = "list one or more publisher URLs, such as notifier://";
    let pointer = format!("{at}/publishers");
    let entries: &[Field<Scalar>] = match (field, check.kind(&pointer)) {
        (Field::Absent, _) => {
            check.fault(at, "this sink has no `publishers`", RIGHT);
            return None;
        }
        (Field::Given(entries), Kind::List) if !entries.is_empty() => entries,
        _ if check.falsy(&pointer) => {
            check.fault(&pointer, "`publishers` is empty", RIGHT);
            return None;
        }
        _ => {
            check.wrong(&pointer, RIGHT);
            return None;
        }
    };
    if let Err(error) = Bound::Entries.check(entries.len()) {
        check.report.push(exceeded(check.doc.location(&pointer), error));
        return None;
    }
    let faults = check.report.faults();
    let mut found = Vec::new();
    for (inner, text) in check.texts(&pointer, entries) {
        let location = check.location(&inner);
        found.extend(publisher::check(&text, location, context, check.report));
    }
    if check.report.faults() > faults {
        return None;
    }
    if found.is_empty() {
        let what = "none of these publishers is supported, the sink publishes nothing";
        check.fault(&pointer, what, "add notifier:// or file://, or remove the sink");
        return None;
    }
    Some(found)
}
