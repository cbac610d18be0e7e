//! Generated bindings of the world `transformer`, used through `nephometer-guest`, which holds
//! those of `stateful-transformer`. There is one crate per world, because the generated macros of
//! two worlds would clash.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "transformer",
    pub_export_macro: true,
    export_macro_name: "export_stateless",
    additional_derives: [PartialEq],
    generate_all,
});
