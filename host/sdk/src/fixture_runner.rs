//! Runs fixtures on a transformer and compares the output with the expected one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fixture::{
    Fixture, FixtureError, Step, differences, equal, expectation, format_fixture, to_map,
};
use nephometer_model::{Batch, Moment, Sample, Timestamp};
use nephometer_pipeline::transform::{ComponentTransformer, TransformError, Transformer};
use nephometer_telemetry::{Chain, RecordedLog};
use nephometer_wasm::{
    ComponentError, ComponentHost, ComponentStats, LoadedComponent, Numbering, TransformerRole,
};

/// The seed of the shuffled numbering. Any number will do.
const SEED: u64 = 20_260_117;

/// Runs fixtures on one component.
pub struct FixtureRunner {
    host: ComponentHost,
    loaded: Arc<LoadedComponent<TransformerRole>>,
    log: RecordedLog,
}

impl FixtureRunner {
    /// Creates a runner for a component; `log` receives its log lines.
    pub fn new(
        host: ComponentHost,
        loaded: Arc<LoadedComponent<TransformerRole>>,
        log: RecordedLog,
    ) -> Self {
        Self { host, loaded, log }
    }

    /// Runs a fixture on its own instance. If it passes, runs it again with shuffled numbers of the
    /// dictionary, on which nothing may depend. `place` names the instance.
    pub async fn run(&self, fixture: &Fixture, place: &str) -> FixtureRun {
        let mut first = Execution::new(self, fixture);
        let started = Instant::now();
        let (mut differences, transformer) = first.run(place, Numbering::Ascending).await;
        let took = started.elapsed();
        if differences.is_empty() {
            let mut shuffled = Execution::new(self, fixture);
            let shuffled_place = format!("{place} (shuffled)");
            let _unchanged = shuffled.run(&shuffled_place, Numbering::Shuffled(SEED)).await;
            differences = number_dependences(&first, &shuffled);
        }
        let outputs = first.outputs;
        let components = self.host.list_components();
        let sum = |field: fn(&ComponentStats) -> u64| -> u64 {
            let own = components.iter().filter(|one| &*one.location == place);
            own.map(|one| field(&one.counters.stats())).sum()
        };
        let (calls, memory) = (sum(|stats| stats.calls), sum(|stats| stats.memory_peak));
        // The counts of an instance exist as long as its transformer.
        drop(transformer);
        FixtureRun { differences, outputs, took, calls, memory }
    }
}

/// The result of a fixture.
pub struct FixtureRun {
    /// The differences from the expected output, one line each.
    pub differences: Vec<String>,
    outputs: Vec<StepOutput>,
    /// The duration of the first run.
    pub took: Duration,
    /// The number of calls of the component.
    pub calls: u64,
    /// The peak memory of its instances, in bytes.
    pub memory: u64,
}

/// One execution of a fixture.
struct Execution<'a> {
    runner: &'a FixtureRunner,
    fixture: &'a Fixture,
    /// The newest time of any sample so far.
    clock: Timestamp,
    /// The output of each step.
    outputs: Vec<StepOutput>,
    /// The log lines of each step.
    logged: Vec<Vec<String>>,
}

impl FixtureRun {
    /// Writes the output into the fixture's file. Returns whether the file has changed; `None` if not
    /// all steps have an output, and the fixture has to be compared instead.
    ///
    /// # Errors
    /// If the file cannot be written, or is not JSON.
    pub fn update(&self, fixture: &Fixture, file: &Path) -> Result<Option<bool>, FixtureError> {
        // A failed step has no output.
        if fixture.errors.is_some() || self.outputs.len() != fixture.steps.len() {
            return Ok(None);
        }
        update_file(file, &self.outputs).map(Some)
    }
}

/// The output of a step.
enum StepOutput {
    Samples(Vec<Sample>),
    Refusal(String),
    /// The state as JSON, or `true` if it is not JSON; and its bytes.
    State(Value, Arc<Vec<u8>>),
}

impl<'a> Execution<'a> {
    fn new(runner: &'a FixtureRunner, fixture: &'a Fixture) -> Self {
        let (clock, outputs, logged) = (Timestamp::default(), Vec::new(), Vec::new());
        Self { runner, fixture, clock, outputs, logged }
    }

