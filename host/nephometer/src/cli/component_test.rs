//! `nephometer component test`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::args::Common;
use super::fixture::{Fixture, Step, differences, equal, expectation, shown, written};
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_model::{Batch, Moment, Sample, Timestamp};
use nephometer_pipeline::transform::{ComponentTransformer, TransformError, Transformer};
use nephometer_telemetry::{Recorded, record};
use nephometer_wasm::{ComponentError, ComponentHost, Loaded, TransformerRole};

/// Test a transformer: each fixture says what goes in and what has to come out. Every fixture has an
/// instance of its own, with the limits of the configuration. Ends with 1 if any differs.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The component
    file: PathBuf,
    /// Fixtures, JSON or YAML; a folder stands for all in it
    #[arg(required = true)]
    fixtures: Vec<PathBuf>,
    /// Write what came out into the fixtures (JSON only), instead of comparing. One in which the
    /// component fails, or with `errors`, stays as it is and is compared
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    common: Common,
}

impl Test {
    pub(super) fn execute(self) -> Result<()> {
        let log = record().map_err(anyhow::Error::msg)?;
        let files = self.files()?;
        let (host, _) = tool::start(&self.common)?;
        let failed = runtime()?.block_on(async {
            let loaded = tool::taken(host.open(&self.file).await)?;
            let bench = Bench { host, loaded, log };
            let mut failed = 0;
            for file in &files {
                failed += usize::from(!self.fixture(&bench, file).await?);
            }
            anyhow::Ok(failed)
        })?;
        if failed > 0 {
            output::complain(&format!("{failed} of {} fixtures differ", files.len()));
            bail!(Failure::Different);
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.fixtures {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).context(path.display().to_string())?;
            let mut found: Vec<PathBuf> = Vec::new();
            for entry in entries {
                found.push(entry.context(path.display().to_string())?.path());
            }
            found.retain(|file| {
                file.extension().is_some_and(|kind| kind == "json" || kind == "yaml")
            });
            if found.is_empty() {
                bail!("{}: there is no fixture (*.json, *.yaml) in it", path.display());
            }
            found.sort();
            files.append(&mut found);
        }
        Ok(files)
    }

    /// Whether all is as the fixture says; prints what is not.
    async fn fixture(&self, bench: &Bench, file: &Path) -> Result<bool> {
        let fixture = Fixture::read(file).context(Failure::Usage)?;
        let name = file.display().to_string();
        let mut trial = Trial {
            bench,
            fixture: &fixture,
            clock: Timestamp::default(),
            made: Vec::new(),
            transformer: None,
        };
        let started = Instant::now();
        let differences = trial.run(&name).await;
        let took = started.elapsed();
        let mut out = output::stdout();
        // What failed has nothing to be written down; it is told instead.
        if self.update && fixture.errors.is_none() && trial.made.len() == fixture.steps.len() {
            let updated = update(file, &trial.made)?;
            writeln!(out, "{} {name}", if updated { "updated" } else { "as it was" })?;
            out.flush()?;
            return Ok(true);
        }
        let word = if differences.is_empty() { "ok" } else { "DIFFERS" };
        writeln!(out, "{word} {name}: {}", bench.numbers(&name, took))?;
        for line in &differences {
            writeln!(out, "  {line}")?;
        }
        out.flush()?;
        Ok(differences.is_empty())
    }
}

/// The component under test.
struct Bench {
    host: ComponentHost,
    loaded: Arc<Loaded<TransformerRole>>,
    log: Recorded,
}

impl Bench {
    /// What the instances at this place have cost.
    fn numbers(&self, place: &str, took: Duration) -> String {
        let counts = self.host.counts();
        let of = |field: fn(&nephometer_wasm::ComponentNumbers) -> u64| -> u64 {
            let here = counts.iter().filter(|one| &*one.place == place);
            here.map(|one| field(&one.count.numbers())).sum()
        };
        format!(
            "{} calls, {:.1} ms, {:.1} MB of memory at most",
            of(|numbers| numbers.calls),
            took.as_secs_f64() * 1e3,
            of(|numbers| numbers.memory_peak) as f64 / 1e6
        )
    }
}

/// One fixture on its way.
struct Trial<'a> {
    bench: &'a Bench,
    fixture: &'a Fixture,
    /// The newest time so far.
    clock: Timestamp,
    /// What came out, step by step.
    made: Vec<Made>,
    /// Kept: what its instances have cost is known as long as it is there.
    transformer: Option<ComponentTransformer>,
}

/// What a step gave.
enum Made {
    Samples(Vec<Sample>),
    Refusal(String),
    State(Value),
}

