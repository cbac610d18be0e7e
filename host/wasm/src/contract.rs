//! The calls that every component has, whatever it is for: `describe` and `configure`.

use serde_json::{Map, Value};
use tokio::time::timeout;
use wasmtime::Store;

use super::bindings::exports::nephometer::metering::component as exported;
use super::error::{ComponentError, OptionFaults};
use super::instance::{Description, Guest, begin, counted, end, failed, over};
use super::options;
use super::settings::{check_description, check_settings};

/// What the component tells about itself.
pub(super) async fn describe<T: AsMut<Guest> + Send>(
    name: &str,
    store: &mut Store<T>,
    component: &exported::Guest,
) -> Result<Description, ComponentError> {
    let count = counted(store);
    let wall = begin(store);
    let work = count.timed(component.call_describe(&mut *store));
    let result = timeout(wall, work).await;
    let given = end(store, name, "describe", result).await.map_err(failed(name, "describe"))?;
    check_description(&given)
        .map_err(|exceeded| failed(name, "describe")(over(store, name, "describe", exceeded)))?;
    Ok(given.into())
}

/// Checks the options, and hands them over if they fit.
pub(super) async fn configure<T: AsMut<Guest> + Send>(
    name: &str,
    store: &mut Store<T>,
    component: &exported::Guest,
    schema: &str,
    given: &Map<String, Value>,
) -> Result<exported::Settings, ComponentError> {
    let wrong = |faults: OptionFaults| {
        let (faults, more) = faults.finish();
        ComponentError::Options { component: name.to_owned(), faults, more }
    };
    match options::check(schema, given) {
        Err(reason) => return Err(failed(name, "describe")(reason)),
        Ok(faults) if !faults.is_empty() => return Err(wrong(faults)),
        Ok(_) => {}
    }
    let text = Value::Object(given.clone()).to_string();
    let count = counted(store);
    let wall = begin(store);
    if count.configured() {
        store.data_mut().as_mut().quiet();
    }
    let work = count.timed(component.call_configure(&mut *store, &text));
    let result = timeout(wall, work).await;
    let answer = end(store, name, "configure", result).await.map_err(failed(name, "configure"))?;
    let settings = answer.map_err(|errors| {
        let mut faults = OptionFaults::default();
        for error in errors {
            faults.add(&error.pointer, || error.reason);
        }
        wrong(faults)
    })?;
    check_settings(&settings)
        .map_err(|exceeded| failed(name, "configure")(over(store, name, "configure", exceeded)))?;
    Ok(settings)
}
