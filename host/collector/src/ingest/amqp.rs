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

/// A broker whose queues are consumed.
pub(crate) struct Source {
    pub(crate) spec: CollectedQueues,
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
    /// Consumes until the collector ends; connects again whenever that is needed.
    pub(crate) async fn run(mut self) {
        self.health.set_broker(&self.spec.label, false);
        let mut broker = match Broker::new(&self.spec.broker, NAME) {
            Ok(broker) => broker,
            Err(error) => {
                return events::broker_unavailable(&self.spec.label, &error.to_string());
            }
        };
        let prefetch = self.spec.prefetch;
        let mut attempts = Attempts { pause: PAUSE, reported: false, prefetch };
        while !*self.ending.borrow() {
            let mut ending = self.ending.clone();
            let error = tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                outcome = self.consume(&mut broker, &mut attempts) => outcome.err(),
            };
            self.health.set_broker(&self.spec.label, false);
            if let (Some(error), false) = (error, attempts.reported) {
                events::broker_unavailable(&self.spec.label, &error.to_string());
                attempts.reported = true;
            }
            tokio::select! {
                _ = self.ending.wait_for(|ending| *ending) => return,
                () = tokio::time::sleep(attempts.pause) => {}
            }
            attempts.pause = (2 * attempts.pause).min(LONGEST);
        }
    }

    /// Connects and consumes until something fails.
    async fn consume(&self, broker: &mut Broker, attempts: &mut Attempts) -> Result<(), AmqpError> {
        let (consumption, consumers) = broker.consume(&self.spec.queues, attempts.prefetch).await?;
        attempts.reported = false;
        self.health.set_broker(&self.spec.label, true);
        events::broker_connected(&self.spec.label);
        let progress = AtomicBool::new(false);
        let outcome = self.deliver_all(&consumption, consumers, &progress).await;
        // A broker that accepts connections and then delivers nothing is left alone for longer and
        // longer.
        if progress.load(Relaxed) {
            attempts.pause = PAUSE;
        }
        if consumption.is_too_large() && attempts.prefetch > 1 {
            attempts.prefetch /= 2;
            events::prefetch_reduced(&self.spec.label, attempts.prefetch);
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
