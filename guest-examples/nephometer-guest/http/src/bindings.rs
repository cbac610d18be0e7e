//! Generated bindings of the world `http-publisher`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "http-publisher",
    pub_export_macro: true,
    export_macro_name: "export_http_world",
    with: {
        "nephometer:metering/types@0.2.0": nephometer_guest_transformer::nephometer::metering::types,
        "nephometer:metering/log@0.2.0": nephometer_guest_transformer::nephometer::metering::log,
    },
    generate_all,
});