    async fn run(
        &mut self,
        place: &str,
        numbering: Numbering,
    ) -> (Vec<String>, Option<ComponentTransformer>) {
        let FixtureRunner { host, loaded, log } = self.runner;
        log.take();
        let options = &self.fixture.options;
        let made =
            ComponentTransformer::with_numbering(host, loaded, options, place, numbering).await;
        let mut transformer = match (made, &self.fixture.errors) {
            (Ok(transformer), None) => transformer,
            (Ok(_), Some(_)) => {
                return (vec!["the options were accepted, expected errors".to_owned()], None);
            }
            (Err(ComponentError::Options { errors, .. }), Some(expected)) => {
                let made = errors.into_iter().map(|error| (error.pointer, error.reason));
                return (option_differences(&made.collect::<Vec<_>>(), expected), None);
            }
            (Err(error), _) => return (vec![Chain(&error).to_string()], None),
        };
        let differences = self.steps(&mut transformer).await;
        (differences, Some(transformer))
    }

    async fn steps(&mut self, transformer: &mut ComponentTransformer) -> Vec<String> {
        let log = &self.runner.log;
        let mut differences = Vec::new();
        for (at, step) in self.fixture.steps.iter().enumerate() {
            let number = at + 1;
            match self.step(transformer, step).await {
                Ok(output) => {
                    let logged = log.take();
                    let lines = compare(&output, step, &logged);
                    self.logged.push(logged);
                    differences.extend(lines.iter().map(|line| format!("step {number}: {line}")));
                    self.outputs.push(output);
                }
                Err(reason) => {
                    differences.push(format!("step {number}: {reason}"));
                    return differences;
                }
            }
        }
        differences
    }

    async fn step(
        &mut self,
        transformer: &mut ComponentTransformer,
        step: &Step,
    ) -> Result<StepOutput, String> {
        let message = |error: TransformError| Chain(&error).to_string();
        if let Some(batch) = &step.batch {
            let samples = self.fixture.samples(batch)?;
            let newest = samples.iter().map(|sample| sample.taken.wall).max();
            self.clock = self.clock.max(newest.unwrap_or_default());
            let cycle_start = Moment { wall: self.clock, ..Moment::default() };
            let removed = step.removed.clone();
            let batch = Arc::new(Batch { source: "fixture".into(), cycle_start, samples, removed });
            return match transformer.transform(&batch).await {
                Ok(made) => Ok(StepOutput::Samples(made.into_samples(&batch))),
                Err(TransformError::Rejected { reason, .. }) => Ok(StepOutput::Refusal(reason)),
                Err(error) => Err(message(error)),
            };
        }
        if let Some(time) = &step.flush {
            self.clock = Timestamp::parse(time)?;
            let now = Moment { wall: self.clock, ..Moment::default() };
            return transformer.flush(now).await.map(StepOutput::Samples).map_err(message);
        }
        let state =
            transformer.save().await.map_err(message)?.ok_or("the component has no state")?;
        transformer.discard();
        transformer.rebuild(Some(&state)).await.map_err(message)?;
        // A state that is not JSON is not compared.
        let json = serde_json::from_slice(&state.bytes).unwrap_or(Value::Bool(true));
        Ok(StepOutput::State(json, state.bytes))
    }
}

/// The steps whose output or log depends on the numbers of the dictionary.
fn number_dependences(one: &Execution<'_>, other: &Execution<'_>) -> Vec<String> {
    let same = |one: &StepOutput, other: &StepOutput| match (one, other) {
        (StepOutput::Samples(one), StepOutput::Samples(other)) => {
            one.iter().map(to_map).eq(other.iter().map(to_map))
        }
        (StepOutput::Refusal(one), StepOutput::Refusal(other)) => one == other,
        (StepOutput::State(_, one), StepOutput::State(_, other)) => one == other,
        _ => false,
    };
    let mut lines = Vec::new();
    for (at, output) in one.outputs.iter().enumerate() {
        let what = match output {
            StepOutput::Samples(_) => "the output",
            StepOutput::Refusal(_) => "the refusal",
            StepOutput::State(..) => "the state",
        };
        let number = at + 1;
        if !other.outputs.get(at).is_some_and(|other| same(output, other)) {
            lines.push(format!(
                "step {number}: {what} depends on the numbers of the dictionary; do not write them into states or \
                 texts, and do not order by them"
            ));
            // Later steps may differ because of this one.
            return lines;
        }
        if one.logged.get(at) != other.logged.get(at) {
            lines.push(format!("step {number}: the log depends on the numbers of the dictionary"));
        }
    }
    lines
}

fn option_differences(actual: &[(String, String)], expected: &[(String, String)]) -> Vec<String> {
    let shown_error = |(pointer, reason): &(String, String)| format!("{pointer}: {reason}");
    let missing = expected.iter().filter(|one| !actual.contains(one));
    let unexpected = actual.iter().filter(|one| !expected.contains(one));
    let mut lines: Vec<String> =
        missing.map(|one| format!("missing error: {}", shown_error(one))).collect();
    lines.extend(unexpected.map(|one| format!("unexpected error: {}", shown_error(one))));
    lines
}

