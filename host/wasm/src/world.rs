//! Which contract a component is for, in which version and which role, by what it imports and exports.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::log::clean;

/// What every interface of the contract is called, up to its own name.
const CONTRACT: &str = "nephometer:metering/";
/// Versions of the contract that this host speaks.
const VERSION: &str = "0.1.";

/// Packages of WASI that publishers may import. What is not granted of them is empty or refuses.
const WASI: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Checks world and imports of a transformer.
pub(super) fn check_transformer(component: &Component) -> Result<(), String> {
    let (ty, engine) = (component.component_type(), component.engine());
    let imports: Vec<(&str, bool)> =
        ty.imports(engine).map(|(name, item)| (name, is_types(engine, &item.ty))).collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    // Its kind comes first: a publisher imports what no transformer gets.
    check_kind(&exports, "transform")?;
    check_imports(&imports)?;
    check_exports(&exports, "transform")
}

/// Whether it keeps something between batches.
pub(super) fn is_stateful(component: &Component) -> bool {
    let (ty, engine) = (component.component_type(), component.engine());
    ty.exports(engine).any(|(name, _)| interface(name) == Some("stateful"))
}

/// Whether it wants to speak to the network.
pub(super) fn reaches(component: &Component) -> bool {
    let (ty, engine) = (component.component_type(), component.engine());
    ty.imports(engine)
        .any(|(name, _)| name.starts_with("wasi:http/") || name.starts_with("wasi:sockets/"))
}

/// Checks world and imports of a publisher.
pub(super) fn check_publisher(component: &Component) -> Result<(), String> {
    let (ty, engine) = (component.component_type(), component.engine());
    let imports: Vec<(&str, bool)> = ty
        .imports(engine)
        .filter(|(name, _)| !WASI.iter().any(|package| name.starts_with(package)))
        .map(|(name, item)| (name, is_types(engine, &item.ty)))
        .collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    check_kind(&exports, "publish")?;
    check_exports(&exports, "publish")?;
    check_imports(&imports).map_err(|_| {
        let (name, _) = imports.first().expect("there is one that does not fit");
        let name = clean(name);
        format!("it imports {name}, which no publisher gets")
    })
}

/// Whether an import is an interface without functions: nothing that a component could use.
fn is_types(engine: &wasmtime::Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
        }
        _ => false,
    }
}

fn check_imports(imports: &[(&str, bool)]) -> Result<(), String> {
    for (name, only_types) in imports {
        match (interface(name), version(name)) {
            (Some("log" | "types"), Some(version)) if version.starts_with(VERSION) => {}
            (Some(_), Some(version)) if !version.starts_with(VERSION) => {
                return Err(other_version(name));
            }
            (Some(_), _) if *only_types => {}
            _ => {
                let name = clean(name);
                return Err(format!(
                    "it imports {name}; a transformer gets no clock, no random numbers, no files \
                     and no sockets, only {CONTRACT}log"
                ));
            }
        }
    }
    Ok(())
}

/// Whether it is of the other kind, and so was named in the wrong place.
fn check_kind(exports: &[&str], kind: &str) -> Result<(), String> {
    let has = |wanted: &str| exports.iter().any(|name| interface(name) == Some(wanted));
    match (kind, has("transform"), has("publish")) {
        (_, true, true) => {
            Err("it exports both transform and publish; a component is one of them".to_owned())
        }
        ("publish", true, false) => {
            Err("it is a transformer; name it under `transformers`".to_owned())
        }
        ("transform", false, true) => {
            Err("it is a publisher; name it under `publishers` as NAME://...".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_exports(exports: &[&str], kind: &str) -> Result<(), String> {
    for wanted in ["component", kind] {
        match exports.iter().find(|name| interface(name) == Some(wanted)) {
            Some(name) if version(name).is_some_and(|v| v.starts_with(VERSION)) => {}
            Some(name) => return Err(other_version(name)),
            None => {
                let has = if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    clean(&exports.join(", "))
                };
                return Err(format!(
                    "it is no {}: it exports {has}, but not {CONTRACT}{wanted}@{VERSION}x",
                    if kind == "publish" { "publisher" } else { "transformer" }
                ));
            }
        }
    }
    Ok(())
}

fn other_version(name: &str) -> String {
    let name = clean(name);
    format!("it was built for {name}; this host speaks {CONTRACT}*@{VERSION}x")
}

/// The interface of the contract that a name stands for.
fn interface(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(CONTRACT)?;
    Some(rest.split_once('@').map_or(rest, |(interface, _)| interface))
}

fn version(name: &str) -> Option<&str> {
    name.split_once('@').map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_log_may_be_imported() {
        let log = ("nephometer:metering/log@0.1.0", false);
        assert!(check_imports(&[log, ("nephometer:metering/types@0.1.3", true)]).is_ok());
        let refused = check_imports(&[log, ("wasi:cli/environment@0.2.0", false)]).unwrap_err();
        assert!(refused.contains("wasi:cli/environment@0.2.0"), "{refused}");
        let refused = check_imports(&[("nephometer:metering/log@0.2.0", false)]).unwrap_err();
        assert!(refused.contains("was built for"), "{refused}");
        assert!(check_imports(&[("nephometer:metering/transform@0.1.0", false)]).is_err());
    }

    #[test]
    fn both_exports_are_wanted_in_a_version_that_is_known() {
        let good = ["nephometer:metering/component@0.1.0", "nephometer:metering/transform@0.1.9"];
        assert!(check_exports(&good, "transform").is_ok());
        assert!(check_exports(&good[..1], "transform").unwrap_err().contains("transform@0.1.x"));
        let other = [good[0], "nephometer:metering/transform@1.0.0"];
        assert!(check_exports(&other, "transform").unwrap_err().contains("was built for"));
        assert!(check_exports(&[], "transform").unwrap_err().contains("nothing"));
    }
}
