//! What the fuzz targets in `host/fuzz` call; only they see it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::{Bounds, Envelope, Spools, Store, WhenFull};
use nephometer_model::DeliveryResult;
use nephometer_telemetry::PublisherCount;

const BOUNDS: Bounds = Bounds { bytes: 1 << 20, count: None, age: None, last: Vec::new() };

/// A store with three envelopes, damaged: pairs of a place (three bytes) and what stands there. It
/// opens again, gives what it can, and takes more.
pub fn spool(data: &[u8]) {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sound = SOUND.get_or_init(|| runtime.block_on(sound()));
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = sound.clone();
    for damage in data.chunks_exact(4) {
        let place =
            usize::from(damage[0]) << 16 | usize::from(damage[1]) << 8 | usize::from(damage[2]);
        let place = place % bytes.len();
        bytes[place] = damage[3];
    }
    std::fs::write(folder.path().join("agent.redb"), bytes).expect("a file");
    runtime.block_on(async {
        let store = Store::open(folder.path()).expect("it never refuses to start");
        let counts = Arc::new(PublisherCount::default());
        // What would be written over is refused.
        let opened = store.spools().open("s/p", BOUNDS, WhenFull::DropOldest, &counts).await;
        let Ok((writer, mut reader)) = opened else { return };
        writer.push(envelopes(9..10)).await;
        let found = reader.peek(100).await.unwrap_or_default();
        assert!(found.len() <= 4);
        for one in &found {
            assert!(one.id == Uuid::from_u128(9) || *one.body == [7; 100], "{one:?}");
        }
        reader.settle(&vec![DeliveryResult::Acknowledged; found.len()]).await;
    });
}

async fn sound() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let spools: Spools = store.spools();
    let counts = Arc::new(PublisherCount::default());
    let (writer, _reader) =
        spools.open("s/p", BOUNDS, WhenFull::DropOldest, &counts).await.expect("a spool");
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
