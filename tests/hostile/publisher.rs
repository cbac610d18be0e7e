//! Publishers built from text: a core module with one function to fill in, which wit-component
//! turns into a component for the contract in `wit/`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::harness::root;

const CORE: &str = include_str!("publisher.wat");

/// All imports that a publisher may have; those that a module does not use are left out.
const WORLD: &str = "
    package test:hostile;
    world publisher {
        include nephometer:metering/http-publisher@0.2.0;
        include nephometer:metering/socket-publisher@0.2.0;
        import wasi:cli/stdout@0.2.12;
        import wasi:cli/stderr@0.2.12;
    }
";

/// A publisher with these imports, further functions and data, and this body of `publish`.
pub(super) fn publisher(imports: &str, more: &str, body: &str) -> Vec<u8> {
    let text = CORE.split_once("(module").unwrap().1;
    let text = text.replacen("IMPORTS", imports, 1).replacen("MORE", more, 1);
    let text = format!("(module{}", text.replacen("BODY", body, 1));
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).unwrap();
    let package = resolve.push_str("hostile.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("publisher")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).and_then(|encoder| encoder.validate(true).encode()).unwrap()
}
