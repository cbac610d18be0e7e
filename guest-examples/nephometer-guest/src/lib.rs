//! What authors of transformers and publishers in Rust build on.
//!
//! Write a type, implement [`Transformer`] (and [`Stateful`], if it remembers) or [`Publisher`],
//! and name it in one macro; the rest of this crate is there to make the columns pleasant:
//!
//! * [`rows`] walks the columns of a batch, row by row;
//! * [`AnswerBuilder`] makes the answer and numbers new meters and resources by their content;
//! * [`OptionReader`] reads the options and collects all that is wrong, each with its place;
//! * [`Complaint`] collects rows that are left out into one line of the log;
//! * [`UrlOptions`] does that for publishers, whose settings stand in a URL too;
//! * [`log`] writes to the component's log.
//!
//! Publishers that speak to the network use `nephometer-guest-http` or `nephometer-guest-socket`
//! beside this crate, and the macros there.
//!
//! Everything but the macros and the network works natively too, so components are tested with
//! `cargo test` and need no host.
//!
//! ```ignore
//! struct Doubler;
//! impl nephometer_guest::Transformer for Doubler { /* ... */ }
//! nephometer_guest::export_transformer!(Doubler);
//! ```

mod answer;
#[doc(hidden)]
pub mod bindings;
mod complaint;
#[doc(hidden)]
pub mod export;
pub mod log;
mod options;
mod publish;
mod row;
mod url;

pub use answer::AnswerBuilder;
pub use bindings::stateful::exports::nephometer::metering::component::{
    Description, OptionError, Settings, TextForm,
};
pub use bindings::stateful::exports::nephometer::metering::transform::{Answer, Outcome, Refusal};
pub use bindings::stateful::types::{Batch, Meter, MeterType, Resource, Timestamp};
pub use complaint::Complaint;
pub use options::{OptionReader, escape_pointer};
pub use publish::{Delivery, Failure, Publisher, Retry, later};
pub use row::{Row, rows};
pub use rustc_hash::{FxHashMap, FxHashSet};
pub use url::UrlOptions;

/// The origin of a row that comes from no input row.
pub const NO_ORIGIN: u32 = u32::MAX;

/// Batch in, batch out.
pub trait Transformer: Sized {
    /// What the component tells about itself, whatever its options are.
    fn describe() -> Description;

    /// Makes the configured transformer. `options` are the `parameters` of `pipeline.yaml`,
    /// already checked against [`Description::options_schema`]; what is wrong all the same is
    /// reported at once.
    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>>;

    /// What becomes of a batch. Batches come one at a time, in order.
    fn transform(&mut self, input: &Batch) -> Result<Outcome, Refusal>;
}

/// A transformer that remembers.
pub trait Stateful: Transformer {
    /// Called after all batches of a tick. `now` is the only clock there is.
    fn flush(&mut self, now: Timestamp) -> Result<Option<Answer>, Refusal> {
        let _ = now;
        Ok(None)
    }

    /// The whole state, in the format of [`Description::state_version`].
    fn save(&self) -> Result<Vec<u8>, String>;

    /// Takes up what an earlier instance saved, before any batch.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String>;
}

/// Settings that ask for all meters and nothing else, to start from.
pub fn settings() -> Settings {
    Settings { meters: Vec::new(), metadata: Vec::new(), texts: TextForm::None, facts: Vec::new() }
}

/// The word for a meter's type, in samples and in `pipeline.yaml`.
pub fn type_word(meter_type: MeterType) -> &'static str {
    match meter_type {
        MeterType::Gauge => "gauge",
        MeterType::Delta => "delta",
        MeterType::Cumulative => "cumulative",
    }
}

/// The meter type that a word stands for.
pub fn type_from_word(word: &str) -> Option<MeterType> {
    let all = [MeterType::Gauge, MeterType::Delta, MeterType::Cumulative];
    all.into_iter().find(|&one| type_word(one) == word)
}
