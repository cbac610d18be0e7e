//! The call of a publisher, with what its answer becomes.

use std::time::Duration;

use super::PublisherRole;
use super::bindings::exports::nephometer::metering::publish;
use super::handle::{Delivery, PublishError, Published};
use crate::call::GuestCall;
use crate::convert::Columns;
use crate::guest::begin;
use crate::instance::Configured;
use crate::log::clean;
use nephometer_model::DeliveryResult;

impl Configured<PublisherRole> {
    /// Delivers one envelope.
    pub(super) async fn publish(&mut self, delivery: &Delivery) -> Published {
        let columns = match Columns::new(&delivery.batch, &self.filter) {
            Ok(columns) => columns,
            Err(reason) => return Ok(DeliveryResult::Rejected(reason)),
        };
        // Of what it does not want nothing is left to be delivered.
        if columns.is_empty() {
            return Ok(DeliveryResult::Acknowledged);
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
            Ok(Ok(())) => Ok(DeliveryResult::Acknowledged),
            Ok(Err(publish::Failure::Retryable(retry))) => Ok(DeliveryResult::Pending {
                reason: clean(&retry.reason),
                after: retry.after_ms.map(Duration::from_millis),
            }),
            Ok(Err(publish::Failure::Permanent(reason))) => {
                Ok(DeliveryResult::Rejected(clean(&reason)))
            }
            Ok(Err(publish::Failure::Broken(reason))) => Err(PublishError::Broken(clean(&reason))),
            Err(reason) => Err(PublishError::Failed(reason)),
        }
    }
}
