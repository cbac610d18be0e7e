//! Components that publish: an instance that takes one envelope at a time.

mod calls;
mod handle;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use super::bindings::exports::nephometer::metering::component::{self, Settings};
use super::bindings::exports::nephometer::metering::publish;
use super::convert::{Numbering, Texts};
use super::guest::Guest;
use super::module_cache::Loaded;
use super::outbound::{Access, Caller};
use super::role::Role;
use super::world;

pub(crate) use super::outbound::linker;
pub use handle::{Delivery, PublishError, TextForm};

/// The role of components that stand under `publishers`.
#[derive(Debug)]
pub enum PublisherRole {}

impl Role for PublisherRole {
    type Data = Caller;
    type Exports = publish::GuestIndices;
    type Functions = publish::Guest;
    type Reach = Arc<Access>;
    type Wish = TextForm;
    type Converter = Texts;

    fn check(component: &Component) -> Result<(), String> {
        world::check_publisher(component)
    }

    fn exports(pre: &InstancePre<Caller>) -> wasmtime::Result<publish::GuestIndices> {
        publish::GuestIndices::new(pre)
    }

    fn functions(
        exports: &publish::GuestIndices,
        store: &mut Store<Caller>,
        instance: &Instance,
    ) -> wasmtime::Result<publish::Guest> {
        exports.load(store, instance)
    }

    fn data(guest: Guest, name: &Arc<str>, reach: &Arc<Access>) -> Caller {
        Caller::new(guest, name, reach)
    }

    fn wish(settings: &Settings) -> TextForm {
        match settings.texts {
            component::TextForm::None => TextForm::None,
            component::TextForm::Samples => TextForm::Samples,
            component::TextForm::Messages => TextForm::Messages,
        }
    }

    fn converter(metadata: Vec<String>, _numbering: Numbering) -> Texts {
        Texts::new(metadata)
    }
}

impl Loaded<PublisherRole> {
    /// Whether it wants to speak to the network.
    pub fn reaches(&self) -> bool {
        world::reaches(self.code())
    }
}
