use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::backoff::Backoff;
use super::{Envelope, Publisher};
use nephometer_model::DeliveryResult;
use nephometer_store::SpoolReader;
use nephometer_telemetry::{Dropped, events::publish as events};

/// The longest wait between tries once nothing more will come: a drain is short.
const DRAIN_WAIT: Duration = Duration::from_millis(500);

/// Brings what is in a spool to its publisher, in order, until the spool is closed and empty.
///
/// It may be dropped at any time: what has no verdict then is still held in the spool.
pub struct Driver {
    label: Arc<str>,
    publisher: Box<dyn Publisher>,
    spool: SpoolReader,
    backoff: Backoff,
    /// `policy=drop`: what cannot be delivered at once is dropped with all behind it.
    drop_on_failure: bool,
    /// Tries in a row that confirmed nothing and left something.
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

    /// Works until the spool is closed and empty.
    pub async fn run(mut self) {
        while self.spool.ready().await {
            let envelopes = match self.spool.lease(self.publisher.window()).await {
                Ok(envelopes) => envelopes,
                Err(reason) => {
                    self.pause(&[], &format!("its spool cannot be read: {reason}"), None).await;
                    continue;
                }
            };
            let mut results = self.publisher.publish(&envelopes).await;
            // What is not reported is not acknowledged.
            let unreported = || DeliveryResult::pending("the publisher did not report a result");
            results.resize_with(envelopes.len(), unreported);
            if let Some((reason, after)) = self.settle(&envelopes, results).await {
                self.pause(&envelopes, &reason, after).await;
            }
        }
    }

    /// Settles what has been decided. Gives the first reason why something has not, and how long the
    /// receiver wants to be left alone.
    async fn settle(
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

    /// After a failure: `policy=drop` lets go of everything, all others wait.
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
        let own = self.backoff.delay(self.failures, spread(envelopes, self.failures));
        let delay = after.unwrap_or(own);
        if self.spool.is_closed() {
            sleep(delay.min(DRAIN_WAIT)).await;
        } else {
            tokio::select! {
                () = sleep(delay) => {}
                () = self.spool.closed() => {}
            }
        }
    }
}

/// Any number that differs between hosts and tries: ids of envelopes are made from a hash with
/// the host's generation in it.
fn spread(envelopes: &[Envelope], failures: u32) -> u16 {
    let id = envelopes.first().map_or([0; 16], |envelope| envelope.id.into_bytes());
    let place = usize::try_from(failures).unwrap_or(0) % id.len();
    u16::from_be_bytes([id[place], id[(place + 1) % id.len()]])
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering::Relaxed;

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use nephometer_store::{SpoolBounds, SpoolWriter, Spools, WhenFull};
    use nephometer_telemetry::PublisherCount;

    /// Says what it was told to, one answer a call, then confirms; notes what came.
    struct Scripted {
        answers: VecDeque<Vec<DeliveryResult>>,
        seen: Arc<Mutex<Vec<Vec<u128>>>>,
    }

    #[async_trait]
    impl Publisher for Scripted {
        async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
            let ids = envelopes.iter().map(|envelope| envelope.id.as_u128()).collect();
            self.seen.lock().unwrap().push(ids);
            self.answers
                .pop_front()
                .unwrap_or_else(|| vec![DeliveryResult::Acknowledged; envelopes.len()])
        }

        fn window(&self) -> usize {
            3
        }
    }

    struct Bench {
        counts: Arc<PublisherCount>,
        writer: SpoolWriter,
        driver: Driver,
        seen: Arc<Mutex<Vec<Vec<u128>>>>,
    }

    async fn bench(answers: Vec<Vec<DeliveryResult>>, drop_on_failure: bool) -> Bench {
        let counts = Arc::new(PublisherCount::default());
        let bounds = SpoolBounds { bytes: 1 << 20, count: None, age: None, evict_last: Vec::new() };
        let spools = Spools::in_memory();
        let (writer, reader) =
            spools.open("test", bounds, WhenFull::DropOldest, &counts).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let publisher = Scripted { answers: answers.into(), seen: Arc::clone(&seen) };
        let driver =
            Driver::new(&Arc::from("test://"), Box::new(publisher), reader, drop_on_failure);
        Bench { counts, writer, driver, seen }
    }

    fn envelopes(ids: std::ops::Range<u128>) -> Vec<Envelope> {
        let make = |id| Envelope { id: Uuid::from_u128(id), samples: 1, ..Envelope::default() };
        ids.map(make).collect()
    }

    fn later() -> DeliveryResult {
        DeliveryResult::pending("away".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_settled_is_sent_again_in_order() {
        use DeliveryResult::{Acknowledged, Rejected};
        let answers = vec![
            vec![Acknowledged, later(), later()],
            vec![later(), later(), later()],
            vec![Rejected("bad".to_owned()), Acknowledged],
        ];
        let Bench { counts, writer, driver, seen } = bench(answers, false).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        driver.run().await;
        assert_eq!(
            *seen.lock().unwrap(),
            [vec![0, 1, 2], vec![1, 2, 3], vec![1, 2, 3], vec![3, 4]]
        );
        assert_eq!(counts.confirmed.load(Relaxed), 4);
        assert_eq!(counts.dropped.to_string(), "1 dropped (permanent 1)");
        assert_eq!(counts.pending.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn policy_drop_lets_go_of_everything_behind() {
        let answers = vec![vec![DeliveryResult::Acknowledged, later(), later()]];
        let Bench { counts, writer, driver, .. } = bench(answers, true).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        driver.run().await;
        assert_eq!(counts.dropped.to_string(), "4 dropped (policy 4)");
        assert_eq!(counts.confirmed.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_the_spool_ends_a_long_wait() {
        let away = vec![later(), later(), later()];
        let Bench { counts, writer, driver, .. } = bench(vec![away; 9], false).await;
        writer.push(envelopes(0..3)).await;
        let running = tokio::spawn(driver.run());
        // By then it waits for half a minute.
        sleep(Duration::from_secs(100)).await;
        let start = tokio::time::Instant::now();
        drop(writer);
        running.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(counts.confirmed.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_driver_leaves_what_it_had_not_settled() {
        let Bench { counts, writer, driver, .. } = bench(vec![vec![later(); 3]; 99], false).await;
        writer.push(envelopes(0..5)).await;
        drop(writer);
        let ended = tokio::time::timeout(Duration::from_secs(5), driver.run()).await;
        assert!(ended.is_err());
        assert_eq!(counts.pending.load(Relaxed), 5);
    }
}
