//! `counting`: counts rows, for tests that replace a running component by another version of it.
//!
//! Every row passes, and each flush adds a row `count` with the number of rows so far. The crates
//! in the subfolders build a component of each [`Kind`]; there is one crate per component, because
//! the build yields one module per crate.

use std::marker::PhantomData;

use nephometer_guest::{
    Answer, AnswerBuilder, Batch, Description, Dictionary, Meter, MeterType, OptionError, Outcome,
    Refusal, Resource, Settings, Stateful, Timestamp, Transformer, settings,
};

/// How one version differs from another.
pub trait Kind {
    /// The version that the component reports.
    const VERSION: &'static str;
    /// The version of the saved state. Version 1 is the count in 8 bytes, little-endian; version 2
    /// appends 8 zero bytes, version 3 prepends them.
    const STATE: u32;
    /// The versions of the state that the component reads.
    const READS: &'static [u32];
    /// The batch of an instance that traps, counted from 1; 0 for none.
    const TRAPS_AT: u64 = 0;
    /// Whether `configure` traps.
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
            trap("this version traps in configure");
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
            (_, length) => {
                return Err(format!("a state of version {version} cannot have {length} bytes"));
            }
        };
        let bytes = count.try_into().map_err(|_| "the state is damaged".to_owned())?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }
}

#[expect(clippy::panic, reason = "intended")]
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

    fn configured<K: Kind>() -> Counting<K> {
        Counting::configure(&serde_json::Value::Null).unwrap().0
    }

    #[test]
    fn later_versions_read_earlier_states_but_not_vice_versa() {
        let mut first = configured::<First>();
        first.count = 7;
        let mut second = configured::<Second>();
        second.restore(1, &first.save().unwrap()).unwrap();
        let dictionary = Dictionary::default();
        assert_eq!(second.flush(&dictionary, 1).unwrap().unwrap().volume, [7.0]);
        let mut again = configured::<Second>();
        again.restore(2, &second.save().unwrap()).unwrap();
        assert_eq!(again.count, 7);
        assert!(first.restore(2, &second.save().unwrap()).is_err());
        assert!(again.restore(2, &[1, 2, 3]).is_err());
    }
}
