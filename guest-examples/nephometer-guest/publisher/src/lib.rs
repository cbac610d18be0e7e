//! Generated bindings of the world `publisher`, used through `nephometer-guest`. There is one crate
//! per world, because the generated macros of two worlds would clash.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "publisher",
    pub_export_macro: true,
    export_macro_name: "export_publisher_world",
    additional_derives: [PartialEq],
    with: {
        "nephometer:metering/types@0.2.0": nephometer_guest_transformer::nephometer::metering::types,
        "nephometer:metering/log@0.2.0": nephometer_guest_transformer::nephometer::metering::log,
    },
    generate_all,
});
