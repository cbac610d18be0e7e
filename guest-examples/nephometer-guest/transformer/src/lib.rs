//! What the world `transformer` becomes in Rust. Used through `nephometer-guest`, which has the
//! world `stateful-transformer`: one crate per world, as the generated macros of two would clash.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "transformer",
    pub_export_macro: true,
    export_macro_name: "export_stateless",
    additional_derives: [PartialEq],
    generate_all,
});