fn compare(output: &StepOutput, step: &Step, log: &[String]) -> Vec<String> {
    let mut lines = match (output, &step.refusal, &step.state) {
        (StepOutput::Refusal(reason), Some(expected), _) if reason.contains(expected) => Vec::new(),
        (StepOutput::Refusal(reason), Some(expected), _) => {
            vec![format!("the batch was refused with {reason:?}, expected {expected:?}")]
        }
        (StepOutput::Refusal(reason), None, _) => vec![format!("the batch was refused: {reason}")],
        (_, Some(expected), _) => {
            vec![format!("the batch was accepted, expected the refusal {expected:?}")]
        }
        (StepOutput::State(state, _), _, Some(expected))
            if *expected != Value::Bool(true) && !equal(state, expected) =>
        {
            vec![format!("the state is {state}, expected {expected}")]
        }
        (StepOutput::State(..), ..) => Vec::new(),
        (StepOutput::Samples(samples), ..) => {
            differences(&samples.iter().map(to_map).collect::<Vec<_>>(), &step.out)
        }
    };
    for expected in &step.log {
        if !log.contains(expected) {
            lines.push(format!("missing log line {expected:?}, the log is {log:?}"));
        }
    }
    lines
}

/// Writes outputs into the file of a fixture. Returns whether that changed it.
fn update_file(file: &Path, outputs: &[StepOutput]) -> Result<bool, FixtureError> {
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
    for (step, output) in steps.iter_mut().zip(outputs) {
        let Some(step) = step.as_object_mut() else { continue };
        match output {
            StepOutput::Refusal(reason) => {
                step.insert("refusal".to_owned(), Value::from(reason.as_str()));
                step.remove("out");
            }
            // `true` accepts any state.
            StepOutput::State(..) if step["state"] == true => {}
            StepOutput::State(state, _) => {
                step.insert("state".to_owned(), state.clone());
            }
            StepOutput::Samples(samples) => {
                let before = step.get("out").cloned().unwrap_or_default();
                let before: Vec<_> = serde_json::from_value(before).unwrap_or_default();
                let samples: Vec<_> = samples.iter().map(to_map).collect();
                let out = expectation(&samples, &before).into_iter().map(Value::Object);
                step.insert("out".to_owned(), out.collect());
                step.remove("refusal");
            }
        }
    }
    let new = format_fixture(&whole);
    if new != text {
        std::fs::write(file, &new).map_err(failed)?;
    }
    Ok(new != text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(text: Value) -> Step {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn refusals_states_and_log_lines_are_compared() {
        let refusal = StepOutput::Refusal("row 3 is too old".to_owned());
        let state = StepOutput::State(json!({"count": 2}), Arc::default());
        let cases = [
            (&refusal, json!({"refusal": "too old"}), vec![]),
            (
                &refusal,
                json!({"refusal": "too new"}),
                vec!["the batch was refused with \"row 3 is too old\", expected \"too new\""],
            ),
            (&refusal, json!({}), vec!["the batch was refused: row 3 is too old"]),
            (
                &StepOutput::Samples(Vec::new()),
                json!({"refusal": "too old"}),
                vec!["the batch was accepted, expected the refusal \"too old\""],
            ),
            (&state, json!({"state": true}), vec![]),
            (&state, json!({"state": {"count": 2.0}}), vec![]),
            (
                &state,
                json!({"state": {"count": 3}}),
                vec!["the state is {\"count\":2}, expected {\"count\":3}"],
            ),
            (
                &state,
                json!({"state": true, "log": ["warn: late"]}),
                vec!["missing log line \"warn: late\", the log is [\"info: saved\"]"],
            ),
        ];
        for (output, expected, lines) in cases {
            let found = compare(output, &step(expected.clone()), &["info: saved".to_owned()]);
            assert_eq!(found, lines, "{expected}");
        }
    }

    #[test]
    fn missing_and_unexpected_option_errors_are_listed() {
        let error = |pointer: &str| (pointer.to_owned(), "is wrong".to_owned());
        let lines = option_differences(&[error("/a"), error("/b")], &[error("/b"), error("/c")]);
        assert_eq!(lines, ["missing error: /c: is wrong", "unexpected error: /a: is wrong"]);
        assert!(option_differences(&[error("/a")], &[error("/a")]).is_empty());
    }
}
