use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::instance::{Bare, Delivery, Instance, Settled, TextForm};
use super::load::LoadedPublisher;
use crate::host::ComponentHost;
use crate::instance::Services;
use crate::outbound::Access;
use crate::stats::ComponentCount;
use crate::{ComponentError, Description};
use nephometer_config::{Grant, LimitsSpec};

/// Calls that wait for an instance: its one caller waits for each answer.
const MAILBOX: usize = 1;

/// One publisher in one sink: an instance in a task of its own, and how to make it anew.
pub struct PublisherInstance {
    host: ComponentHost,
    recipe: Recipe,
    running: Option<Running>,
}

#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) loaded: Arc<LoadedPublisher>,
    pub(super) limits: LimitsSpec,
    options: Arc<Map<String, Value>>,
    pub(super) access: Arc<Access>,
    pub(super) count: Arc<ComponentCount>,
    pub(super) services: Services,
}

struct Running {
    mailbox: mpsc::Sender<(Delivery, oneshot::Sender<Settled>)>,
    form: TextForm,
}

impl PublisherInstance {
    /// The component's name.
    pub fn name(&self) -> &str {
        &self.recipe.loaded.name
    }

    /// Makes an instance if there is none, and says which texts it wants.
    ///
    /// # Errors
    /// If none can be made.
    pub async fn ready(&mut self) -> Result<TextForm, ComponentError> {
        if let Some(running) = &self.running {
            return Ok(running.form);
        }
        let instance = self.host.build_publisher(self.recipe.clone()).await?;
        let form = instance.form;
        let (mailbox, calls) = mpsc::channel(MAILBOX);
        self.host.spawn(serve(instance, calls));
        self.running = Some(Running { mailbox, form });
        Ok(form)
    }

    /// Delivers one envelope. After [`Settled::Failed`] the next [`Self::ready`] makes a new
    /// instance. A call that was not waited for ends all the same.
    pub async fn publish(&mut self, delivery: Delivery) -> Settled {
        let settled = self.call(delivery).await;
        let settled = settled.unwrap_or_else(|| Settled::Failed("its instance is gone".to_owned()));
        if matches!(settled, Settled::Failed(_)) {
            self.running = None;
        }
        settled
    }

    async fn call(&self, delivery: Delivery) -> Option<Settled> {
        let (reply, answer) = oneshot::channel();
        self.running.as_ref()?.mailbox.send((delivery, reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Takes calls until the handle is gone, or until one fails: then the instance ends with it.
async fn serve(
    mut instance: Instance,
    mut calls: mpsc::Receiver<(Delivery, oneshot::Sender<Settled>)>,
) {
    while let Some((delivery, reply)) = calls.recv().await {
        let settled = instance.publish(&delivery).await;
        let failed = matches!(settled, Settled::Failed(_));
        // Nobody waits any more: the caller was cancelled.
        let _ = reply.send(settled);
        if failed {
            return;
        }
    }
}

impl ComponentHost {
    /// A publisher with these options, ready to take envelopes. `url` is what its own URL grants;
    /// what the configuration grants and limits is known here. `place` is what
    /// [`ComponentHost::counts`] lists it under.
    ///
    /// # Errors
    /// If an instance cannot be made, or the options do not fit.
    pub async fn publisher(
        &self,
        loaded: &Arc<LoadedPublisher>,
        url: Vec<Grant>,
        options: Map<String, Value>,
        place: &str,
    ) -> Result<PublisherInstance, ComponentError> {
        let spec = self.component_spec(&loaded.name).await;
        let count = self.all_counts().add(place, &loaded.name, loaded.digest);
        let recipe = Recipe {
            loaded: Arc::clone(loaded),
            limits: spec.limits,
            options: Arc::new(options),
            access: Arc::new(self.access(&loaded.name, url, &spec.connect, &count)),
            count,
            services: self.services(),
        };
        let mut publisher = PublisherInstance { host: self.clone(), recipe, running: None };
        publisher.ready().await?;
        Ok(publisher)
    }

    fn access(
        &self,
        name: &Arc<str>,
        url: Vec<Grant>,
        grants: &[Grant],
        count: &Arc<ComponentCount>,
    ) -> Access {
        Access::new(name, url, grants, self.shelf().outbound(), count)
    }

    async fn build_publisher(&self, recipe: Recipe) -> Result<Instance, ComponentError> {
        self.guest(async move {
            let mut bare = Bare::new(&recipe).await?;
            let description = bare.describe().await?;
            bare.configure(&description.options_schema, &recipe.options).await
        })
        .await
    }

    pub(super) async fn publisher_description(
        &self,
        loaded: &Arc<LoadedPublisher>,
    ) -> Result<Description, ComponentError> {
        let count = Arc::new(ComponentCount::new(loaded.digest));
        let recipe = Recipe {
            loaded: Arc::clone(loaded),
            limits: self.component_spec(&loaded.name).await.limits,
            options: Arc::default(),
            access: Arc::new(self.access(&loaded.name, Vec::new(), &[], &count)),
            count,
            services: self.services(),
        };
        self.guest(async move { Bare::new(&recipe).await?.describe().await }).await
    }
}
