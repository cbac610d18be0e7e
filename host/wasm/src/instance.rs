//! One instance of a component: a store of its own, used by one call at a time.
//!
//! Whatever goes wrong in a call, the instance is not used again: a trap leaves it unusable, and
//! a guest that answers nonsense cannot be trusted with its own state either.

use std::sync::Arc;

use serde_json::{Map, Value};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::exports::nephometer::metering::component as exported;
use super::call::GuestCall;
use super::cause::cause;
use super::convert::{Filter, Numbering};
use super::description::Description;
use super::error::{ComponentError, OptionFaults};
use super::guest::{Guest, Services, begin};
use super::module_cache::Loaded;
use super::options;
use super::role::Role;
use super::settings::{check_description, check_settings};
use super::stats::ComponentCount;
use super::symbolize::Origin;
use nephometer_config::LimitsSpec;
use nephometer_model::Bound;

/// What a new instance is made of.
pub(crate) struct InstanceSpec<R: Role> {
    pub(crate) loaded: Arc<Loaded<R>>,
    pub(crate) limits: LimitsSpec,
    pub(crate) options: Arc<Map<String, Value>>,
    pub(crate) reach: R::Reach,
    pub(crate) count: Arc<ComponentCount>,
    pub(crate) services: Services,
    pub(crate) numbering: Numbering,
}

// Not derived: that would ask for roles that can be cloned.
impl<R: Role> Clone for InstanceSpec<R> {
    fn clone(&self) -> Self {
        Self {
            loaded: Arc::clone(&self.loaded),
            limits: self.limits,
            options: Arc::clone(&self.options),
            reach: self.reach.clone(),
            count: Arc::clone(&self.count),
            services: self.services.clone(),
            numbering: self.numbering,
        }
    }
}

/// An instance with its functions, not configured yet.
pub(crate) struct Unconfigured<R: Role> {
    pub(crate) name: Arc<str>,
    pub(crate) store: Store<R::Data>,
    component: exported::Guest,
    pub(crate) functions: R::Functions,
}

/// An instance that takes calls.
pub struct Configured<R: Role> {
    pub(crate) unconfigured: Unconfigured<R>,
    pub(crate) filter: Filter,
    pub(crate) converter: R::Converter,
    pub(crate) wish: R::Wish,
    pub(crate) state_version: u32,
}

impl<R: Role> Unconfigured<R> {
    pub(crate) async fn new(spec: &InstanceSpec<R>) -> Result<Self, ComponentError> {
        let InstanceSpec { loaded, limits, count, services, .. } = spec;
        let name = Arc::clone(&loaded.name);
        let origin = Origin { path: loaded.path.clone(), digest: loaded.digest };
        let guest = Guest::new(*limits, &name, count, services, origin);
        let mut store = Store::new(loaded.pre.engine(), R::data(guest, &name, &spec.reach));
        store.limiter(|data| &mut data.as_mut().limiter);
        store.set_hostcall_fuel(usize::try_from(limits.returned).unwrap_or(usize::MAX));
        store.set_max_component_handles(Bound::Handles.size());
        store.epoch_deadline_callback(|mut store| {
            let may_go_on = store.data_mut().as_mut().may_go_on();
            Ok(if may_go_on { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt })
        });
        let started = begin(&mut store, GuestCall::Instantiate);
        let result = started.run(loaded.pre.instantiate_async(&mut store)).await;
        let instance = started.end(&mut store, result).await;
        let instance = instance.map_err(|reason| started.failed(&name, reason))?;
        count.made();
        let unfit = |error: wasmtime::Error| started.failed(&name, cause(&error));
        let component = loaded.component.load(&mut store, &instance).map_err(unfit)?;
        let functions = R::functions(&loaded.exports, &mut store, &instance).map_err(unfit)?;
        Ok(Self { name, store, component, functions })
    }

    /// What the component reports about itself.
    pub(crate) async fn describe(&mut self) -> Result<Description, ComponentError> {
        let Self { name, store, component, .. } = self;
        let started = begin(store, GuestCall::Describe);
        let result = started.run(component.call_describe(&mut *store)).await;
        let given = started.end(store, result).await;
        let given = given.map_err(|reason| started.failed(name, reason))?;
        check_description(&given)
            .map_err(|exceeded| started.failed(name, started.over(store, exceeded)))?;
        Ok(given.into())
    }

    /// Checks the options of `spec`, and hands them over if they fit.
    pub(crate) async fn configure(
        mut self,
        description: &Description,
        spec: &InstanceSpec<R>,
    ) -> Result<Configured<R>, ComponentError> {
        let given = &*spec.options;
        let component = || self.name.to_string();
        match options::check(&description.options_schema, given) {
            Err(reason) => {
                let (component, call) = (component(), GuestCall::Describe);
                return Err(ComponentError::Failed { component, call, reason });
            }
            Ok(faults) if !faults.is_empty() => return Err(faults.refuse(component())),
            Ok(_) => {}
        }
        let settings = self.call_configure(&Value::Object(given.clone()).to_string()).await?;
        let filter = Filter::new(&settings.meters).map_err(|error| ComponentError::Failed {
            component: self.name.to_string(),
            call: GuestCall::Configure,
            reason: format!("settings.meters: {error}"),
        })?;
        let (wish, state_version) = (R::wish(&settings), description.state_version);
        let converter = R::converter(settings.metadata, spec.numbering);
        Ok(Configured { unconfigured: self, filter, converter, wish, state_version })
    }

    async fn call_configure(&mut self, text: &str) -> Result<exported::Settings, ComponentError> {
        let Self { name, store, component, .. } = self;
        let started = begin(store, GuestCall::Configure);
        if started.count.configured() {
            store.data_mut().as_mut().quiet();
        }
        let result = started.run(component.call_configure(&mut *store, text)).await;
        let answer = started.end(store, result).await;
        let answer = answer.map_err(|reason| started.failed(name, reason))?;
        let settings = answer.map_err(|errors| {
            let mut faults = OptionFaults::default();
            for error in errors {
                faults.add(&error.pointer, || error.reason);
            }
            faults.refuse(name.to_string())
        })?;
        check_settings(&settings)
            .map_err(|exceeded| started.failed(name, started.over(store, exceeded)))?;
        Ok(settings)
    }
}
