//! `misbehaving`: one kind of misbehaviour per mode, for tests of the host. The option `mode`
//! selects it:
//!
//! | mode | what it does |
//! |---|---|
//! | `passthrough` | well-behaved: every batch passes unchanged |
//! | `counter` | well-behaved: flush adds a row `misbehaving.count` with the number of rows so far, which it saves and restores |
//! | `keep-even` | well-behaved: keeps the rows with even numbers |
//! | `loop-configure`, `loop-transform`, `loop-flush` | never returns from that call |
//! | `slow` | spins in every `transform` for about the number of milliseconds in the option `ms` |
//! | `memory-bomb` | allocates without end |
//! | `deep-recursion` | recurses without end |
//! | `trap-transform` | traps on every batch |
//! | `trap-666` | traps on a batch with a volume of 666; otherwise like `counter` |
//! | `reject`, `broken` | returns that refusal for every batch |
//! | `unequal-columns` | returns one time too few |
//! | `bad-meter`, `bad-resource`, `bad-origin` | returns a number or row that does not exist |
//! | `derive-descending`, `derive-out-of-range` | derives rows in that order, or from a row that does not exist |
//! | `removed-number` | returns the numbers of the first batch with every batch |
//! | `own-entries` | adds 30,000 resources with each batch |
//! | `nan`, `infinity` | returns such a volume |
//! | `time-zero`, `time-future` | returns time 0, or ten days after that of the input |
//! | `too-many-entries` | adds 100,000 meters |
//! | `huge-answer` | returns 32 MiB of text |
//! | `bad-metadata` | adds a resource whose metadata is not JSON |
//! | `keep-descending`, `keep-out-of-range` | keeps rows in that order, or a row that does not exist |
//! | `log-flood` | logs 100,000 lines per batch |
//! | `big-log-line` | logs one line of 1 MiB per batch |
//! | `option-error` | returns an error for the option `/mode` |
//! | `bad-settings-glob` | returns a malformed glob in its settings |
//! | `save-fails`, `restore-fails` | returns an error from that call |
//!
//! `describe` cannot depend on options, so a bad options schema is a component of its own: the same
//! crate with the feature `bad-schema`.

mod answers;

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, Meter, MeterType, OptionError, Outcome,
    Refusal, Resource, Settings, Stateful, Timestamp, Transformer, log, settings,
};

/// All modes.
pub const MODES: [&str; 36] = [
    "passthrough",
    "counter",
    "keep-even",
    "loop-configure",
    "loop-transform",
    "loop-flush",
    "slow",
    "memory-bomb",
    "deep-recursion",
    "trap-transform",
    "trap-666",
    "reject",
    "broken",
    "unequal-columns",
    "bad-meter",
    "bad-resource",
    "bad-origin",
    "derive-descending",
    "derive-out-of-range",
    "removed-number",
    "own-entries",
    "nan",
    "infinity",
    "time-zero",
    "time-future",
    "too-many-entries",
    "huge-answer",
    "bad-metadata",
    "keep-descending",
    "keep-out-of-range",
    "log-flood",
    "big-log-line",
    "option-error",
    "bad-settings-glob",
    "save-fails",
    "restore-fails",
];

/// Iterations of an empty loop that take about a millisecond.
const ITERATIONS_PER_MS: u64 = 1_000_000;

#[cfg(feature = "bad-schema")]
const SCHEMA: &str = "{\"type\": 7";
#[cfg(not(feature = "bad-schema"))]
const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "mode": {"description": "The kind of misbehaviour.", "type": "string"},
    "ms": {"description": "Duration of slow in milliseconds.", "type": "integer", "minimum": 0}
  },
  "required": ["mode"]
}"#;

/// The configured transformer.
#[derive(Debug)]
pub struct Misbehaving {
    mode: String,
    milliseconds: u64,
    rows_seen: u64,
    /// The numbers of meters and resources in the first batch.
    first: Option<(Vec<u32>, Vec<u32>)>,
}

