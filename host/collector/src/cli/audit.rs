use std::fs::File;
use std::io::{BufReader, BufWriter, Sink};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use nephometer_audit::{AuditResult, AuditScope, EvidenceWriter, Findings, TrustedKeys, verify};
use nephometer_config::CollectorSpec;
use nephometer_model::Timestamp;
use nephometer_proof::PublicKey;
use serde_json::{Value, json};

use super::output::{Format, print, rows};
use super::{ConfigOption, Failure};
use crate::audit::{audit, own_key, trusted_keys};
use crate::ingest::writer::now;
use crate::store::{EvidenceQuery, Reader, TimeRange, from_micros, micros, open_reader};

/// Verify what the store has of a project against the signatures of the agents
///
/// Ends with 1 if it is not provable. audit.keys has the public keys that are trusted.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    #[command(flatten)]
    options: AuditOptions,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Verify(Verify),
    Key(OwnKey),
}

#[derive(Debug, Args)]
struct AuditOptions {
    #[command(flatten)]
    config: ConfigOption,
    /// The id of the project; empty for samples without one
    #[arg(long, required = true)]
    project: Option<String>,
    /// The first time, such as 2026-11-01
    #[arg(long, value_name = "TIME", required = true)]
    from: Option<String>,
    /// The time behind the last, such as 2026-12-01
    #[arg(long, value_name = "TIME", required = true)]
    to: Option<String>,
    /// Only this host, by name or id; by default all hosts with a trusted key have to be there
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Write the evidence to this new file, for `audit verify`
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Verify a file of evidence, without a store
///
/// Needs the public keys of the agents only. Ends with 1 if it is not provable.
#[derive(Debug, Args)]
struct Verify {
    /// The file that `audit --output` wrote
    file: PathBuf,
    /// The public keys of agents: lines of HOST KEY
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The collector's public key, from `audit key`
    #[arg(long, value_name = "HEX")]
    collector_key: Option<PublicKey>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

/// Print the public key with which this collector signs evidence
#[derive(Debug, Args)]
struct OwnKey {
    #[command(flatten)]
    config: ConfigOption,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// Tables
    #[default]
    Text,
    /// One JSON object
    Json,
}

impl Audit {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Some(AuditCommand::Verify(command)) => command.execute(),
            Some(AuditCommand::Key(OwnKey { config })) => {
                let key = own_key(&config.load()?.keep.path)?;
                Ok(print(&key.public().to_string())?)
            }
            None => self.options.execute(),
        }
    }
}

impl AuditOptions {
    fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let trusted = trusted_keys(spec.trusted_keys.as_deref())?;
        if spec.trusted_keys.is_none() {
            let text = "audit.keys names no file of trusted keys, so that nothing could be proved; \
                        `nephometer keys ls --trusted` prints its lines on each host";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        let times = TimeRange { start: time("--from", self.from)?, end: time("--to", self.to)? };
        if times.start >= times.end {
            return Err(Failure::Usage("--to is not behind --from".to_owned()).into());
        }
        let query = EvidenceQuery {
            project: self.project.unwrap_or_default(),
            times,
            hosts: self.host,
            trusted: &trusted,
            window: spec.keep.window,
            now: now(),
        };
        let mut reader = open_reader(&spec.keep, u64::MAX)?;
        let findings = match &self.output {
            None => audit::<Sink>(&mut *reader, &query, None)?,
            Some(path) => {
                let created = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
                let remedy = || format!("cannot create {}; name a new file", path.display());
                let written = written(&mut *reader, &query, &spec, created.with_context(remedy)?);
                if written.is_err() {
                    // A part is no evidence. That it cannot be removed is less than why it is one.
                    drop(std::fs::remove_file(path));
                }
                written?
            }
        };
        report(&findings, self.format)
    }
}

/// Audits, and writes the signed evidence.
fn written(
    reader: &mut dyn Reader,
    query: &EvidenceQuery<'_>,
    spec: &CollectorSpec,
    file: File,
) -> anyhow::Result<Findings> {
    let mut writer = EvidenceWriter::new(BufWriter::with_capacity(1 << 20, file));
    let findings = audit(reader, query, Some(&mut writer))?;
    writer.finish(&own_key(&spec.keep.path)?)?;
    Ok(findings)
}

impl Verify {
    fn execute(self) -> anyhow::Result<()> {
        let trusted: TrustedKeys = trusted_keys(Some(&self.keys))?;
        let file = nephometer_files::open(&self.file);
        let file = file.with_context(|| self.file.display().to_string())?;
        let input = BufReader::with_capacity(1 << 20, file);
        let verified = verify(input, &trusted, self.collector_key.as_ref());
        let (findings, key) = verified
            .map_err(|error| Failure::NotProvable(format!("{}: {error}", self.file.display())))?;
        report(&findings, self.format)?;
        if self.collector_key.is_none() {
            print(&format!("signed by the collector with {key}; --collector-key compares it"))?;
        }
        Ok(())
    }
}

