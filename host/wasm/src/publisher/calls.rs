//! The `publish` call, and the conversion of its result.

use std::time::Duration;

use super::PublisherRole;
use super::handle::{Delivery, PublishError, PublishResult};
use crate::bindings::exports::nephometer::metering::publish;
use crate::call::GuestCall;
use crate::convert::SelfContainedBatch;
use crate::guest::begin_call;
use crate::instance::Configured;
use crate::log::clean;
use nephometer_model::DeliveryResult;

impl Configured<PublisherRole> {
    /// Delivers an envelope.
    pub(super) async fn publish(&mut self, delivery: &Delivery) -> PublishResult {
        let selected = match SelfContainedBatch::new(&delivery.batch, &self.filter) {
            Ok(selected) => selected,
            Err(reason) => return Ok(DeliveryResult::Rejected(reason)),
        };
        // No row of the envelope is for this publisher.
        if selected.is_empty() {
            return Ok(DeliveryResult::Acknowledged);
        }
        let texts: Vec<&str> = match delivery.texts.as_slice() {
            [] => Vec::new(),
            texts => {
                selected.sample_indexes().iter().map(|index| &*texts[*index as usize]).collect()
            }
        };
        let entries = selected.entries(&mut self.converter);
        let argument = publish::Delivery {
            id: &delivery.id,
            attempt: delivery.attempt,
            input: selected.argument(&entries),
            texts: &texts,
        };
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let call = begin_call(store, GuestCall::Publish);
        let result = call.run(functions.call_publish(&mut *store, argument)).await;
        call.counters.count_samples(selected.len(), 0);
        match call.end(store, result).await {
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
