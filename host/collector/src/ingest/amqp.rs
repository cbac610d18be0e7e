//! Consumes the queues of a broker. A message is acknowledged after its commit, and at most
//! `prefetch` are under way for each queue. When the connection is lost, the broker delivers what was
//! not acknowledged again; the store finds repeated samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nephometer_amqp::{AmqpError, Broker, Consumption, QueueConsumer, Unacknowledged};
use nephometer_config::CollectedQueues;
use nephometer_telemetry::events::collector as events;
use tokio::sync::watch;

use super::stream::place;
use super::{Handover, Health, Receipt};
use crate::message::Arrival;
use crate::sample::Shared;

/// The name of connections at the broker.
const NAME: &str = "nephometer-collector";
/// Pause before the next attempt to connect: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// A broker and its queues, checked. A reload replaces them while they are consumed.
#[derive(Clone)]
pub(crate) struct SourceSettings {
    spec: CollectedQueues,
    broker: Broker,
}

impl SourceSettings {
    /// # Errors
    /// If a URL of the broker is invalid.
    pub(crate) fn new(spec: CollectedQueues) -> Result<Self, AmqpError> {
        let broker = Broker::new(&spec.broker, NAME)?;
        Ok(Self { spec, broker })
    }

    /// What is new about `new`, without secrets.
    pub(crate) fn change_to(&self, new: &Self) -> String {
        let change = self.broker.change_to(&new.broker);
        change.map_or_else(|| "other queues or prefetch".to_owned(), |change| change.to_string())
    }
}

/// A broker whose queues are consumed.
pub(crate) struct Source {
    pub(crate) settings: watch::Receiver<SourceSettings>,
    pub(crate) handover: Handover,
    pub(crate) health: Arc<Health>,
    /// Becomes true when the collector ends.
    pub(crate) ending: watch::Receiver<bool>,
}

/// What is known between two connections.
struct Attempts {
    pause: Duration,
    /// Whether the outage is logged.
    reported: bool,
    prefetch: u16,
}

impl Source {
    /// Consumes until the collector ends. Other settings end the connection; what is not acknowledged
    /// then is delivered again, and found as repeated.
    pub(crate) async fn run(mut self) {
        let mut ending = self.ending.clone();
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let mut settings_changed = self.settings.clone();
            let changed = async {
                if settings_changed.changed().await.is_err() {
                    // Nobody reloads.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                () = changed => self.health.forget_broker(&settings.spec.label),
                () = self.consume_for_ever(&settings) => {}
            }
        }
    }

    /// Connects again whenever that is needed.
    async fn consume_for_ever(&self, SourceSettings { spec, broker }: &SourceSettings) {
        self.health.set_broker(&spec.label, false);
        let (mut broker, prefetch) = (broker.clone(), spec.prefetch);
        let mut attempts = Attempts { pause: PAUSE, reported: false, prefetch };
        loop {
            let outcome = self.consume(spec, &mut broker, &mut attempts).await;
            self.health.set_broker(&spec.label, false);
            if let (Err(error), false) = (outcome, attempts.reported) {
                events::broker_unavailable(&spec.label, &error.to_string());
                attempts.reported = true;
            }
            tokio::time::sleep(attempts.pause).await;
            attempts.pause = (2 * attempts.pause).min(LONGEST);
        }
    }

    /// Connects and consumes until something fails.
    async fn consume(
        &self,
        spec: &CollectedQueues,
        broker: &mut Broker,
        attempts: &mut Attempts,
    ) -> Result<(), AmqpError> {
        let (consumption, consumers) = broker.consume(&spec.queues, attempts.prefetch).await?;
        attempts.reported = false;
        self.health.set_broker(&spec.label, true);
        events::broker_connected(&spec.label);
        let progress = AtomicBool::new(false);
        let outcome = self.deliver_all(&consumption, consumers, &progress).await;
        // A broker that accepts connections and then delivers nothing is left alone for longer and
        // longer.
        if progress.load(Relaxed) {
            attempts.pause = PAUSE;
        }
        if consumption.is_too_large() && attempts.prefetch > 1 {
            attempts.prefetch /= 2;
            events::prefetch_reduced(&spec.label, attempts.prefetch);
        }
        outcome
    }

    /// Consumes all queues. The first one that fails ends all: the connection is made again.
    async fn deliver_all(
        &self,
        consumption: &Consumption,
        consumers: Vec<QueueConsumer>,
        progress: &AtomicBool,
    ) -> Result<(), AmqpError> {
        let mut all: FuturesUnordered<_> =
            consumers.into_iter().map(|consumer| self.deliver(consumer, progress)).collect();
        tokio::select! {
            outcome = all.next() => outcome.unwrap_or(Ok(())),
            refused = consumption.refuse_unreadable() => {
                // The next one may be on its way.
                progress.store(true, Relaxed);
                Err(refused)
            }
        }
    }

    /// Hands messages over and acknowledges those that are committed.
    async fn deliver(
        &self,
        mut consumer: QueueConsumer,
        progress: &AtomicBool,
    ) -> Result<(), AmqpError> {
        let origin: Shared = consumer.queue().into();
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(message) = waiting.next(), if !waiting.is_empty() => {
                    acknowledge(message).await?;
                    progress.store(true, Relaxed);
                }
                delivery = consumer.next() => {
                    let delivery = delivery?;
                    let place = place(&delivery.headers);
                    let origin = Shared::clone(&origin);
                    let arrival = Arrival { origin, body: delivery.body, place };
                    let Some(receipt) = self.handover.hand(arrival).await else { return Ok(()) };
                    waiting.push(committed(receipt, delivery.receipt));
                }
            }
        }
    }
}

/// A message whose samples are committed; `None` if the collector ends before.
async fn committed(receipt: Receipt, message: Unacknowledged) -> Option<Unacknowledged> {
    receipt.await.ok().map(|()| message)
}

async fn acknowledge(message: Option<Unacknowledged>) -> Result<(), AmqpError> {
    match message {
        Some(message) => message.acknowledge().await,
        None => Ok(()),
    }
}
