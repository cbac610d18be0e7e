//! What a shadow gets of a chain, and what it reports.

use super::*;
use crate::transform::summing_transformer::{
    POISON, REJECTED, TestControl, batch, chain, transformer,
};
use crate::transform::{AppliedAction, Chain, FailureAction, JournaledBatch, ShadowQueue};
use nephometer_model::Volume;

/// A chain of two transformers, with a shadow of the second that begins from its state.
async fn attached(chain: &mut Chain, report: &ShadowReport) -> (Instance, ShadowQueue) {
    let (feed, queue) = ShadowFeed::new(1, report.missed());
    let live = chain.identities()[1].clone();
    let state = chain.attach_shadow(&live, feed).await.unwrap();
    let mut shadow = transformer(&TestControl::default());
    shadow.rebuild(state.as_ref()).await.unwrap();
    report.started(false);
    (shadow, queue)
}

/// Processes volumes as one batch, with a failure action for the second transformer.
async fn feed(chain: &mut Chain, volumes: &[f64], action: Option<FailureAction>) {
    let actions = action.map(|action| AppliedAction { transformer_index: 1, action });
    let actions = actions.into_iter().collect::<Vec<_>>();
    let batch = JournaledBatch::new(chain.offset() + 1, &batch(volumes), &actions);
    chain.process(batch).await.unwrap();
}

