//! The driver of a publisher: reads its spool, calls the publisher, retries and acknowledges.
//!
//! The order of the spool is kept: nothing is sent before everything in front of it has a result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::backoff::Backoff;
use super::{Envelope, Publisher};
use nephometer_model::DeliveryResult;
use nephometer_store::SpoolReader;
use nephometer_telemetry::{Dropped, events::publish as events};

/// Maximum delay between attempts once the spool is closed, because a shutdown is short.
const MAX_DRAIN_DELAY: Duration = Duration::from_millis(500);

/// Delivers a spool in order, until it is closed and empty.
///
/// It may be dropped at any time: envelopes without a result stay in the spool.
pub struct Driver {
    label: Arc<str>,
    publisher: Box<dyn Publisher>,
    spool: SpoolReader,
    backoff: Backoff,
    /// `policy=drop`: an envelope that cannot be delivered at once is dropped with all behind it.
    drop_on_failure: bool,
    /// Attempts in a row that left envelopes pending.
    failures: u32,
}

impl Driver {
    /// A driver for one publisher and its spool.
    pub fn new(
        label: &Arc<str>,
        publisher: Box<dyn Publisher>,
        spool: SpoolReader,
        drop_on_failure: bool,
    ) -> Self {
        let (label, backoff) = (Arc::clone(label), Backoff::PUBLISHER);
        Self { label, publisher, spool, backoff, drop_on_failure, failures: 0 }
    }

    /// Delivers until the spool is closed and empty.
    pub async fn run(mut self) {
        while self.ready().await {
            let envelopes = match self.spool.lease(self.publisher.window()).await {
                Ok(envelopes) => envelopes,
                Err(reason) => {
                    self.pause(&[], &format!("spool cannot be read: {reason}"), None).await;
                    continue;
                }
            };
            let deliveries = Arc::clone(self.spool.counts());
            deliveries.deliveries.begin(envelopes.len() as u64);
            let began = Instant::now();
            let mut results = self.publisher.publish(&envelopes).await;
            // An envelope without a result is pending.
            let unreported = || DeliveryResult::pending("the publisher did not report a result");
            results.resize_with(envelopes.len(), unreported);
            let is_pending =
                |result: &DeliveryResult| matches!(result, DeliveryResult::Pending { .. });
            deliveries.deliveries.end(began.elapsed(), results.iter().any(is_pending));
            if let Some((reason, after)) = self.acknowledge(&envelopes, results).await {
                self.pause(&envelopes, &reason, after).await;
            }
        }
    }

    /// Waits until an envelope is pending. False if the spool is closed and empty.
    async fn ready(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.publisher.renewed() => {}
                ready = self.spool.ready() => return ready,
            }
        }
    }

    /// Acknowledges envelopes that have a final result. Returns the reason of the first pending
    /// one, and the delay that its receiver asked for.
    async fn acknowledge(
        &mut self,
        envelopes: &[Envelope],
        results: Vec<DeliveryResult>,
    ) -> Option<(String, Option<Duration>)> {
        for (envelope, result) in envelopes.iter().zip(&results) {
            if let DeliveryResult::Rejected(reason) = result {
                events::envelope_rejected(&self.label, envelope.id, envelope.samples, reason);
            }
        }
        self.spool.acknowledge(&results).await;
        let mut pending = results.into_iter().filter_map(|result| match result {
            DeliveryResult::Pending { reason, after } => Some((reason, after)),
            DeliveryResult::Acknowledged | DeliveryResult::Rejected(_) => None,
        });
        let first = pending.next();
        if first.is_none() && self.failures > 0 {
            self.failures = 0;
            events::available_again(&self.label, self.spool.pending());
        }
        first
    }

    /// After a failure: drops the spool with `policy=drop`, otherwise waits. New credentials are tried
    /// at once.
    async fn pause(&mut self, envelopes: &[Envelope], reason: &str, after: Option<Duration>) {
        if self.drop_on_failure {
            let dropped = self.spool.drop_all(Dropped::Policy).await;
            events::dropped_by_policy(&self.label, dropped, reason);
            return;
        }
        if self.failures == 0 {
            events::unavailable(&self.label, reason, self.spool.pending());
        }
        self.failures = self.failures.saturating_add(1);
        let backoff = self.backoff.delay(self.failures, spread(envelopes, self.failures));
        let delay = after.unwrap_or(backoff);
        let closed = self.spool.is_closed();
        let delay = if closed { delay.min(MAX_DRAIN_DELAY) } else { delay };
        tokio::select! {
            () = sleep(delay) => {}
            () = self.spool.closed(), if !closed => {}
            () = self.publisher.renewed() => {}
        }
    }
}

