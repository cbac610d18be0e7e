//! The handle of a publisher: delivers envelopes.

use std::sync::Arc;

use super::PublisherRole;
use crate::error::ComponentError;
use crate::handle::{InstanceHandle, Restore};
use crate::instance::Configured;
use crate::state::State;
use nephometer_model::{Batch, DeliveryResult};

/// Which formatted texts a publisher receives in addition to the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// None.
    None,
    /// Ceilometer's `as_dict` as JSON, one per sample.
    Samples,
    /// The signed metering message, one per sample.
    Messages,
}

/// One delivery attempt of an envelope.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The same on every attempt.
    pub id: String,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// The samples.
    pub batch: Arc<Batch>,
    /// One per sample, in the form that the publisher requires; empty for [`TextForm::None`].
    pub texts: Vec<String>,
}

/// Why a delivery attempt has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The component reported that no envelope can be delivered until an operator acts. The
    /// instance is kept.
    Broken(String),
    /// The instance was discarded or could not be built, with the cause: a trap or a limit.
    Failed(String),
}

/// The result of a `publish` call.
pub(crate) type PublishResult = Result<DeliveryResult, PublishError>;

impl Restore for PublisherRole {
    async fn restore(_: &mut Configured<Self>, _: &State) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl InstanceHandle<PublisherRole> {
    /// Builds an instance if there is none, and returns which texts it requires.
    ///
    /// # Errors
    /// If no instance can be built.
    pub async fn ready(&mut self) -> Result<TextForm, ComponentError> {
        loop {
            if let Some(form) = self.requirements() {
                return Ok(form);
            }
            self.rebuild(None).await?;
        }
    }

    /// Delivers one envelope. The call runs to its end even if the future is dropped.
    ///
    /// # Errors
    /// If the component reports that it is broken, or the instance fails. After a failure the next
    /// [`Self::ready`] builds a new instance.
    pub async fn publish(&mut self, delivery: Delivery) -> Result<DeliveryResult, PublishError> {
        let discarded = || Err(PublishError::Failed("instance was discarded".to_owned()));
        let result = self
            .call(move |instance| {
                Box::pin(async move {
                    let result = instance.publish(&delivery).await;
                    let usable = !matches!(result, Err(PublishError::Failed(_)));
                    (result, usable)
                })
            })
            .await
            .unwrap_or_else(discarded);
        if matches!(result, Err(PublishError::Failed(_))) {
            self.discard();
        }
        result
    }
}
