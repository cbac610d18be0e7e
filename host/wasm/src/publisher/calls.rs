//! The call of a publisher, with what its answer becomes.

use std::time::Duration;

use super::PublisherRole;
use super::handle::{Delivery, PublishError, Published};
use crate::bindings::exports::nephometer::metering::publish;
use crate::call::GuestCall;
use crate::convert::StandaloneBatch;
use crate::guest::begin;
use crate::instance::Configured;
use crate::log::clean;
use nephometer_model::DeliveryResult;

impl Configured<PublisherRole> {
    /// Delivers one envelope.
    pub(super) async fn publish(&mut self, delivery: &Delivery) -> Published {
        let picked = match StandaloneBatch::new(&delivery.batch, &self.filter) {
            Ok(picked) => picked,
            Err(reason) => return Ok(DeliveryResult::Rejected(reason)),
        };
        // Of what it does not want nothing is left to be delivered.
        if picked.is_empty() {
            return Ok(DeliveryResult::Acknowledged);
        }
        let texts: Vec<&str> = match delivery.texts.as_slice() {
            [] => Vec::new(),
            texts => picked.picked().iter().map(|row| &*texts[*row as usize]).collect(),
        };
        let parts = picked.parts(&mut self.converter);
        let argument = publish::Delivery {
            id: &delivery.id,
            attempt: delivery.attempt,
            input: picked.argument(&parts),
            texts: &texts,
        };
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let started = begin(store, GuestCall::Publish);
        let result = started.run(functions.call_publish(&mut *store, argument)).await;
        started.count.rows(picked.len(), 0);
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
