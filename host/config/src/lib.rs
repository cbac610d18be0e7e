//! Configuration of the agent. `raw` mirrors the files, `check` reports all problems at once, and
//! `spec` is the checked result. No other crate sees YAML.

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
mod location;
pub mod options;
mod oslo;
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
pub use grant::{ConnectTarget, Grant};
pub use load::{Folders, Inputs, Loaded, Origin, files, load, load_host};
pub use location::{Location, ValueLocations};
pub use nephometer_model::Secret;
pub use nephometer_wire::SignatureForm;
pub use routing::configured_sources;
pub use spec::*;
pub use url::without_user;
pub use value::value_of;
