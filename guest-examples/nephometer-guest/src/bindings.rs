//! Generated bindings, one module per world.
//!
//! They are generated here, so components need no build step of their own. The interfaces `types`
//! and `log` are shared. Exported types exist once per world; [`crate::export_transformer!`] and
//! [`crate::export_stateful_transformer!`] convert between them.

#![allow(missing_docs, unreachable_pub, clippy::all)]

pub use nephometer_guest_publisher as publisher;
pub use nephometer_guest_transformer as stateless;

/// World `stateful-transformer`.
pub mod stateful {
    pub use super::stateless::nephometer::metering::{log, types};

    wit_bindgen::generate!({
        path: "../../wit",
        world: "stateful-transformer",
        pub_export_macro: true,
        export_macro_name: "export_stateful",
        additional_derives: [PartialEq],
        with: {
            "nephometer:metering/types@0.2.0": nephometer_guest_transformer::nephometer::metering::types,
            "nephometer:metering/log@0.2.0": nephometer_guest_transformer::nephometer::metering::log,
        },
        generate_all,
    });
}
