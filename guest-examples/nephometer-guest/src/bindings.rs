//! What the interface description becomes in Rust, one module per world.
//!
//! It is generated here once, so that guests need no build step of their own. The types of `types`
//! and the functions of `log` are shared; what is exported exists once per world, which
//! [`crate::export_transformer!`] and [`crate::export_stateful_transformer!`] bridge.

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
