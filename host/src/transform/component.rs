use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{TransformError, Transformer};
use crate::component::{CallError, ComponentError, ComponentHost, InstanceHandle, LoadedComponent};
use crate::config::TransformerSpec;
use crate::model::{Batch, Moment, Sample};

/// A component at its place in a sink.
pub struct ComponentTransformer(InstanceHandle);

impl ComponentTransformer {
    /// Loads the component that the specification names and configures an instance of it. Options
    /// that do not fit are [`ComponentError::Options`], with a pointer for `spec.positions`.
    pub async fn create(
        host: &ComponentHost,
        spec: &TransformerSpec,
    ) -> Result<Self, ComponentError> {
        let loaded = host.load(&spec.name).await?;
        Self::of(host, &loaded, &spec.parameters).await
    }

    /// Configures an instance of a component that is loaded already.
    pub async fn of(
        host: &ComponentHost,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
    ) -> Result<Self, ComponentError> {
        host.instance(loaded, options, "").await.map(Self)
    }

    fn error(&self, error: CallError) -> TransformError {
        let component = self.0.name().to_owned();
        match error {
            CallError::Rejected(reason) => TransformError::Rejected { component, reason },
            CallError::Failed(reason) => TransformError::Failed { component, reason },
        }
    }
}

#[async_trait]
impl Transformer for ComponentTransformer {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Vec<Sample>, TransformError> {
        self.0.transform(batch).await.map_err(|error| self.error(error))
    }

    async fn flush(&mut self, now: Moment) -> Result<Vec<Sample>, TransformError> {
        self.0.flush(now.wall).await.map_err(|error| self.error(error))
    }

    async fn save(&mut self) -> Result<Option<Vec<u8>>, TransformError> {
        self.0.save().await.map_err(|error| self.error(error))
    }

    async fn rebuild(&mut self, state: Option<&[u8]>) -> Result<(), TransformError> {
        self.0.rebuild(state).await.map_err(|error| {
            let component = self.0.name().to_owned();
            let reason = crate::telemetry::Chain(&error).to_string();
            TransformError::Failed { component, reason }
        })
    }
}
