//! Configuration of the agent. `raw` mirrors the files, `check` reports all problems at once, and
//! `spec` is the checked result. No other crate sees YAML.
//!
//! ```
//! use nephometer_config::{Inputs, Origin, load};
//!
//! let pipeline = "
//! sources: [{name: all, interval: 60, meters: ['*'], sinks: [out]}]
//! sinks: [{name: out, publishers: ['test://']}]
//! ";
//! let text = Origin::Text { name: "pipeline.yaml".into(), text: pipeline.into() };
//! let loaded = load(&Inputs { pipeline: text, ..Inputs::default() })?;
//! assert_eq!(loaded.spec.pipeline.sources[0].interval.as_secs(), 60);
//! # Ok::<(), nephometer_config::ConfigError>(())
//! ```

#[cfg(test)]
mod bounds_tests;
mod broker;
mod caution;
mod ceilometer;
mod check;
mod collector;
mod collector_file;
mod component_credentials;
mod component_spec;
mod discovery;
#[cfg(test)]
mod discovery_tests;
mod error;
mod excerpt;
mod exporter;
mod filter;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod grant;
mod inputs;
pub mod keys;
mod listen;
mod load;
mod location;
mod lock;
mod loopback;
mod nova_options;
pub mod options;
mod oslo;
mod overrides;
mod polling_mode;
mod proxies;
mod rabbit;
mod raw;
mod registry;
mod routing;
mod settings;
mod spec;
#[cfg(test)]
mod tests;
mod url;
mod value;
mod without_effect;

pub use broker::{AmqpSpec, BrokerSpec, Queues, TlsSpec};
pub use check::{KnownMeters, parse_duration, parse_size};
pub use collector::{
    AccessSpec, ApiSpec, ClickHouseSpec, CollectedQueues, CollectorSpec, CommitSpec, KeepSpec,
    NamedSecret, ReceiverSpec, RetentionClass, Transport,
};
pub use collector_file::load_collector;
pub use component_spec::*;
pub use discovery::*;
pub use error::{ConfigError, Problem};
pub use excerpt::{Excerpt, ExcerptFiles};
pub use filter::MeterFilter;
pub use grant::{ConnectTarget, Grant};
pub use inputs::{Folders, Inputs, Origin};
pub use listen::{ListenAddress, ListenSpec, ListenTls, PrometheusForm, PrometheusSpec};
pub use load::{Loaded, files, load, load_host};
pub use location::{Location, ValueLocations};
pub use lock::{LockFile, LockedComponent, lock_file};
pub use nephometer_model::Secret;
pub use nephometer_wire::SignatureForm;
pub use proxies::Proxies;
pub use registry::{
    CodeKeySpec, ComponentOrigin, ComponentReference, ContentDigest, Provision, RegistryIdentity,
    RegistrySpec, SignaturesSpec,
};
pub use routing::configured_sources;
pub use settings::{EffectiveSettings, Setting, SettingOrigin, SettingsFile, settings};
pub use spec::*;
pub use url::{broker_label, without_user};
pub use value::value_of;
