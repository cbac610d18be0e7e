//! The role of a component: transformer or publisher. Loading, compiling, limits, describing and
//! configuring are the same for all roles; only their own functions differ.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use super::bindings::exports::nephometer::metering::component::Settings;
use super::convert::Numbering;
use super::guest::Guest;

/// A role of components. Implemented in this crate only, by [`super::TransformerRole`] and
/// [`super::PublisherRole`].
pub trait Role: Sized + Send + Sync + 'static {
    /// The store data of one instance.
    type Data: AsMut<Guest> + Send + 'static;
    /// Indices of the exported functions.
    type Exports: Send + Sync + 'static;
    /// The functions of one instance.
    type Functions: Send + 'static;
    /// The network access of its instances.
    type NetworkAccess: Clone + Send + Sync + 'static;
    /// The part of the settings that callers need.
    type Requirements: Copy + Send + Sync + 'static;
    /// Converts samples; keeps state from one call to the next.
    type Converter: Send + 'static;

    /// Checks world and imports. The error is the reason.
    fn check(component: &Component) -> Result<(), String>;

    /// Looks up the exported functions.
    fn exports(pre: &InstancePre<Self::Data>) -> wasmtime::Result<Self::Exports>;

    /// Loads the functions of a new instance.
    fn functions(
        exports: &Self::Exports,
        store: &mut Store<Self::Data>,
        instance: &Instance,
    ) -> wasmtime::Result<Self::Functions>;

    /// Creates the store data of a new instance of the component `name`.
    fn data(guest: Guest, name: &Arc<str>, access: &Self::NetworkAccess) -> Self::Data;

    /// The part of the settings that callers need.
    fn requirements(settings: &Settings) -> Self::Requirements;

    /// Creates the converter for `settings.metadata`.
    fn converter(metadata: Vec<String>, numbering: Numbering) -> Self::Converter;
}
