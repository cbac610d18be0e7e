use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use super::Timestamp;

/// The namespace of all ids that one host assigns: generated once and kept in the store.
///
/// Ids are derived from what they identify. Anything that is sent or computed again after a crash
/// or rollback has the same id, so a consumer that drops repeated ids sees each sample once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostId(pub Uuid);

/// The resource, meter and time of a computed sample.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The resource's own `source`.
    pub source: &'a str,
    /// The resource's id.
    pub resource_id: &'a str,
    /// The meter's name.
    pub meter: &'a str,
    /// The sample's time.
    pub time: Timestamp,
}

/// Distinguishes one computed sample from all others with the same resource, meter and time.
#[derive(Debug, Clone, Copy)]
pub struct Computed<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// Position of the transformer in the sink, from 0.
    pub transformer_index: usize,
    /// The number of earlier samples of the transformer with the same [`About`].
    pub ordinal: usize,
}

impl HostId {
    /// The id of a polled sample: the same for the same arguments, on every call.
    ///
    /// ```
    /// # use nephometer_model::{HostId, Timestamp};
    /// let host = HostId(uuid::Uuid::from_u128(1));
    /// let time = Timestamp::parse("2026-11-29T12:00:00")?;
    /// let id = host.polled("cpu_source", "instance-1", "cpu", time);
    /// assert_eq!(id, host.polled("cpu_source", "instance-1", "cpu", time));
    /// assert_ne!(id, host.polled("cpu_source", "instance-2", "cpu", time));
    /// # Ok::<(), String>(())
    /// ```
    pub fn polled(self, source: &str, resource_id: &str, meter: &str, time: Timestamp) -> Uuid {
        self.name(&[source, resource_id, meter], &[time.as_nanos()])
    }

    /// The id of a sample that a transformer computed.
    pub fn computed(self, by: Computed<'_>, about: About<'_>) -> Uuid {
        let numbers = [about.time.as_nanos(), by.transformer_index as u64, by.ordinal as u64];
        self.name(&[about.source, about.resource_id, about.meter, by.sink], &numbers)
    }

    /// The id of anything else that strings and numbers identify, such as an envelope.
    pub fn name(self, words: &[&str], numbers: &[u64]) -> Uuid {
        let mut hash = Sha1::new();
        hash.update(self.0.as_bytes());
        for word in words {
            // The length prefix distinguishes ("a", "bc") from ("ab", "c").
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word.as_bytes());
        }
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        let digest: [u8; 20] = hash.finalize().into();
        let (id, _) = digest.split_first_chunk().expect("16 of 20 bytes");
        // The `uuid` crate would hash without the processor's SHA instructions.
        uuid::Builder::from_sha1_bytes(*id).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Samples were sent with these ids: if an upgrade changed them, samples sent again would count
    // twice.
    #[test]
    fn ids_are_those_of_uuid_version_5() {
        let host = HostId(Uuid::from_u128(1));
        let time = Timestamp::from_nanos(5);
        let polled = host.polled("s", "r", "m", time).to_string();
        assert_eq!(polled, "bbca4116-83d1-5b0e-9a9f-d008026d48f6");
        let by = Computed { sink: "k", transformer_index: 0, ordinal: 1 };
        let about = About { source: "s", resource_id: "r", meter: "m", time };
        assert_eq!(host.computed(by, about).to_string(), "adc7a223-8736-5ad7-86a9-606e00c0727b");
    }

    #[test]
    fn ids_depend_on_every_part_and_on_nothing_else() {
        let host = HostId(Uuid::from_u128(1));
        let time = Timestamp::from_nanos(5);
        let id = host.polled("s", "r", "m", time);
        assert_eq!(id, host.polled("s", "r", "m", time));
        assert_ne!(id, host.polled("sr", "", "m", time));
        assert_ne!(id, host.polled("s", "r", "m", Timestamp::from_nanos(6)));
        assert_ne!(id, HostId(Uuid::from_u128(2)).polled("s", "r", "m", time));
        let by = Computed { sink: "k", transformer_index: 0, ordinal: 0 };
        let about = About { source: "s", resource_id: "r", meter: "m", time };
        assert_ne!(host.computed(by, about), id);
        let second = Computed { ordinal: 1, ..by };
        assert_ne!(host.computed(by, about), host.computed(second, about));
    }
}
