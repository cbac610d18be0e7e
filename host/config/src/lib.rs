//! Configuration: `raw` mirrors the files, `check` finds every fault in them at once, `spec` is
//! what is left. Nothing behind this crate sees YAML.

#[cfg(test)]
mod bounds_tests;
mod broker;
mod caution;
mod ceilometer;
mod check;
mod error;
mod filter;
#[cfg(fuzzing)]
pub mod fuzz;
mod grant;
mod load;
pub mod options;
mod oslo;
mod place;
mod raw;
mod routing;
mod spec;
#[cfg(test)]
mod tests;
mod url;
mod value;

pub use broker::{AmqpSpec, BrokerSpec, Queues, TlsSpec};
pub use check::{parse_duration, parse_size};
pub use error::{ConfigError, Problem};
pub use filter::MeterFilter;
pub use grant::{Grant, Reach};
pub use load::{Folders, Inputs, Loaded, Origin, files, load, load_host};
pub use nephometer_model::Secret;
pub use nephometer_wire::SignatureForm;
pub use place::{Place, Positions};
pub use routing::sources_of_the_file;
pub use spec::*;
pub use url::without_user;
pub use value::value_of;
