//! Runs fixtures on a transformer, and compares what it makes of them with what they expect.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fixture::{
    Fixture, FixtureError, Step, differences, equal, expectation, shown, written,
};
use nephometer_model::{Batch, Moment, Sample, Timestamp};
use nephometer_pipeline::transform::{ComponentTransformer, TransformError, Transformer};
use nephometer_telemetry::{Chain, RecordedLog};
use nephometer_wasm::{
    ComponentError, ComponentHost, ComponentNumbers, Loaded, Numbering, TransformerRole,
};

/// Any number will do.
const SEED: u64 = 20_260_117;

/// The component under test.
pub struct TestBed {
    host: ComponentHost,
    loaded: Arc<Loaded<TransformerRole>>,
    log: RecordedLog,
}

impl TestBed {
    /// For this component; `log` is where its lines are found.
    pub fn new(
        host: ComponentHost,
        loaded: Arc<Loaded<TransformerRole>>,
        log: RecordedLog,
    ) -> Self {
        Self { host, loaded, log }
    }

    /// Runs a fixture on an instance of its own, and once more with other numbers of the dictionary:
    /// nothing may depend on them. `place` is a name for it.
    pub async fn run(&self, fixture: &Fixture, place: &str) -> Trial {
        let mut running = Running::new(self, fixture);
        let started = Instant::now();
        let (mut differences, transformer) = running.run(place, Numbering::Ascending).await;
        let took = started.elapsed();
        if differences.is_empty() {
            let mut shuffled = Running::new(self, fixture);
            let again = format!("{place} (shuffled)");
            let _unchanged = shuffled.run(&again, Numbering::Shuffled(SEED)).await;
            differences = depends_on_numbers(&running, &shuffled);
        }
        let made = running.made;
        let counts = self.host.counts();
        let of = |field: fn(&ComponentNumbers) -> u64| -> u64 {
            let here = counts.iter().filter(|one| &*one.place == place);
            here.map(|one| field(&one.count.numbers())).sum()
        };
        let (calls, memory) = (of(|numbers| numbers.calls), of(|numbers| numbers.memory_peak));
        // What its instances have cost is known as long as it is there.
        drop(transformer);
        Trial { differences, made, took, calls, memory }
    }
}

/// What came of a fixture.
pub struct Trial {
    /// A line for each way in which it was not as the fixture has it.
    pub differences: Vec<String>,
    made: Vec<Made>,
    /// How long it took.
    pub took: Duration,
    /// Calls into the component.
    pub calls: u64,
    /// Memory of an instance at most, bytes.
    pub memory: u64,
}

/// One fixture on its way.
struct Running<'a> {
    bed: &'a TestBed,
    fixture: &'a Fixture,
    /// The newest time so far.
    clock: Timestamp,
    /// What came out, step by step.
    made: Vec<Made>,
    /// What was logged, step by step.
    logged: Vec<Vec<String>>,
}

impl Trial {
    /// Puts what came out into the fixture's file, if all of its steps gave something. Whether the
    /// file has changed; `None` if it has to be compared instead.
    ///
    /// # Errors
    /// If the file cannot be written, or is no JSON.
    pub fn update(&self, fixture: &Fixture, file: &Path) -> Result<Option<bool>, FixtureError> {
        // What failed has nothing to be written down; it is reported instead.
        if fixture.errors.is_some() || self.made.len() != fixture.steps.len() {
            return Ok(None);
        }
        update(file, &self.made).map(Some)
    }
}

/// What a step gave.
enum Made {
    Samples(Vec<Sample>),
    Refusal(String),
    /// As JSON, or `true` where it is none, and as it is.
    State(Value, Arc<Vec<u8>>),
}

impl<'a> Running<'a> {
    fn new(bed: &'a TestBed, fixture: &'a Fixture) -> Self {
        Self { bed, fixture, clock: Timestamp::default(), made: Vec::new(), logged: Vec::new() }
    }

    async fn run(
        &mut self,
        place: &str,
        numbering: Numbering,
    ) -> (Vec<String>, Option<ComponentTransformer>) {
        let TestBed { host, loaded, log } = self.bed;
        log.take();
        let options = &self.fixture.options;
        let made =
            ComponentTransformer::with_numbering(host, loaded, options, place, numbering).await;
        let mut transformer = match (made, &self.fixture.errors) {
            (Ok(transformer), None) => transformer,
            (Ok(_), Some(_)) => {
                return (vec!["the options were accepted, expected errors".to_owned()], None);
            }
            (Err(ComponentError::Options { faults, .. }), Some(wanted)) => {
                let made = faults.into_iter().map(|fault| (fault.pointer, fault.reason));
                return (option_differences(&made.collect::<Vec<_>>(), wanted), None);
            }
            (Err(error), _) => return (vec![Chain(&error).to_string()], None),
        };
        let differences = self.steps(&mut transformer).await;
        (differences, Some(transformer))
    }

