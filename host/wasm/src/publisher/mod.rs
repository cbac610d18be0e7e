//! Publisher components: an instance delivers one envelope at a time.

mod calls;
mod handle;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use super::bindings::exports::nephometer::metering::component::{self, Settings};
use super::bindings::exports::nephometer::metering::publish;
use super::convert::{MetadataTexts, Numbering};
use super::guest::Guest;
use super::module_cache::LoadedComponent;
use super::outbound::{Access, PublisherData};
use super::role::Role;
use super::world;

pub(crate) use super::outbound::linker;
pub use handle::{Delivery, PublishError, TextForm};

/// The role of components listed under `publishers`.
#[derive(Debug)]
pub enum PublisherRole {}

impl Role for PublisherRole {
    type Data = PublisherData;
    type Exports = publish::GuestIndices;
    type Functions = publish::Guest;
    type NetworkAccess = Arc<Access>;
    type Requirements = TextForm;
    type Converter = MetadataTexts;

    fn check(component: &Component) -> Result<(), String> {
        world::check_publisher(component)
    }

    fn exports(pre: &InstancePre<PublisherData>) -> wasmtime::Result<publish::GuestIndices> {
        publish::GuestIndices::new(pre)
    }

    fn functions(
        exports: &publish::GuestIndices,
        store: &mut Store<PublisherData>,
        instance: &Instance,
    ) -> wasmtime::Result<publish::Guest> {
        exports.load(store, instance)
    }

    fn data(guest: Guest, name: &Arc<str>, access: &Arc<Access>) -> PublisherData {
        PublisherData::new(guest, name, access)
    }

    fn requirements(settings: &Settings) -> TextForm {
        match settings.texts {
            component::TextForm::None => TextForm::None,
            component::TextForm::Samples => TextForm::Samples,
            component::TextForm::Messages => TextForm::Messages,
        }
    }

    fn converter(metadata: Vec<String>, _numbering: Numbering) -> MetadataTexts {
        MetadataTexts::new(metadata)
    }
}

impl LoadedComponent<PublisherRole> {
    /// Whether it imports HTTP or sockets.
    pub fn uses_network(&self) -> bool {
        world::uses_network(self.code())
    }
}
