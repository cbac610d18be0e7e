//! One instance of a publisher.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;
use wasmtime::{Store, UpdateDeadline};

use super::bindings::exports::nephometer::metering::publish;
use super::handle::Recipe;
use crate::bindings::exports::nephometer::metering::component;
use crate::contract;
use crate::convert::{Columns, Filter, Texts};
use crate::error::ComponentError;
use crate::instance::{Description, Guest, begin, cause, counted, end, failed};
use crate::log::clean;
use crate::outbound::{Caller, Metered, Processor};
use crate::symbolize::Origin;
use nephometer_model::{Batch, Bound};

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

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// The failure may pass.
    Retryable {
        /// For people.
        reason: String,
        /// When to try again, if the component knows.
        after: Option<Duration>,
    },
    /// This envelope can never be delivered.
    Permanent(String),
    /// No envelope can be delivered until someone acts. The instance is well.
    Broken(String),
    /// The instance is gone, with what happened: a trap, a limit, or that none can be made.
    Failed(String),
}

/// An instance with its functions, not configured yet.
pub(super) struct Bare {
    name: Arc<str>,
    store: Store<Caller>,
    processor: Arc<Processor>,
    component: component::Guest,
    publish: publish::Guest,
}

/// A configured instance.
pub(super) struct Instance {
    bare: Bare,
    filter: Filter,
    texts: Texts,
    pub(super) form: TextForm,
}

impl Bare {
    pub(super) async fn new(recipe: &Recipe) -> Result<Self, ComponentError> {
        let Recipe { loaded, limits, access, count, services, .. } = recipe;
        let name = Arc::clone(&loaded.name);
        let origin = Origin { path: loaded.path.clone(), digest: loaded.digest };
        let guest = Guest::new(*limits, &name, count, services, origin);
        let caller = Caller::new(guest, &name, access);
        let mut store = Store::new(loaded.pre.engine(), caller);
        store.limiter(|caller| &mut caller.guest.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.returned).unwrap_or(usize::MAX));
        store.set_max_component_handles(Bound::Handles.size());
        let processor = Arc::new(Processor::default());
        let (used, most) = (Arc::clone(&processor), limits.cpu.as_nanos());
        store.epoch_deadline_callback(move |mut store| {
            if u128::from(used.used()) <= most {
                return Ok(UpdateDeadline::Yield(1));
            }
            store.data_mut().guest.limiter.out_of_cpu();
            Ok(UpdateDeadline::Interrupt)
        });
        processor.begin_call();
        let wall = begin(&mut store);
        let making = Metered::new(loaded.pre.instantiate_async(&mut store), &processor);
        let instance = timeout(wall, count.timed(making)).await;
        let instance = end(&mut store, &name, "instantiate", instance)
            .await
            .map_err(failed(&name, "instantiate"))?;
        count.made();
        let unfit = |error: wasmtime::Error| failed(&name, "instantiate")(cause(&error));
        let component = loaded.component.load(&mut store, &instance).map_err(unfit)?;
        let publish = loaded.publish.load(&mut store, &instance).map_err(unfit)?;
        Ok(Self { name, store, processor, component, publish })
    }

    pub(super) async fn describe(&mut self) -> Result<Description, ComponentError> {
        let Self { name, store, processor, component, .. } = self;
        processor.begin_call();
        Metered::new(contract::describe(name, store, component), processor).await
    }

    pub(super) async fn configure(
        mut self,
        schema: &str,
        options: &Map<String, Value>,
    ) -> Result<Instance, ComponentError> {
        let Self { name, store, processor, component, .. } = &mut self;
        processor.begin_call();
        let call = contract::configure(name, store, component, schema, options);
        let settings = Metered::new(call, processor).await?;
        let filter = Filter::new(&settings.meters).map_err(|error| {
            failed(&self.name, "configure")(format!("settings.meters: {error}"))
        })?;
        let form = match settings.texts {
            component::TextForm::None => TextForm::None,
            component::TextForm::Samples => TextForm::Samples,
            component::TextForm::Messages => TextForm::Messages,
        };
        Ok(Instance { bare: self, filter, texts: Texts::new(settings.metadata), form })
    }
}

impl Instance {
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
        let Bare { name, store, processor, publish, .. } = &mut self.bare;
        processor.begin_call();
        let count = counted(store);
        let wall = begin(store);
        let call = Metered::new(publish.call_publish(&mut *store, argument), processor);
        let result = timeout(wall, count.timed(call)).await;
        count.rows(columns.len(), 0);
        match end(store, name, "publish", result).await {
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
