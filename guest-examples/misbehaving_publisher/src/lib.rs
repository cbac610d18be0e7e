//! `misbehaving_publisher`: one result per mode, for tests of the host. The option `mode`, in the
//! query of the URL or in the block, selects it:
//!
//! | mode | what it does |
//! |---|---|
//! | `ok` | acknowledges every envelope |
//! | `retryable` | returns a retryable failure, every time; `after_ms` is the delay that it requests |
//! | `retryable-then-ok` | returns a retryable failure for the first `attempts` attempts of each envelope, then acknowledges it |
//! | `permanent`, `broken` | returns that failure, every time |
//! | `trap` | traps |
//! | `loop` | never returns |
//!
//! Each call logs one line: the id of the envelope, the attempt and the number of rows.

use std::cell::RefCell;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, UrlOptions, later, log,
    settings,
};

/// All modes.
pub const MODES: [&str; 7] =
    ["ok", "retryable", "retryable-then-ok", "permanent", "broken", "trap", "loop"];

/// The configured publisher.
#[derive(Debug)]
pub struct MisbehavingPublisher {
    mode: String,
    after_ms: Option<u64>,
    attempts: u64,
}

impl Publisher for MisbehavingPublisher {
    fn describe() -> Description {
        Description {
            name: "misbehaving_publisher".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "returns one result per mode".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let mode = read.text("mode").unwrap_or("ok");
        if !MODES.contains(&mode) {
            read.refuse("mode", format!("is {mode:?}; the modes are {}", MODES.join(", ")));
        }
        let publisher = Self {
            mode: mode.to_owned(),
            after_ms: whole(&read, "after_ms"),
            attempts: whole(&read, "attempts").unwrap_or(2),
        };
        let errors = errors.take();
        if errors.is_empty() { Ok((publisher, settings())) } else { Err(errors) }
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let Delivery { id, attempt, input, .. } = delivery;
        log::info(&format!("envelope {id}, attempt {attempt}, {} rows", input.volume.len()));
        let reason = format!("this mode is {}", self.mode);
        match self.mode.as_str() {
            "retryable" => Err(later(reason, self.after_ms)),
            "retryable-then-ok" if u64::from(attempt) <= self.attempts => {
                Err(later(reason, self.after_ms))
            }
            "permanent" => Err(Failure::Permanent(reason)),
            "broken" => Err(Failure::Broken(reason)),
            "trap" => trap(&reason),
            "loop" => loop {
                std::hint::black_box(attempt);
            },
            _ => Ok(()),
        }
    }
}

fn whole(read: &UrlOptions<'_>, key: &str) -> Option<u64> {
    let number = read.number(key)?;
    if !(0.0..=1e15).contains(&number) || number.fract() != 0.0 {
        read.refuse(key, "expected a whole number from 0 up");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Some(number as u64)
}

#[expect(clippy::panic, reason = "intended")]
fn trap(reason: &str) -> ! {
    panic!("{reason}");
}

nephometer_guest::export_publisher!(MisbehavingPublisher);

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::{DeliveryBatch, Retry};

    fn deliver(query: &serde_json::Value, attempt: u32) -> Result<(), Failure> {
        let options = serde_json::json!({"host": "h", "query": query});
        let (mut publisher, _) = MisbehavingPublisher::configure(&options).unwrap();
        let input = DeliveryBatch {
            meters: vec![],
            resources: vec![],
            meter: vec![],
            resource: vec![],
            time: vec![],
            monotonic: vec![],
            volume: vec![],
            exact: vec![],
            removed: vec![],
        };
        publisher.publish(Delivery { id: "e".to_owned(), attempt, input, texts: vec![] })
    }

    #[test]
    fn every_mode_returns_its_result() {
        assert_eq!(deliver(&serde_json::json!({}), 1), Ok(()));
        let twice = serde_json::json!({"mode": ["retryable-then-ok"], "attempts": ["2"]});
        assert!(deliver(&twice, 2).is_err());
        assert_eq!(deliver(&twice, 3), Ok(()));
        let later = deliver(&serde_json::json!({"mode": ["retryable"], "after_ms": ["70"]}), 9);
        assert!(matches!(later, Err(Failure::Retryable(Retry { after_ms: Some(70), .. }))));
        let broken = deliver(&serde_json::json!({"mode": ["broken"]}), 1);
        assert!(matches!(broken, Err(Failure::Broken(_))));
    }

    #[test]
    fn unknown_modes_are_refused() {
        let options = serde_json::json!({"query": {"mode": ["good"]}});
        let errors = MisbehavingPublisher::configure(&options).unwrap_err();
        assert_eq!(errors[0].pointer, "/query/mode");
    }
}
