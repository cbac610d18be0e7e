//! The call of a publisher, with what its answer becomes.

use std::time::Duration;

use super::PublisherRole;
use super::bindings::exports::nephometer::metering::publish;
use super::handle::{Delivery, Settled};
use crate::call::GuestCall;
use crate::convert::Columns;
use crate::guest::begin;
use crate::instance::Configured;
use crate::log::clean;

impl Configured<PublisherRole> {
    /// Delivers one envelope.
    pub(super) async fn publish(&mut self, delivery: &Delivery) -> Settled {
        let columns = match Columns::new(&delivery.batch, &self.filter) {
            Ok(columns) => columns,
            Err(reason) => return Settled::Permanent(reason),
        };
        // Of what it does not want nothing is left to be delivered.
        if columns.is_empty() {
            return Settled::Delivered;
        }
        let texts: Vec<&str> = match delivery.texts.as_slice() {
            [] => Vec::new(),
            texts => columns.picked().iter().map(|row| &*texts[*row as usize]).collect(),
        };
        let parts = columns.parts(&mut self.texts);
        let argument = publish::Delivery {
            id: &delivery.id,
            attempt: delivery.attempt,
            input: columns.argument(&parts),
            texts: &texts,
        };
        let (store, functions) = (&mut self.bare.store, &self.bare.functions);
        let started = begin(store, GuestCall::Publish);
        let result = started.run(functions.call_publish(&mut *store, argument)).await;
        started.count.rows(columns.len(), 0);
        match started.end(store, result).await {
            Ok(Ok(())) => Settled::Delivered,
            Ok(Err(publish::Failure::Retryable(retry))) => Settled::Retryable {
                reason: clean(&retry.reason),
                after: retry.after_ms.map(Duration::from_millis),
            },
            Ok(Err(publish::Failure::Permanent(reason))) => Settled::Permanent(clean(&reason)),
            Ok(Err(publish::Failure::Broken(reason))) => Settled::Broken(clean(&reason)),
            Err(reason) => Settled::Failed(reason),
        }
    }
}
