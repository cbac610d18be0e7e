//! Entry points of the fuzz targets in `host/fuzz`, which a unit test calls, too.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::{Envelope, SpoolBounds, Spools, Store, WhenFull};
use nephometer_model::DeliveryResult;
use nephometer_telemetry::PublisherCount;

const BOUNDS: SpoolBounds =
    SpoolBounds { bytes: 1 << 20, count: None, age: None, evict_last: Vec::new() };

/// Opens a store with three envelopes and damaged bytes; `data` has three bytes of position and one of
/// value for each. The store returns the readable envelopes and accepts more.
pub fn spool(data: &[u8]) {
    static INTACT: OnceLock<Vec<u8>> = OnceLock::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let intact = INTACT.get_or_init(|| runtime.block_on(intact()));
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = intact.clone();
    for damage in data.chunks_exact(4) {
        let position =
            usize::from(damage[0]) << 16 | usize::from(damage[1]) << 8 | usize::from(damage[2]);
        let position = position % bytes.len();
        bytes[position] = damage[3];
    }
    std::fs::write(folder.path().join("agent.redb"), bytes).expect("a file");
    runtime.block_on(async {
        let store = Store::open(folder.path()).expect("a damaged store still opens");
        let counts = Arc::new(PublisherCount::default());
        // A spool that would be overwritten is refused.
        let opened =
            store.spools().open("s/p", BOUNDS, WhenFull::DropOldest, (&counts, None)).await;
        let Ok((writer, mut reader)) = opened else { return };
        writer.push(envelopes(9..10)).await;
        let found = reader.lease(100).await.unwrap_or_default();
        assert!(found.len() <= 4);
        for one in &found {
            assert!(one.id == Uuid::from_u128(9) || *one.body == [7; 100], "{one:?}");
        }
        reader.acknowledge(&vec![DeliveryResult::Acknowledged; found.len()]).await;
    });
}

async fn intact() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let spools: Spools = store.spools();
    let counts = Arc::new(PublisherCount::default());
    let (writer, _reader) =
        spools.open("s/p", BOUNDS, WhenFull::DropOldest, (&counts, None)).await.expect("a spool");
    writer.push(envelopes(0..3)).await;
    std::fs::read(Path::new(folder.path()).join("agent.redb")).expect("the file")
}

fn envelopes(ids: std::ops::Range<u128>) -> Vec<Envelope> {
    let make = |id| Envelope {
        id: Uuid::from_u128(id),
        body: vec![7; 100].into(),
        samples: 1,
        ..Envelope::default()
    };
    ids.map(make).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// So that the targets compile and hold before `make fuzz`, which takes longer.
        #[test]
        fn targets_take_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            super::spool(&data);
        }
    }
}
