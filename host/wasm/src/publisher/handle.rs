//! What the place of a publisher is asked for.

use std::sync::Arc;

use super::PublisherRole;
use crate::error::ComponentError;
use crate::handle::{InstanceHandle, Restore};
use crate::instance::Configured;
use crate::state::State;
use nephometer_model::{Batch, DeliveryResult};

/// Which ready-made texts a publisher wants beside the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// None.
    None,
    /// Ceilometer's `as_dict` as JSON, one per sample.
    Samples,
    /// The signed metering message, one per sample.
    Messages,
}

/// One envelope on its way to a component.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The same on every attempt.
    pub id: String,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// The samples.
    pub batch: Arc<Batch>,
    /// One per sample, in the form that the publisher wants; empty for [`TextForm::None`].
    pub texts: Vec<String>,
}

/// Why a delivery has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The component says that no envelope can be delivered until someone acts. The instance is well.
    Broken(String),
    /// The instance is gone, with what happened: a trap, a limit, or that none can be made.
    Failed(String),
}

/// What became of a delivery.
pub(crate) type Published = Result<DeliveryResult, PublishError>;

impl Restore for PublisherRole {
    async fn restore(_: &mut Configured<Self>, _: &State) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl InstanceHandle<PublisherRole> {
    /// Makes an instance if there is none, and says which texts it wants.
    ///
    /// # Errors
    /// If none can be made.
    pub async fn ready(&mut self) -> Result<TextForm, ComponentError> {
        loop {
            if let Some(form) = self.wish() {
                return Ok(form);
            }
            self.rebuild(None).await?;
        }
    }

    /// Delivers one envelope. A call that was not waited for ends all the same.
    ///
    /// # Errors
    /// If the component says that it is broken, or the instance fails: then the next [`Self::ready`]
    /// makes a new one.
    pub async fn publish(&mut self, delivery: Delivery) -> Result<DeliveryResult, PublishError> {
        let gone = || Err(PublishError::Failed("its instance is gone".to_owned()));
        let published = self
            .call(move |instance| {
                Box::pin(async move {
                    let published = instance.publish(&delivery).await;
                    let usable = !matches!(published, Err(PublishError::Failed(_)));
                    (published, usable)
                })
            })
            .await
            .unwrap_or_else(gone);
        if matches!(published, Err(PublishError::Failed(_))) {
            self.discard();
        }
        published
    }
}
