use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::journaled_batch::AppliedAction;
use super::super::summing::{Knobs, POISON, REJECTED, batch, chain};
use super::*;
use nephometer_model::Volume;
use uuid::Uuid;

fn event(batch: &Arc<Batch>, actions: &[AppliedAction]) -> JournaledBatch {
    static POSITION: AtomicU64 = AtomicU64::new(1);
    JournaledBatch::new(POSITION.fetch_add(1, Relaxed), batch, actions)
}

fn volumes(lists: &[SampleList]) -> Vec<Vec<f64>> {
    lists.iter().map(|list| list.iter().map(|s| s.volume.as_f64()).collect()).collect()
}

fn law(count: &TransformerCount) -> [u64; 5] {
    let load = |counter: &AtomicU64| counter.load(Relaxed);
    let dropped = count.dropped.total();
    [load(&count.rows_in), load(&count.passed), load(&count.absorbed), dropped, load(&count.made)]
}

#[tokio::test]
async fn an_empty_chain_gives_back_what_it_gets() {
    let (mut chain, _) = chain(&[]);
    assert_eq!(
        volumes(&chain.process(event(&batch(&[1.0, 2.0]), &[])).await.unwrap()),
        [[1.0, 2.0]]
    );
    assert!(chain.process(event(&batch(&[]), &[])).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_flushed_goes_through_the_stages_behind_before_they_are_flushed() {
    let (mut chain, counts) = chain(&[Knobs::default(), Knobs::default()]);
    let lists = chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    // Transformed: 1, 1. Flush of the first: 1, which makes 2 of the second. Then its own flush.
    assert_eq!(volumes(&lists), [[1.0], [2.0], [2.0]]);
    assert_eq!(law(&counts[0]), [1, 0, 1, 0, 2]);
    assert_eq!(law(&counts[1]), [2, 0, 2, 0, 3]);
}

#[tokio::test]
async fn a_failure_that_passes_leaves_no_trace() {
    let (broken, whole) = (Knobs::default(), Knobs::default());
    let (mut once, counts) = chain(&[Knobs::default(), broken.clone()]);
    let (mut never, expected) = chain(&[Knobs::default(), whole]);
    broken.failures.store(1, Relaxed);
    // The sums of the first stage are 1, 1.5, 3.5, 4, 13: the second one sees poison in the third.
    for volume in [1.0, 2.0, 9.0, 4.0] {
        let batch = batch(&[volume, 0.5]);
        let got = once.process(event(&batch, &[])).await.unwrap();
        let wanted = never.process(event(&batch, &[])).await.unwrap();
        assert_eq!(volumes(&got), volumes(&wanted));
        let id = |lists: &[SampleList]| -> Vec<Uuid> {
            lists.iter().flat_map(|list| list.iter()).map(|sample| sample.id).collect()
        };
        assert_eq!(id(&got), id(&wanted));
    }
    assert_eq!(
        counts.iter().map(|c| law(c)).collect::<Vec<_>>(),
        expected.iter().map(|c| law(c)).collect::<Vec<_>>()
    );
    assert_eq!(broken.failures.load(Relaxed), 0);
}

#[tokio::test]
async fn equal_samples_get_ids_of_their_own_also_across_events() {
    let (mut chain, _) = chain(&[Knobs::default()]);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for sample in chain
            .process(event(&batch(&[1.0, 1.0]), &[]))
            .await
            .unwrap()
            .iter()
            .flat_map(|list| list.iter())
        {
            assert!(!sample.id.is_nil() && ids.insert(sample.id));
        }
    }
    assert_eq!(ids.len(), 9);
}

#[tokio::test]
async fn a_verdict_is_obeyed_and_remembered() {
    let knobs = Knobs::default();
    let (mut chain, counts) = chain(std::slice::from_ref(&knobs));
    chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    knobs.failures.store(3, Relaxed);
    let poisoned = batch(&[POISON]);
    let error = chain.process(event(&poisoned, &[])).await.unwrap_err();
    assert_eq!((error.slot, error.reason.as_str()), (0, "trap"));
    assert_eq!(law(&counts[0]), [1, 0, 1, 0, 2]);
    let dropped = AppliedAction { slot: 0, action: FailureAction::Drop };
    let lists = chain.process(event(&poisoned, &[dropped])).await.unwrap();
    assert_eq!(volumes(&lists), [[1.0]]);
    assert_eq!(law(&counts[0]), [2, 0, 1, 1, 3]);

    // The next failure runs everything again, but not what was dropped.
    knobs.failures.store(1, Relaxed);
    knobs.seen.lock().unwrap().clear();
    let lists = chain.process(event(&batch(&[2.0, POISON]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [vec![3.0, 16.0], vec![16.0]]);
    assert_eq!(*knobs.seen.lock().unwrap(), [2.0, POISON, 1.0, 2.0, POISON]);
}

#[tokio::test]
async fn kept_rows_pass_as_they_are() {
    let knobs = Knobs::default();
    let (mut chain, counts) = chain(std::slice::from_ref(&knobs));
    knobs.failures.store(2, Relaxed);
    let poisoned = batch(&[POISON]);
    assert!(chain.process(event(&poisoned, &[])).await.is_err());
    let kept = AppliedAction { slot: 0, action: FailureAction::Keep };
    let lists = chain.process(event(&poisoned, &[kept])).await.unwrap();
    assert_eq!(lists[0][0].id, poisoned.samples[0].id);
    assert_eq!(law(&counts[0]), [1, 1, 0, 0, 1]);
}

#[tokio::test]
async fn rejected_rows_are_dropped_and_the_chain_goes_on() {
    let (mut chain, counts) = chain(&[Knobs::default(), Knobs::default()]);
    let lists = chain.process(event(&batch(&[REJECTED]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[0.0], [0.0]]);
    assert_eq!(law(&counts[0])[..4], [1, 0, 0, 1]);
}

#[tokio::test]
async fn a_failing_flush_does_not_stop_the_others() {
    let knobs = Knobs::default();
    let (mut chain, _) = chain(&[knobs.clone(), Knobs::default()]);
    knobs.flush_failures.store(2, Relaxed);
    let lists = chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[1.0], [1.0]]);
    let lists = chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[3.0], [5.0], [5.0]]);
}