    async fn steps(&mut self, transformer: &mut ComponentTransformer) -> Vec<String> {
        let log = &self.bed.log;
        let mut differences = Vec::new();
        for (at, step) in self.fixture.steps.iter().enumerate() {
            let number = at + 1;
            match self.step(transformer, step).await {
                Ok(made) => {
                    let logged = log.take();
                    let lines = compared(&made, step, &logged);
                    self.logged.push(logged);
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
        let words = |error: TransformError| Chain(&error).to_string();
        if let Some(batch) = &step.batch {
            let samples = self.fixture.samples(batch)?;
            let newest = samples.iter().map(|sample| sample.taken.wall).max();
            self.clock = self.clock.max(newest.unwrap_or_default());
            let cycle_start = Moment { wall: self.clock, ..Moment::default() };
            let gone = step.gone.clone();
            let batch = Arc::new(Batch { source: "fixture".into(), cycle_start, samples, gone });
            return match to.transform(&batch).await {
                Ok(made) => Ok(Made::Samples(made.into_samples(&batch))),
                Err(TransformError::Rejected { reason, .. }) => Ok(Made::Refusal(reason)),
                Err(error) => Err(words(error)),
            };
        }
        if let Some(time) = &step.flush {
            self.clock = Timestamp::parse(time)?;
            let now = Moment { wall: self.clock, ..Moment::default() };
            return to.flush(now).await.map(Made::Samples).map_err(words);
        }
        let state = to.save().await.map_err(words)?.ok_or("the component has no state")?;
        to.discard();
        to.rebuild(Some(&state)).await.map_err(words)?;
        // One that is no JSON cannot be compared, and need not be.
        let json = serde_json::from_slice(&state.bytes).unwrap_or(Value::Bool(true));
        Ok(Made::State(json, state.bytes))
    }
}

/// Where a component did something else with other numbers of the dictionary.
fn depends_on_numbers(one: &Running<'_>, other: &Running<'_>) -> Vec<String> {
    let same = |one: &Made, other: &Made| match (one, other) {
        (Made::Samples(one), Made::Samples(other)) => {
            one.iter().map(shown).eq(other.iter().map(shown))
        }
        (Made::Refusal(one), Made::Refusal(other)) => one == other,
        (Made::State(_, one), Made::State(_, other)) => one == other,
        _ => false,
    };
    let mut lines = Vec::new();
    for (at, made) in one.made.iter().enumerate() {
        let what = match made {
            Made::Samples(_) => "the output",
            Made::Refusal(_) => "the refusal",
            Made::State(..) => "the state",
        };
        let number = at + 1;
        if !other.made.get(at).is_some_and(|other| same(made, other)) {
            lines.push(format!(
                "step {number}: {what} depends on the numbers of the dictionary; do not write them into states or \
                 texts, and do not order by them"
            ));
            // What follows may be different because of it.
            return lines;
        }
        if one.logged.get(at) != other.logged.get(at) {
            lines.push(format!("step {number}: the log depends on the numbers of the dictionary"));
        }
    }
    lines
}

fn option_differences(made: &[(String, String)], wanted: &[(String, String)]) -> Vec<String> {
    let shown_error = |(pointer, reason): &(String, String)| format!("{pointer}: {reason}");
    let not_said = wanted.iter().filter(|one| !made.contains(one));
    let not_wanted = made.iter().filter(|one| !wanted.contains(one));
    let mut lines: Vec<String> =
        not_said.map(|one| format!("missing error: {}", shown_error(one))).collect();
    lines.extend(not_wanted.map(|one| format!("unexpected error: {}", shown_error(one))));
    lines
}

fn compared(made: &Made, step: &Step, log: &[String]) -> Vec<String> {
    let mut lines = match (made, &step.refusal, &step.state) {
        (Made::Refusal(reason), Some(wanted), _) if reason.contains(wanted) => Vec::new(),
        (Made::Refusal(reason), Some(wanted), _) => {
            vec![format!("the batch was refused with {reason:?}, expected {wanted:?}")]
        }
        (Made::Refusal(reason), None, _) => vec![format!("the batch was refused: {reason}")],
        (_, Some(wanted), _) => {
            vec![format!("the batch was accepted, expected the refusal {wanted:?}")]
        }
        (Made::State(state, _), _, Some(wanted))
            if *wanted != Value::Bool(true) && !equal(state, wanted) =>
        {
            vec![format!("the state is {state}, expected {wanted}")]
        }
        (Made::State(..), ..) => Vec::new(),
        (Made::Samples(samples), ..) => {
            differences(&samples.iter().map(shown).collect::<Vec<_>>(), &step.out)
        }
    };
    for wanted in &step.log {
        if !log.contains(wanted) {
            lines.push(format!("missing log line {wanted:?}, the log is {log:?}"));
        }
    }
    lines
}

/// Puts what came out into the file. Whether that changed it.
fn update(file: &Path, made: &[Made]) -> Result<bool, FixtureError> {
    let malformed = |reason| FixtureError::Malformed { path: file.to_owned(), reason };
    let failed = |source| FixtureError::File { path: file.to_owned(), source };
    if file.extension().is_none_or(|kind| kind != "json") {
        let reason = "only JSON can be updated: the comments of YAML would be lost";
        return Err(malformed(reason.to_owned()));
    }
    let text = nephometer_files::read_text(file).map_err(failed)?;
    let mut whole: Value =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let steps = whole["steps"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    for (step, made) in steps.iter_mut().zip(made) {
        let Some(step) = step.as_object_mut() else { continue };
        match made {
            Made::Refusal(reason) => {
                step.insert("refusal".to_owned(), Value::from(reason.as_str()));
                step.remove("out");
            }
            // Whoever took any state does so still.
            Made::State(..) if step["state"] == true => {}
            Made::State(state, _) => {
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
        std::fs::write(file, &new).map_err(failed)?;
    }
    Ok(new != text)
}
