//! `counting`: counts rows, for tests that replace a running component by another version of it.
//!
//! Every row passes; each flush adds a row `count` with the number of rows so far. The folders
//! beside this one make a component of each [`Kind`]: one crate each, because the build keeps one
//! module per crate.

use std::marker::PhantomData;

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, Meter, MeterType, OptionError, Outcome,
    Refusal, Resource, Settings, Stateful, Timestamp, Transformer, settings,
};

/// In what one version differs from another.
pub trait Kind {
    /// The component's own version, as it tells it.
    const VERSION: &'static str;
    /// The version of the state that is written. Version 1 is the count, 8 bytes, little-endian;
    /// version 2 has 8 zero bytes after it, version 3 before it.
    const STATE: u32;
    /// The versions of the state that are read.
    const READS: &'static [u32];
    /// The batch since the instance was made that traps, from 1; 0 for none.
    const TRAPS_AT: u64 = 0;
    /// Traps when it is configured.
    const BAD: bool = false;
}

/// The configured counter.
#[derive(Debug)]
pub struct Counting<K> {
    count: u64,
    batches: u64,
    kind: PhantomData<K>,
}

impl<K: Kind> Transformer for Counting<K> {
    fn describe() -> Description {
        Description {
            name: "counting".to_owned(),
            version: K::VERSION.to_owned(),
            summary: "counts rows".to_owned(),
            options_schema: String::new(),
            state_version: K::STATE,
            facts: Vec::new(),
        }
    }

    fn configure(_: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        if K::BAD {
            trap("this version traps when it is configured");
        }
        Ok((Self { count: 0, batches: 0, kind: PhantomData }, settings()))
    }

    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal> {
        self.batches += 1;
        if self.batches == K::TRAPS_AT {
            trap("this version traps at this batch");
        }
        self.count += input.samples.volume.len() as u64;
        Ok(Outcome::Unchanged)
    }
}

impl<K: Kind> Stateful for Counting<K> {
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let mut answer = AnswerBuilder::without_input(dictionary);
        let meter = answer.meter(&Meter {
            name: "count".to_owned(),
            unit: "row".to_owned(),
            type_: MeterType::Gauge,
        });
        let resource = answer.resource(&Resource {
            id: "count".to_owned(),
            source: "openstack".to_owned(),
            project_id: None,
            user_id: None,
            metadata: "{}".to_owned(),
        });
        answer.create(meter, resource, now, self.count as f64);
        Ok(answer.finish_flush())
    }

    fn save(&self) -> Result<Vec<u8>, String> {
        let count = self.count.to_le_bytes();
        Ok(match K::STATE {
            1 => count.to_vec(),
            2 => [count, [0; 8]].concat(),
            _ => [[0; 8], count].concat(),
        })
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if !K::READS.contains(&version) {
            return Err(format!("state of version {version}; this component reads {:?}", K::READS));
        }
        let count = match (version, state.len()) {
            (1, 8) => state,
            (2, 16) => &state[..8],
            (3, 16) => &state[8..],
            (_, length) => return Err(format!("{length} bytes are no state of version {version}")),
        };
        let bytes = count.try_into().map_err(|_| "the state is damaged".to_owned())?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }
}

#[expect(clippy::panic, reason = "what the version is for")]
fn trap(reason: &str) {
    panic!("{reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct First;
    impl Kind for First {
        const VERSION: &'static str = "1";
        const STATE: u32 = 1;
        const READS: &'static [u32] = &[1];
    }

    struct Second;
    impl Kind for Second {
        const VERSION: &'static str = "2";
        const STATE: u32 = 2;
        const READS: &'static [u32] = &[1, 2];
    }

    fn made<K: Kind>() -> Counting<K> {
        Counting::configure(&serde_json::Value::Null).unwrap().0
    }

    #[test]
    fn a_later_version_reads_the_state_of_an_earlier_one_and_not_the_other_way() {
        let mut first = made::<First>();
        first.count = 7;
        let mut second = made::<Second>();
        second.restore(1, &first.save().unwrap()).unwrap();
        let dictionary = Dictionary::default();
        assert_eq!(second.flush(&dictionary, 1).unwrap().unwrap().volume, [7.0]);
        let mut again = made::<Second>();
        again.restore(2, &second.save().unwrap()).unwrap();
        assert_eq!(again.count, 7);
        assert!(first.restore(2, &second.save().unwrap()).is_err());
        assert!(again.restore(2, &[1, 2, 3]).is_err());
    }
}