/// Microseconds since the epoch.
fn time(option: &str, text: Option<String>) -> Result<i64, Failure> {
    let time = Timestamp::parse(&text.unwrap_or_default());
    time.map(micros).map_err(|error| Failure::Usage(format!("{option}: {error}")))
}

/// Prints findings. An error if they are not provable.
fn report(findings: &Findings, format: ReportFormat) -> anyhow::Result<()> {
    let line = findings.line();
    match format {
        ReportFormat::Json => rows(Format::Json, &[], &[json!(findings)])?,
        ReportFormat::Text => {
            tables(findings)?;
            print(&scope(findings))?;
            if findings.result != AuditResult::NotProvable {
                print(&format!("ok: {line}"))?;
            }
        }
    }
    match findings.result {
        AuditResult::NotProvable => Err(Failure::NotProvable(line).into()),
        _ => Ok(()),
    }
}

/// What was audited: a file of evidence may be about less than its reader expects.
fn scope(findings: &Findings) -> String {
    let AuditScope { project, from, to, hosts, .. } = &findings.scope;
    let [from, to] = [from, to].map(|time| from_micros(*time).iso());
    let hosts = match &hosts[..] {
        [] => "all hosts with a trusted key".to_owned(),
        some => format!("only {}", some.join(", ")),
    };
    format!("project {project}, {from} to {to}, {hosts}")
}

type Columns = &'static [(&'static str, &'static str)];

const STREAMS: Columns = &[
    ("HOST", "host"),
    ("SINK", "sink"),
    ("PUBLISHER", "publisher"),
    ("FROM", "from"),
    ("TO", "to"),
    ("BATCHES", "batches"),
];
const TRANSFORMERS: Columns =
    &[("HOST", "host"), ("TRANSFORMER", "component"), ("SHA-256", "digest")];
const SERIES: Columns = &[
    ("RESOURCE", "resource"),
    ("METER", "meter"),
    ("UNIT", "unit"),
    ("HOSTS", "hosts"),
    ("SAMPLES", "samples"),
    ("SUM", "sum"),
    ("UNPROVED", "unproved"),
    ("MISSING", "missing"),
];
const MISSING: Columns = &[
    ("RESOURCE", "resource"),
    ("METER", "meter"),
    ("MISSING FROM", "from"),
    ("TO", "to"),
    ("REASON", "reason"),
];
const GAPS: Columns = &[
    ("HOST", "host"),
    ("GAP FROM", "from"),
    ("TO", "to"),
    ("REASON", "reason"),
    ("NUMBERS", "numbers"),
    ("SAMPLES", "samples"),
];
const FAULTS: Columns = &[("FAULT", "id"), ("TIMES", "count"), ("FIRST", "first")];

fn tables(findings: &Findings) -> anyhow::Result<()> {
    let list = |name: &str| match json!(findings)[name].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let streams = list("streams").into_iter().map(|mut one| {
        (one["from"], one["to"]) = (one["cycles"][0].clone(), one["cycles"][1].clone());
        one
    });
    section(STREAMS, &streams.collect::<Vec<_>>())?;
    section(TRANSFORMERS, &list("transformers"))?;
    let (mut series, mut missing) = (Vec::new(), Vec::new());
    for mut one in list("series") {
        let spans = one["missing"].take();
        for mut span in spans.as_array().cloned().unwrap_or_default() {
            (span["resource"], span["meter"]) = (one["resource"].clone(), one["meter"].clone());
            missing.push(span);
        }
        one["missing"] = json!(spans.as_array().map_or(0, Vec::len));
        let hosts = one["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
        one["hosts"] = json!(hosts.collect::<Vec<_>>().join(","));
        (one["samples"], one["sum"]) = (one["sums"]["samples"].clone(), one["sums"]["sum"].clone());
        series.push(one);
    }
    section(SERIES, &series)?;
    section(MISSING, &missing)?;
    section(GAPS, &list("gaps"))?;
    for (meter, samples) in &findings.corrections {
        print(&format!("{samples} samples of {meter} were stored after the month was closed"))?;
    }
    findings.notes.iter().try_for_each(|note| print(note))?;
    section(FAULTS, &list("faults"))
}

/// A table, if it has rows.
fn section(columns: Columns, list: &[Value]) -> anyhow::Result<()> {
    if !list.is_empty() {
        rows(Format::Table, columns, list)?;
        print("")?;
    }
    Ok(())
}