impl Transformer for Misbehaving {
    fn describe() -> Description {
        Description {
            name: "misbehaving".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "misbehaves in one way per mode".to_owned(),
            options_schema: SCHEMA.to_owned(),
            state_version: 1,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let mode = options["mode"].as_str().unwrap_or_default().to_owned();
        let refuse = |reason: &str| {
            Err(vec![OptionError { pointer: "/mode".to_owned(), reason: reason.to_owned() }])
        };
        let mut settings = settings();
        match mode.as_str() {
            "loop-configure" => spin(u64::MAX),
            "option-error" => return refuse("this mode refuses its options"),
            "bad-settings-glob" => settings.meters = vec!["!".to_owned(), "a\0[".to_owned()],
            known if MODES.contains(&known) => {}
            _ => return refuse("unknown mode"),
        }
        let milliseconds = options["ms"].as_u64().unwrap_or(100);
        Ok((Self { mode, milliseconds, rows_seen: 0, first: None }, settings))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        self.rows_seen += input.samples.volume.len() as u64;
        let rows = u32::try_from(input.samples.volume.len()).unwrap_or(u32::MAX);
        match self.mode.as_str() {
            "keep-even" => return Ok(Outcome::Keep((0..rows).step_by(2).collect())),
            "keep-descending" => return Ok(Outcome::Keep((0..rows).rev().collect())),
            "keep-out-of-range" => return Ok(Outcome::Keep(vec![rows])),
            "reject" => return Err(Refusal::Rejected("this mode rejects".to_owned())),
            "broken" => return Err(Refusal::Broken("this mode is broken".to_owned())),
            "loop-transform" => spin(u64::MAX),
            "slow" => spin(self.milliseconds.saturating_mul(ITERATIONS_PER_MS)),
            "memory-bomb" => fill_memory(),
            "deep-recursion" => log::debug(&format!("as deep as {}", descend(0))),
            "trap-transform" => trap("this mode traps"),
            "trap-666" if input.samples.volume.contains(&666.0) => trap("a volume is 666"),
            "log-flood" => (0..100_000).for_each(|line| log::info(&format!("line {line}"))),
            "big-log-line" => log::info(&"x".repeat(1 << 20)),
            "removed-number" => {
                let now = (input.samples.meter.clone(), input.samples.resource.clone());
                let (meter, resource) = self.first.get_or_insert(now);
                return Ok(answers::with_numbers(input, meter, resource));
            }
            other => {
                if let Some(outcome) = answers::malformed(other, input) {
                    return Ok(outcome);
                }
            }
        }
        Ok(Outcome::Unchanged)
    }
}

impl Stateful for Misbehaving {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        if self.mode == "loop-flush" {
            spin(u64::MAX);
        }
        if self.mode != "counter" && self.mode != "trap-666" {
            return Ok(None);
        }
        let mut answer = AnswerBuilder::without_input(dictionary);
        let meter = answer.meter(&Meter {
            name: "misbehaving.count".to_owned(),
            unit: "sample".to_owned(),
            type_: MeterType::Gauge,
        });
        let resource = answer.resource(&Resource {
            id: "misbehaving".to_owned(),
            source: "openstack".to_owned(),
            project_id: None,
            user_id: None,
            metadata: "{}".to_owned(),
        });
        answer.create(meter, resource, now, self.rows_seen as f64);
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        if self.mode == "save-fails" {
            return Err("this mode does not save".to_owned());
        }
        Ok(self.rows_seen.to_le_bytes().to_vec())
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if self.mode == "restore-fails" {
            return Err("this mode does not restore".to_owned());
        }
        let bytes = state.try_into().map_err(|_| "the state is damaged".to_owned())?;
        if version != 1 {
            return Err(format!("state of version {version}; this component reads 1"));
        }
        self.rows_seen = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn spin(iterations: u64) {
    for iteration in 0..iterations {
        std::hint::black_box(iteration);
    }
}

fn fill_memory() {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "intended")]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    descend(depth + 1) + frame[7]
}

#[expect(clippy::panic, reason = "intended")]
fn trap(reason: &str) {
    panic!("{reason}");
}

nephometer_guest::export_stateful_transformer!(Misbehaving);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_documented() {
        let source = include_str!("lib.rs");
        let table: String = source.lines().filter(|line| line.starts_with("//! | `")).collect();
        for mode in MODES {
            assert!(table.contains(&format!("`{mode}`")), "{mode}");
        }
    }

    #[test]
    fn the_counter_is_restored() {
        let counter = || Misbehaving::configure(&serde_json::json!({"mode": "counter"})).unwrap().0;
        let mut before = counter();
        before.rows_seen = 7;
        let mut after = counter();
        after.restore(1, &before.save().unwrap()).unwrap();
        let answer = after.flush(&Dictionary::default(), 5).unwrap().unwrap();
        assert_eq!((answer.volume, answer.time), (vec![7.0], vec![5]));
    }
}
