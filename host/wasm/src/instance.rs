//! One instance of a component, with its own store, used by one call at a time.
//!
//! A failed call of any kind ends the instance: a trap leaves it unusable, and the state of a guest
//! that returns an invalid answer cannot be trusted.

use std::sync::Arc;

use serde_json::{Map, Value};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::exports::nephometer::metering::component as exported;
use super::call::GuestCall;
use super::cause::cause;
use super::convert::{Filter, Numbering};
use super::description::Description;
use super::error::{ComponentError, OptionError, OptionErrors};
use super::guest::{Guest, Services, begin_call};
use super::module_cache::LoadedComponent;
use super::options::{check_options, ignored_options};
use super::role::Role;
use super::settings::{check_description, check_settings};
use super::stats::ComponentCounters;
use super::symbolize::ComponentFile;
use nephometer_config::LimitsSpec;
use nephometer_model::Bound;

/// Everything that is needed to start an instance.
pub(crate) struct InstanceSpec<R: Role> {
    pub(crate) loaded: Arc<LoadedComponent<R>>,
    pub(crate) limits: LimitsSpec,
    pub(crate) options: Arc<Map<String, Value>>,
    pub(crate) access: R::NetworkAccess,
    pub(crate) counters: Arc<ComponentCounters>,
    pub(crate) services: Services,
    pub(crate) numbering: Numbering,
}

// Not derived: that would require `R: Clone`.
impl<R: Role> Clone for InstanceSpec<R> {
    fn clone(&self) -> Self {
        Self {
            loaded: Arc::clone(&self.loaded),
            limits: self.limits,
            options: Arc::clone(&self.options),
            access: self.access.clone(),
            counters: Arc::clone(&self.counters),
            services: self.services.clone(),
            numbering: self.numbering,
        }
    }
}

/// An instance before `configure`.
pub(crate) struct Unconfigured<R: Role> {
    pub(crate) name: Arc<str>,
    pub(crate) store: Store<R::Data>,
    component: exported::Guest,
    pub(crate) functions: R::Functions,
}

/// An instance that is ready for calls.
pub struct Configured<R: Role> {
    pub(crate) unconfigured: Unconfigured<R>,
    pub(crate) filter: Filter,
    pub(crate) converter: R::Converter,
    pub(crate) requirements: R::Requirements,
    pub(crate) state_version: u32,
    pub(crate) ignored_options: Vec<OptionError>,
}

impl<R: Role> Unconfigured<R> {
    pub(crate) async fn new(spec: &InstanceSpec<R>) -> Result<Self, ComponentError> {
        let InstanceSpec { loaded, limits, counters, services, .. } = spec;
        let name = Arc::clone(&loaded.name);
        let file = ComponentFile { path: loaded.path.clone(), digest: loaded.digest };
        let guest = Guest::new(*limits, &name, counters, services, file);
        let mut store = Store::new(loaded.pre.engine(), R::data(guest, &name, &spec.access));
        store.limiter(|data| &mut data.as_mut().limiter);
        store.set_hostcall_fuel(usize::try_from(limits.returned).unwrap_or(usize::MAX));
        store.set_max_component_handles(Bound::Handles.size());
        if let Some(recorder) = &services.recorder {
            let failed = |error: wasmtime::Error| ComponentError::Host(format!("{error:#}"));
            recorder.begin(&name, loaded.pre.component()).map_err(failed)?;
        }
        store.epoch_deadline_callback(|mut store| {
            if let Some(recorder) = store.data_mut().as_mut().recorder() {
                recorder.sample(&store);
            }
            let has_cpu_left = store.data_mut().as_mut().has_cpu_left();
            Ok(if has_cpu_left { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt })
        });
        let call = begin_call(&mut store, GuestCall::Instantiate);
        let result = call.run(loaded.pre.instantiate_async(&mut store)).await;
        let instance = call.end(&mut store, result).await;
        let instance = instance.map_err(|reason| call.error(&name, reason))?;
        counters.count_instance();
        let load_error = |error: wasmtime::Error| call.error(&name, cause(&error));
        let component = loaded.component.load(&mut store, &instance).map_err(load_error)?;
        let functions = R::functions(&loaded.exports, &mut store, &instance).map_err(load_error)?;
        Ok(Self { name, store, component, functions })
    }

    /// Reads the component's description.
    pub(crate) async fn describe(&mut self) -> Result<Description, ComponentError> {
        let Self { name, store, component, .. } = self;
        let call = begin_call(store, GuestCall::Describe);
        let result = call.run(component.call_describe(&mut *store)).await;
        let description = call.end(store, result).await;
        let description = description.map_err(|reason| call.error(name, reason))?;
        check_description(&description)
            .map_err(|exceeded| call.error(name, call.exceeded(store, exceeded)))?;
        Ok(description.into())
    }

    /// Checks the options of `spec` against the schema and passes them to the component.
    pub(crate) async fn configure(
        mut self,
        description: &Description,
        spec: &InstanceSpec<R>,
    ) -> Result<Configured<R>, ComponentError> {
        let options = &*spec.options;
        let component = || self.name.to_string();
        match check_options(&description.options_schema, options) {
            Err(reason) => {
                let (component, call) = (component(), GuestCall::Describe);
                return Err(ComponentError::Failed { component, call, reason });
            }
            Ok(errors) if !errors.is_empty() => return Err(errors.into_error(component())),
            Ok(_) => {}
        }
        let settings = self.call_configure(&Value::Object(options.clone()).to_string()).await?;
        let filter = Filter::new(&settings.meters).map_err(|error| ComponentError::Failed {
            component: self.name.to_string(),
            call: GuestCall::Configure,
            reason: format!("settings.meters: {error}"),
        })?;
        let (requirements, state_version) = (R::requirements(&settings), description.state_version);
        let converter = R::converter(settings.metadata, spec.numbering);
        let ignored_options = ignored_options(&description.options_schema, options);
        Ok(Configured {
            unconfigured: self,
            filter,
            converter,
            requirements,
            state_version,
            ignored_options,
        })
    }

    async fn call_configure(&mut self, text: &str) -> Result<exported::Settings, ComponentError> {
        let Self { name, store, component, .. } = self;
        let call = begin_call(store, GuestCall::Configure);
        if call.counters.mark_configured() {
            store.data_mut().as_mut().demote_log();
        }
        let result = call.run(component.call_configure(&mut *store, text)).await;
        let answer = call.end(store, result).await;
        let answer = answer.map_err(|reason| call.error(name, reason))?;
        let settings = answer.map_err(|errors| {
            let mut kept = OptionErrors::default();
            for error in errors {
                kept.add(&error.pointer, || error.reason);
            }
            kept.into_error(name.to_string())
        })?;
        check_settings(&settings)
            .map_err(|exceeded| call.error(name, call.exceeded(store, exceeded)))?;
        Ok(settings)
    }
}
