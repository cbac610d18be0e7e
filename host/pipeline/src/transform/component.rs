//! The transformer that is a WebAssembly component: maps the calls and errors of an instance.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Identity, State, TransformError, Transformed, Transformer};
use nephometer_config::TransformerSpec;
use nephometer_model::{Batch, Moment, Sample};
use nephometer_wasm::{
    CallError, ComponentError, ComponentHost, GuestCall, InstanceHandle, LoadedComponent,
    Numbering, OptionError, TransformerRole,
};

/// An instance of a component as a transformer.
pub struct ComponentTransformer(InstanceHandle<TransformerRole>);

impl ComponentTransformer {
    /// Loads the component that `spec` names and configures an instance. Its metrics are reported
    /// under `place`, such as `SINK/0`.
    ///
    /// # Errors
    /// If the component cannot be loaded, or rejects the options ([`ComponentError::Options`], with
    /// a pointer for `spec.offsets`).
    pub async fn create(
        host: &ComponentHost,
        spec: &TransformerSpec,
        place: &str,
    ) -> Result<Self, ComponentError> {
        let loaded = host.load(&spec.name).await?;
        Self::from_loaded(host, &loaded, &spec.parameters, place).await
    }

    /// Configures an instance of a component that is loaded already.
    ///
    /// # Errors
    /// If the component rejects the options or fails.
    pub async fn from_loaded(
        host: &ComponentHost,
        loaded: &Arc<LoadedComponent<TransformerRole>>,
        options: &Map<String, Value>,
        place: &str,
    ) -> Result<Self, ComponentError> {
        Self::with_numbering(host, loaded, options, place, Numbering::Ascending).await
    }

    /// The same with a chosen order of the dictionary's numbers: for tests whether results depend
    /// on it.
    ///
    /// # Errors
    /// As for [`Self::from_loaded`].
    pub async fn with_numbering(
        host: &ComponentHost,
        loaded: &Arc<LoadedComponent<TransformerRole>>,
        options: &Map<String, Value>,
        place: &str,
        numbering: Numbering,
    ) -> Result<Self, ComponentError> {
        host.transformer(loaded, options, place, numbering).await.map(Self)
    }

    /// Options that the component's schema does not describe: they have no effect.
    pub fn ignored_options(&self) -> &[OptionError] {
        self.0.ignored_options()
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

    fn identity(&self) -> Identity {
        Identity {
            component: self.0.name().into(),
            digest: *self.0.digest().as_bytes(),
            options: Value::Object(self.0.options().clone()).to_string(),
        }
    }

    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, TransformError> {
        self.0.transform(batch).await.map_err(|error| self.error(error))
    }

    async fn flush(&mut self, now: Moment) -> Result<Vec<Sample>, TransformError> {
        self.0.flush(now.wall).await.map_err(|error| self.error(error))
    }

    async fn save(&mut self) -> Result<Option<State>, TransformError> {
        self.0.save().await.map_err(|error| self.error(error))
    }

    async fn rebuild(&mut self, state: Option<&State>) -> Result<(), TransformError> {
        self.0.rebuild(state).await.map_err(|error| {
            let component = self.0.name().to_owned();
            match error {
                ComponentError::Failed { call: GuestCall::Restore, reason, .. } => {
                    TransformError::State { component, reason }
                }
                error => {
                    let reason = nephometer_telemetry::Chain(&error).to_string();
                    TransformError::Failed { component, reason }
                }
            }
        })
    }

    fn discard(&mut self) {
        self.0.discard();
    }

    fn memory_percent(&self) -> u64 {
        self.0.memory_percent()
    }

    fn cpu_nanos(&self) -> u64 {
        self.0.cpu_nanos()
    }
}