impl Trial<'_> {
    async fn run(&mut self, place: &str) -> Vec<String> {
        let Bench { host, loaded, log } = self.bench;
        log.take();
        let made = ComponentTransformer::of(host, loaded, &self.fixture.options, place).await;
        let mut transformer = match (made, &self.fixture.errors) {
            (Ok(transformer), None) => transformer,
            (Ok(_), Some(_)) => return vec!["the options are taken, not refused".to_owned()],
            (Err(ComponentError::Options { faults, .. }), Some(wanted)) => {
                let made = faults.into_iter().map(|fault| (fault.pointer, fault.reason));
                return option_differences(&made.collect::<Vec<_>>(), wanted);
            }
            (Err(error), _) => return vec![format!("{:#}", anyhow::Error::new(error))],
        };
        let differences = self.steps(&mut transformer).await;
        self.transformer = Some(transformer);
        differences
    }

    async fn steps(&mut self, transformer: &mut ComponentTransformer) -> Vec<String> {
        let log = &self.bench.log;
        let mut differences = Vec::new();
        for (at, step) in self.fixture.steps.iter().enumerate() {
            let number = at + 1;
            match self.step(transformer, step).await {
                Ok(made) => {
                    let lines = compared(&made, step, &log.take());
                    differences.extend(lines.iter().map(|line| format!("step {number}: {line}")));
                    self.made.push(made);
                }
                Err(reason) => {
                    differences.push(format!("step {number}: {reason}"));
                    return differences;
                }
            }
        }
        differences
    }

    async fn step(&mut self, to: &mut ComponentTransformer, step: &Step) -> Result<Made, String> {
        let words = |error: TransformError| format!("{:#}", anyhow::Error::new(error));
        if let Some(batch) = &step.batch {
            let samples = self.fixture.samples(batch)?;
            let newest = samples.iter().map(|sample| sample.taken.wall).max();
            self.clock = self.clock.max(newest.unwrap_or_default());
            let tick = Moment { wall: self.clock, ..Moment::default() };
            let gone = step.gone.clone();
            let batch = Arc::new(Batch { source: "fixture".into(), tick, samples, gone });
            return match to.transform(&batch).await {
                Ok(samples) => Ok(Made::Samples(samples)),
                Err(TransformError::Rejected { reason, .. }) => Ok(Made::Refusal(reason)),
                Err(error) => Err(words(error)),
            };
        }
        if let Some(time) = &step.flush {
            self.clock = Timestamp::parse(time)?;
            let now = Moment { wall: self.clock, ..Moment::default() };
            return to.flush(now).await.map(Made::Samples).map_err(words);
        }
        let state = to.save().await.map_err(words)?.ok_or("it keeps no state")?;
        to.discard();
        to.rebuild(Some(&state)).await.map_err(words)?;
        // One that is no JSON cannot be compared, and need not be.
        Ok(Made::State(serde_json::from_slice(&state.bytes).unwrap_or(Value::Bool(true))))
    }
}

fn option_differences(made: &[(String, String)], wanted: &[(String, String)]) -> Vec<String> {
    let said = |(pointer, reason): &(String, String)| format!("{pointer}: {reason}");
    let not_said = wanted.iter().filter(|one| !made.contains(one));
    let not_wanted = made.iter().filter(|one| !wanted.contains(one));
    let mut lines: Vec<String> = not_said.map(|one| format!("missing: {}", said(one))).collect();
    lines.extend(not_wanted.map(|one| format!("not expected: {}", said(one))));
    lines
}

fn compared(made: &Made, step: &Step, log: &[String]) -> Vec<String> {
    let mut lines = match (made, &step.refusal, &step.state) {
        (Made::Refusal(reason), Some(wanted), _) if reason.contains(wanted) => Vec::new(),
        (Made::Refusal(reason), Some(wanted), _) => {
            vec![format!("the batch is refused for {reason:?} instead of {wanted:?}")]
        }
        (Made::Refusal(reason), None, _) => vec![format!("the batch is refused: {reason}")],
        (_, Some(wanted), _) => vec![format!("the batch is not refused for {wanted:?}")],
        (Made::State(state), _, Some(wanted))
            if *wanted != Value::Bool(true) && !equal(state, wanted) =>
        {
            vec![format!("the state is {state} instead of {wanted}")]
        }
        (Made::State(_), ..) => Vec::new(),
        (Made::Samples(samples), ..) => {
            differences(&samples.iter().map(shown).collect::<Vec<_>>(), &step.out)
        }
    };
    for wanted in &step.log {
        if !log.contains(wanted) {
            lines.push(format!("the log has no line {wanted:?}; it is {log:?}"));
        }
    }
    lines
}

/// Puts what came out into the file. Whether that changed it.
fn update(file: &Path, made: &[Made]) -> Result<bool> {
    let name = file.display().to_string();
    if file.extension().is_none_or(|kind| kind != "json") {
        bail!("{name}: only JSON can be updated: the comments of YAML would be lost");
    }
    let text = nephometer_files::read_text(file).context(name.clone())?;
    let mut whole: Value = serde_json::from_str(&text).context(name.clone())?;
    let steps = whole["steps"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    for (step, made) in steps.iter_mut().zip(made) {
        let Some(step) = step.as_object_mut() else { continue };
        match made {
            Made::Refusal(reason) => {
                step.insert("refusal".to_owned(), Value::from(reason.as_str()));
                step.remove("out");
            }
            // Whoever took any state does so still.
            Made::State(_) if step["state"] == true => {}
            Made::State(state) => {
                step.insert("state".to_owned(), state.clone());
            }
            Made::Samples(samples) => {
                let before = step.get("out").cloned().unwrap_or_default();
                let before: Vec<_> = serde_json::from_value(before).unwrap_or_default();
                let samples: Vec<_> = samples.iter().map(shown).collect();
                let out = expectation(&samples, &before).into_iter().map(Value::Object);
                step.insert("out".to_owned(), out.collect());
                step.remove("refusal");
            }
        }
    }
    let new = written(&whole);
    if new != text {
        std::fs::write(file, &new).context(name)?;
    }
    Ok(new != text)
}
