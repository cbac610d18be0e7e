//! What a component is for. Everything up to its own functions is the same for all roles: loading,
//! compiling, limits, describing, configuring, the task that it lives in.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use super::bindings::exports::nephometer::metering::component::Settings;
use super::convert::Numbering;
use super::guest::Guest;

/// A role of components. Only this crate has any: [`super::TransformerRole`] and [`super::PublisherRole`].
pub trait Role: Sized + Send + Sync + 'static {
    /// What belongs to the store of one instance.
    type Data: AsMut<Guest> + Send + 'static;
    /// Where the functions are.
    type Exports: Send + Sync + 'static;
    /// The functions of one instance.
    type Functions: Send + 'static;
    /// What its instances may reach.
    type Reach: Clone + Send + Sync + 'static;
    /// What callers have to know of its settings.
    type Wish: Copy + Send + Sync + 'static;
    /// What is kept from one call to the next to convert samples.
    type Converter: Send + 'static;

    /// Whether world and imports fit, or why not.
    fn check(component: &Component) -> Result<(), String>;

    /// Finds the functions.
    fn exports(pre: &InstancePre<Self::Data>) -> wasmtime::Result<Self::Exports>;

    /// Takes the functions of a new instance.
    fn functions(
        exports: &Self::Exports,
        store: &mut Store<Self::Data>,
        instance: &Instance,
    ) -> wasmtime::Result<Self::Functions>;

    /// What the store of a new instance of the component `name` holds.
    fn data(guest: Guest, name: &Arc<str>, reach: &Self::Reach) -> Self::Data;

    /// What callers have to know of what it reports when it is configured.
    fn wish(settings: &Settings) -> Self::Wish;

    /// For `settings.metadata` of a new instance.
    fn converter(metadata: Vec<String>, numbering: Numbering) -> Self::Converter;
}