/// Runs the shadow over all batches that wait.
async fn run(shadow: &mut Instance, queue: &mut ShadowQueue, report: &ShadowReport) {
    while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_millis(1), queue.next()).await {
        process(&mut **shadow, &batch, report).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_equal_shadow_returns_the_same_from_the_live_state_on() {
    let (mut chain, _) = chain(&[TestControl::default(), TestControl::default()]);
    let report = ShadowReport::default();
    feed(&mut chain, &[1.0, 2.0], None).await;
    let (mut shadow, mut queue) = attached(&mut chain, &report).await;
    for volumes in [&[3.0, 4.0][..], &[], &[5.0], &[REJECTED, 1.0], &[6.0]] {
        feed(&mut chain, volumes, None).await;
    }
    run(&mut shadow, &mut queue, &report).await;
    let found = report.progress();
    assert_eq!((found.batches, found.differing, &found.first), (5, 0, &None), "{found:?}");
    assert!(found.is_complete() && found.samples > 10, "{found:?}");
    let meter = found.meters["m"];
    assert_eq!(meter.live, meter.shadow);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_with_another_state_differs_in_each_sample() {
    let (mut chain, _) = chain(&[TestControl::default(), TestControl::default()]);
    let report = ShadowReport::default();
    feed(&mut chain, &[1.0], None).await;
    let (mut shadow, mut queue) = attached(&mut chain, &report).await;
    shadow.rebuild(None).await.unwrap();
    feed(&mut chain, &[2.0], None).await;
    run(&mut shadow, &mut queue, &report).await;
    let found = report.progress();
    // The second one had 2 of the first batch, as a sample and a flush. Then both get 3 and 3.
    assert_eq!((found.samples, found.differing, found.missing, found.extra), (3, 3, 0, 0));
    let first = found.first.unwrap();
    assert_eq!(
        (first.what, first.live, first.shadow),
        ("volume", Some(Volume::Float(5.0)), Some(Volume::Float(3.0)))
    );
    let meter = found.meters["m"];
    assert_eq!(meter.live.to(meter.shadow).volume(), Volume::Float(-6.0));
    assert_eq!(meter.differing, 3);
}

#[tokio::test(start_paused = true)]
async fn what_bypassed_the_live_one_bypasses_the_shadow() {
    let broken = TestControl::default();
    let (mut chain, _) = chain(&[TestControl::default(), broken]);
    let report = ShadowReport::default();
    let (mut shadow, mut queue) = attached(&mut chain, &report).await;
    for action in [FailureAction::Drop, FailureAction::Keep] {
        feed(&mut chain, &[POISON], Some(action)).await;
    }
    feed(&mut chain, &[1.0], None).await;
    run(&mut shadow, &mut queue, &report).await;
    let found = report.progress();
    // The sample and the flush of the first transformer, twice.
    assert_eq!((found.differing, found.skipped), (0, 4), "{found:?}");
    assert!(!found.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_an_injection_and_a_takeover_detach_the_shadow() {
    let (mut live, _) = chain(&[TestControl::default(), TestControl::default()]);
    let report = ShadowReport::default();
    let (_, mut queue) = attached(&mut live, &report).await;
    let most = Bound::ShadowBatches.most();
    for _ in 0..most + 5 {
        feed(&mut live, &[1.0], None).await;
    }
    assert_eq!(report.progress().missed_batches, 5);
    let mut got = 0;
    while queue.next().await.is_some() {
        got += 1;
    }
    assert_eq!(got, most, "the queue ends behind what it has");
    // Attached again.
    let (mut shadow, mut queue) = attached(&mut live, &report).await;
    feed(&mut live, &[1.0], None).await;
    run(&mut shadow, &mut queue, &report).await;
    let found = report.progress();
    assert_eq!((found.batches, found.missed_batches, found.differing), (1, 5, 0), "{found:?}");
    live.inject(0, &batch(&[7.0])).await.unwrap();
    assert!(queue.next().await.is_none(), "the injected samples are not in its state");
    let (_, mut queue) = attached(&mut live, &report).await;
    let (mut other, _) = chain(&[TestControl::default(), TestControl::default()]);
    other.inherit_ids(&mut live);
    assert!(queue.next().await.is_none(), "another chain took over");
    feed(&mut other, &[1.0], None).await;
    assert_eq!(report.progress().missed_batches, 6);
}

#[tokio::test(start_paused = true)]
async fn a_batch_may_be_larger_than_the_bound_but_no_other_waits_beside_it() {
    let (mut chain, _) = chain(&[TestControl::default(), TestControl::default()]);
    let report = ShadowReport::default();
    let (_shadow, _queue) = attached(&mut chain, &report).await;
    let large = vec![1.0; Bound::ShadowSamples.size() + 1];
    feed(&mut chain, &large, None).await;
    assert_eq!(report.progress().missed_batches, 0);
    feed(&mut chain, &[1.0], None).await;
    assert_eq!(report.progress().missed_batches, 1);
}

#[test]
fn samples_are_found_in_any_order() {
    let sample = |volume: f64, meter: &str, nanos: u64| {
        let mut sample = batch(&[volume]).samples[0].clone();
        sample.meter =
            Arc::new(nephometer_model::Meter::new(meter, nephometer_model::MeterType::Gauge, "u"));
        sample.taken.wall = nephometer_model::Timestamp::from_nanos(nanos);
        sample
    };
    let live = [sample(1.0, "a", 1), sample(2.0, "a", 2), sample(3.0, "b", 2), sample(3.0, "b", 2)];
    let report = ShadowReport::default();
    let mut shadow = live.to_vec();
    shadow.reverse();
    report.compare(&live, &shadow);
    assert_eq!(report.progress().differing, 0);
    shadow[3].volume = Volume::Float(9.0);
    shadow.remove(0);
    shadow.push(sample(5.0, "c", 9));
    report.compare(&live, &shadow);
    let found = report.progress();
    assert_eq!((found.differing, found.missing, found.extra), (3, 1, 1), "{found:?}");
    assert_eq!(found.first.as_ref().map(|one| one.what), Some("volume"));
    // Another unit of an equal value is a difference, too.
    let mut other = live.to_vec();
    other[0].meter =
        Arc::new(nephometer_model::Meter::new("a", nephometer_model::MeterType::Gauge, "v"));
    let report = ShadowReport::default();
    report.compare(&live, &other);
    assert_eq!(report.progress().first.map(|one| one.what), Some("unit"));
}