/// A number that differs between hosts and attempts: ids of envelopes are hashes that include the
/// host id.
fn spread(envelopes: &[Envelope], failures: u32) -> u16 {
    let id = envelopes.first().map_or([0; 16], |envelope| envelope.id.into_bytes());
    let index = usize::try_from(failures).unwrap_or(0) % id.len();
    u16::from_be_bytes([id[index], id[(index + 1) % id.len()]])
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering::Relaxed;

    use async_trait::async_trait;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;
    use nephometer_store::{SpoolBounds, SpoolWriter, Spools, WhenFull};
    use nephometer_telemetry::PublisherCount;

    /// Returns scripted results, one list per call, then acknowledges. Records the ids it received.
    struct Scripted {
        answers: VecDeque<Vec<DeliveryResult>>,
        received: Arc<Mutex<Vec<Vec<u128>>>>,
        renewal: Arc<Notify>,
    }

    #[async_trait]
    impl Publisher for Scripted {
        async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
            let ids = envelopes.iter().map(|envelope| envelope.id.as_u128()).collect();
            self.received.lock().unwrap().push(ids);
            self.answers
                .pop_front()
                .unwrap_or_else(|| vec![DeliveryResult::Acknowledged; envelopes.len()])
        }

        fn window(&self) -> usize {
            3
        }

        async fn renewed(&mut self) {
            self.renewal.notified().await;
        }
    }

    struct DriverBench {
        counts: Arc<PublisherCount>,
        writer: SpoolWriter,
        driver: Driver,
        received: Arc<Mutex<Vec<Vec<u128>>>>,
        renewal: Arc<Notify>,
    }

    async fn driver_bench(answers: Vec<Vec<DeliveryResult>>, drop_on_failure: bool) -> DriverBench {
        let counts = Arc::new(PublisherCount::default());
        let bounds = SpoolBounds { bytes: 1 << 20, count: None, age: None, evict_last: Vec::new() };
        let spools = Spools::in_memory();
        let (writer, reader) =
            spools.open("test", bounds, WhenFull::DropOldest, (&counts, None)).await.unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let renewal = Arc::new(Notify::new());
        let publisher = Scripted {
            answers: answers.into(),
            received: Arc::clone(&received),
            renewal: Arc::clone(&renewal),
        };
        let driver =
            Driver::new(&Arc::from("test://"), Box::new(publisher), reader, drop_on_failure);
        DriverBench { counts, writer, driver, received, renewal }
    }

    fn envelopes(ids: std::ops::Range<u128>) -> Vec<Envelope> {
        let envelope = |id| Envelope { id: Uuid::from_u128(id), samples: 1, ..Envelope::default() };
        ids.map(envelope).collect()
    }

    fn pending() -> DeliveryResult {
        DeliveryResult::pending("away".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn pending_envelopes_are_sent_again_in_order() {
        use DeliveryResult::{Acknowledged, Rejected};
        let answers = vec![
            vec![Acknowledged, pending(), pending()],
            vec![pending(), pending(), pending()],
            vec![Rejected("bad".to_owned()), Acknowledged],
        ];
        let DriverBench { counts, writer, driver, received, .. } =
            driver_bench(answers, false).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        driver.run().await;
        assert_eq!(
            *received.lock().unwrap(),
            [vec![0, 1, 2], vec![1, 2, 3], vec![1, 2, 3], vec![3, 4]]
        );
        assert_eq!(counts.confirmed.load(Relaxed), 4);
        assert_eq!(counts.dropped.to_string(), "1 dropped (permanent 1)");
        assert_eq!(counts.pending.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn policy_drop_drops_everything_behind_a_failure() {
        let answers = vec![vec![DeliveryResult::Acknowledged, pending(), pending()]];
        let DriverBench { counts, writer, driver, .. } = driver_bench(answers, true).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        driver.run().await;
        assert_eq!(counts.dropped.to_string(), "4 dropped (policy 4)");
        assert_eq!(counts.confirmed.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_the_spool_ends_a_long_delay() {
        let away = vec![pending(), pending(), pending()];
        let DriverBench { counts, writer, driver, .. } = driver_bench(vec![away; 9], false).await;
        writer.push(envelopes(0..3)).await;
        let running = tokio::spawn(driver.run());
        // By then the delay is 30 s.
        sleep(Duration::from_secs(100)).await;
        let start = tokio::time::Instant::now();
        drop(writer);
        running.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(counts.confirmed.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn new_credentials_are_tried_at_once() {
        let away = vec![pending(), pending(), pending()];
        let DriverBench { writer, driver, received, renewal, .. } =
            driver_bench(vec![away; 99], false).await;
        writer.push(envelopes(0..3)).await;
        let running = tokio::spawn(driver.run());
        // By then the delay is 30 s.
        sleep(Duration::from_secs(100)).await;
        let before = received.lock().unwrap().len();
        renewal.notify_one();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(received.lock().unwrap().len(), before + 1);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_driver_leaves_pending_envelopes_in_the_spool() {
        let DriverBench { counts, writer, driver, .. } =
            driver_bench(vec![vec![pending(); 3]; 99], false).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        let ended = tokio::time::timeout(Duration::from_secs(5), driver.run()).await;
        assert!(ended.is_err());
        assert_eq!(counts.pending.load(Relaxed), 5);
    }
}
