//! Helper library for transformers and publishers in Rust.
//!
//! Write a type, implement [`Transformer`] (and [`Stateful`] if it has state) or [`Publisher`], and
//! export it with one macro. The rest of this crate makes the columns easy to use:
//!
//! * [`rows`] iterates over the rows of a batch;
//! * [`AnswerBuilder`] builds the answer and numbers new meters and resources by their content;
//! * [`EntryCache`] keeps a value for each meter or resource;
//! * [`Volume`] calculates with large integers exactly;
//! * [`OptionReader`] reads the options and collects all errors, each with its place;
//! * [`Complaint`] writes one log line for all rows of a batch with the same problem;
//! * [`UrlOptions`] reads options of publishers, from their URL and their block;
//! * [`metadata_text`] finds a value of the metadata by its path;
//! * [`log`] writes to the log of the component;
//! * [`testing`] builds batches for unit tests.
//!
//! Publishers with network access also use `nephometer-guest-http` or `nephometer-guest-socket` and
//! their macros.
//!
//! Everything except the macros and the network works natively, so components are tested with
//! `cargo test`, without a host.
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
mod dictionary;
#[doc(hidden)]
pub mod export;
pub mod log;
mod metadata;
mod options;
mod own;
mod publish;
mod row;
pub mod testing;
mod url;
mod volume;

pub use answer::AnswerBuilder;
pub use bindings::stateful::exports::nephometer::metering::component::{
    Description, OptionError, Settings, TextForm,
};
pub use bindings::stateful::exports::nephometer::metering::dictionary::{
    Changes, NumberedMeter, NumberedResource,
};
pub use bindings::stateful::exports::nephometer::metering::transform::{Batch as Samples, Refusal};
pub use bindings::stateful::types::{ExactInteger, Meter, MeterType, Resource, Timestamp};
pub use complaint::Complaint;
pub use dictionary::{Dictionary, EntryCache, EntryKey};
pub use metadata::{metadata_text, metadata_value};
pub use options::{OptionReader, escape_pointer};
pub use publish::{Delivery, DeliveryBatch, Failure, Publisher, Retry, later};
pub use row::{Batch, Columns, Row, rows};
pub use rustc_hash::{FxHashMap, FxHashSet};
pub use url::UrlOptions;
pub use volume::Volume;

/// The origin of a row that is not computed from an input row.
pub const NO_ORIGIN: u32 = u32::MAX;

/// Rows computed from rows of the input, with their resources and times. [`AnswerBuilder`] makes
/// it.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Per row: the input row that it is computed from. Equal or ascending.
    pub origin: Vec<u32>,
    /// Per row: the number of a meter.
    pub meter: Vec<u32>,
    /// Per row: the value.
    pub volume: Vec<f64>,
    /// Integers of 2^53 or more, by row.
    pub exact: Vec<ExactInteger>,
}

/// Any rows. [`AnswerBuilder`] makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Per row: the input row that it is, or is computed from, or [`NO_ORIGIN`].
    pub origin: Vec<u32>,
    /// Per row: the number of a meter.
    pub meter: Vec<u32>,
    /// Per row: the number of a resource.
    pub resource: Vec<u32>,
    /// Per row: when the value was true.
    pub time: Vec<Timestamp>,
    /// Per row: the value.
    pub volume: Vec<f64>,
    /// Integers of 2^53 or more, by row.
    pub exact: Vec<ExactInteger>,
}

/// What replaces a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All rows, as they are.
    Unchanged,
    /// These rows, as they are: row numbers, ascending. All others are dropped.
    Keep(Vec<u32>),
    /// These rows, with resources and times of the input.
    Derive(Derived),
    /// These rows.
    Replace(Answer),
}

/// Transforms batches of samples.
pub trait Transformer: Sized {
    /// What the component reports about itself, whatever its options are.
    fn describe() -> Description;

    /// Builds the configured transformer. `options` are the `parameters` of `pipeline.yaml`, which
    /// the host has checked against [`Description::options_schema`].
    ///
    /// # Errors
    /// All errors in the options at once.
    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>>;

    /// Transforms a batch. Batches come one at a time, in order.
    ///
    /// # Errors
    /// `Rejected` if this batch cannot be transformed, `Broken` if none can.
    fn transform(&mut self, input: &Batch<'_>) -> Result<Outcome, Refusal>;
}

/// A transformer with state.
pub trait Stateful: Transformer {
    /// Called after all batches of a polling cycle. `now` is the only clock. The dictionary is for
    /// [`AnswerBuilder::without_input`].
    ///
    /// # Errors
    /// As [`Transformer::transform`].
    fn flush(
        &mut self,
        dictionary: &Dictionary,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        let _ = (dictionary, now);
        Ok(None)
    }

    /// Returns the whole state, in the format of [`Description::state_version`].
    ///
    /// # Errors
    /// The reason why the state cannot be saved.
    fn save(&self) -> Result<Vec<u8>, String>;

    /// Restores the state that an earlier instance saved, before any batch.
    ///
    /// # Errors
    /// The reason why the state cannot be read, such as an unknown version.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String>;
}

/// Default settings: all meters, no metadata, no texts.
pub fn settings() -> Settings {
    Settings { meters: Vec::new(), metadata: Vec::new(), texts: TextForm::None, facts: Vec::new() }
}

/// The name of a meter type, as in samples and in `pipeline.yaml`.
pub fn type_word(meter_type: MeterType) -> &'static str {
    match meter_type {
        MeterType::Gauge => "gauge",
        MeterType::Delta => "delta",
        MeterType::Cumulative => "cumulative",
    }
}

/// The meter type with a name.
pub fn type_from_word(word: &str) -> Option<MeterType> {
    let all = [MeterType::Gauge, MeterType::Delta, MeterType::Cumulative];
    all.into_iter().find(|&one| type_word(one) == word)
}
