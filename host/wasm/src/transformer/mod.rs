//! Transformer components: batches in, samples out. Some keep state between batches.

mod calls;
mod handle;

use std::sync::Arc;

use wasmtime::component::{Component, HasSelf, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::bindings::Everything;
use super::bindings::exports::nephometer::metering::component::Settings;
use super::bindings::exports::nephometer::metering::{dictionary, stateful, transform};
use super::convert::{Numbering, Session};
use super::guest::Guest;
use super::role::Role;
use super::world;

pub use handle::CallError;

/// The role of components listed under `transformers`.
#[derive(Debug)]
pub enum TransformerRole {}

/// Indices of the functions of a transformer.
pub struct TransformerExports {
    dictionary: dictionary::GuestIndices,
    transform: transform::GuestIndices,
    /// `None` for a component without state.
    stateful: Option<stateful::GuestIndices>,
}

/// The functions of one instance.
pub struct TransformerFunctions {
    dictionary: dictionary::Guest,
    transform: transform::Guest,
    stateful: Option<stateful::Guest>,
}

impl Role for TransformerRole {
    type Data = Guest;
    type Exports = TransformerExports;
    type Functions = TransformerFunctions;
    type NetworkAccess = ();
    type Requirements = ();
    type Converter = Session;

    fn check(component: &Component) -> Result<(), String> {
        world::check_transformer(component)
    }

    fn exports(pre: &InstancePre<Guest>) -> wasmtime::Result<TransformerExports> {
        let stateful = world::is_stateful(pre.component());
        Ok(TransformerExports {
            dictionary: dictionary::GuestIndices::new(pre)?,
            transform: transform::GuestIndices::new(pre)?,
            stateful: stateful.then(|| stateful::GuestIndices::new(pre)).transpose()?,
        })
    }

    fn functions(
        exports: &TransformerExports,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<TransformerFunctions> {
        let dictionary = exports.dictionary.load(&mut *store, instance)?;
        let transform = exports.transform.load(&mut *store, instance)?;
        let stateful = exports.stateful.as_ref();
        let stateful = stateful.map(|indices| indices.load(&mut *store, instance)).transpose()?;
        Ok(TransformerFunctions { dictionary, transform, stateful })
    }

    fn data(guest: Guest, _name: &Arc<str>, (): &()) -> Guest {
        guest
    }

    fn requirements(_settings: &Settings) {}

    fn converter(metadata: Vec<String>, numbering: Numbering) -> Session {
        Session::new(metadata, numbering)
    }
}

/// The linker with the only import of transformers: the log.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    Everything::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}