#[tokio::test]
async fn a_long_history_is_saved_and_not_run_again() {
    let knobs = Knobs::default();
    let (mut chain, _) = chain(std::slice::from_ref(&knobs));
    for _ in 0..600 {
        chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    }
    knobs.failures.store(1, Relaxed);
    knobs.seen.lock().unwrap().clear();
    let lists = chain.process(event(&batch(&[POISON]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[613.0], [613.0]]);
    assert!(knobs.seen.lock().unwrap().len() <= 256 + 2);
}

#[tokio::test]
async fn an_event_that_was_given_up_half_way_is_undone() {
    let (mut chain, counts) = chain(&[Knobs::default()]);
    chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    chain.begin();
    let half = event(&batch(&[5.0]), &[]);
    chain.run(&half, Run::Live).await.map_err(|failure| failure.reason).unwrap();
    let lists = chain.process(event(&batch(&[2.0]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[3.0], [3.0]]);
    assert_eq!(law(&counts[0]), [2, 0, 2, 0, 4]);
}

#[tokio::test]
async fn another_chain_gets_to_where_one_is() {
    let (mut old, _) = chain(&[Knobs::default(), Knobs::default()]);
    for _ in 0..300 {
        old.process(event(&batch(&[1.0]), &[])).await.unwrap();
    }
    let (offset, states, events) = old.snapshot();
    assert!(offset > 0 && !events.is_empty() && events.len() < 300);
    let (mut new, counts) = chain(&[Knobs::default(), Knobs::default()]);
    new.resume(offset, states).await.unwrap();
    for event in events {
        new.replay(event).await.unwrap();
    }
    assert_eq!(new.offset(), old.offset());
    assert_eq!(law(&counts[0]), [0; 5], "nothing of that counts");
    new.inherit_names(&mut old);
    let next = event(&batch(&[1.0]), &[]);
    let (got, wanted) = (new.process(next.clone()).await.unwrap(), old.process(next).await);
    assert_eq!(volumes(&got), volumes(&wanted.unwrap()));
}

#[tokio::test]
async fn a_retired_chain_comes_back_with_what_it_has_missed() {
    let (mut old, _) = chain(&[Knobs::default()]);
    old.process(event(&batch(&[1.0]), &[])).await.unwrap();
    old.retire().await;
    assert!(old.remember(event(&batch(&[2.0]), &[])));
    let lists = old.process(event(&batch(&[4.0]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[7.0], [7.0]]);
}

#[tokio::test]
async fn injected_rows_stay_in_the_state() {
    let knobs = Knobs::default();
    let (mut chain, counts) = chain(std::slice::from_ref(&knobs));
    chain.process(event(&batch(&[1.0]), &[])).await.unwrap();
    assert_eq!(chain.inject(0, &batch(&[5.0])).await.unwrap().len(), 1);
    assert_eq!(law(&counts[0]), [2, 0, 2, 0, 3]);
    knobs.failures.store(1, Relaxed);
    let lists = chain.process(event(&batch(&[POISON]), &[])).await.unwrap();
    assert_eq!(volumes(&lists), [[19.0], [19.0]]);
}

/// Saved states have a bound together: a save beyond it is refused, and the chain goes on with its
/// older one.
#[tokio::test]
async fn a_save_beyond_the_total_is_refused_and_the_older_one_stays() {
    let total = StateTotal::new(16);
    let knobs = Knobs::default();
    let (one, _) = chain(&[Knobs::default(), Knobs::default()]);
    let (other, _) = chain(std::slice::from_ref(&knobs));
    let (mut one, mut other) = (one.within(&total), other.within(&total));
    one.process(JournaledBatch::new(1, &batch(&[1.0]), &[])).await.unwrap();
    assert!(one.save().await && one.save().await, "its own older one does not count");
    other.process(JournaledBatch::new(1, &batch(&[2.0]), &[])).await.unwrap();
    assert!(!other.save().await);
    assert_eq!(other.saved_at(), 0);
    // It works on, and recovers from its older save.
    knobs.failures.store(1, Relaxed);
    let lists = other.process(JournaledBatch::new(2, &batch(&[POISON]), &[])).await.unwrap();
    assert_eq!(lists[0][0].volume, Volume::Float(15.0));
    drop(one);
    assert!(other.save().await);
    assert_eq!(other.saved_at(), 2);
}
