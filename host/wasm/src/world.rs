//! Which contract a component is for, in which version and which role, by what it imports and exports.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::log::clean;

/// What every interface of the contract is called, up to its own name.
const CONTRACT: &str = "nephometer:metering/";
/// Versions of the contract that this host speaks.
const VERSION: &str = "0.2.";

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
    // Then the version, before anything that differs between versions.
    check_version(&exports)?;
    check_imports(&imports, "transform")?;
    check_exports(&exports, &["component", "dictionary", "transform"])
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
    check_version(&exports)?;
    check_exports(&exports, &["component", "publish"])?;
    check_imports(&imports, "publish")
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

fn check_imports(imports: &[(&str, bool)], kind: &str) -> Result<(), String> {
    for (name, only_types) in imports {
        match (interface(name), version(name)) {
            (Some("log" | "types"), Some(version)) if speaks(version) => {}
            (Some(_), Some(version)) if !speaks(version) => return Err(other_version(version)),
            (Some(_), _) if *only_types => {}
            _ => {
                let name = clean(name);
                return Err(match kind {
                    "publish" => format!("it imports {name}, which no publisher gets"),
                    _ => format!(
                        "it imports {name}; a transformer gets no clock, no random numbers, no \
                         files and no sockets, only {CONTRACT}log"
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Whether it was built for a version of the contract that this host speaks.
fn check_version(exports: &[&str]) -> Result<(), String> {
    let built = exports.iter().filter_map(|name| Some((interface(name)?, version(name)?)));
    match built.map(|(_, version)| version).find(|version| !speaks(version)) {
        Some(version) => Err(other_version(version)),
        None => Ok(()),
    }
}

/// Whether this host speaks a version of the contract.
fn speaks(version: &str) -> bool {
    version.starts_with(VERSION)
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

/// Whether it has all of these interfaces; the last one is its kind.
fn check_exports(exports: &[&str], wanted: &[&str]) -> Result<(), String> {
    for one in wanted {
        match exports.iter().find(|name| interface(name) == Some(one)) {
            Some(name) => match version(name) {
                Some(version) if speaks(version) => {}
                version => return Err(other_version(version.unwrap_or("no version"))),
            },
            None => {
                let has = if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    clean(&exports.join(", "))
                };
                let kind = if wanted.contains(&"publish") { "publisher" } else { "transformer" };
                return Err(format!(
                    "it is no {kind}: it exports {has}, but not {CONTRACT}{one}@{VERSION}x"
                ));
            }
        }
    }
    Ok(())
}

fn other_version(version: &str) -> String {
    let version = clean(version);
    format!(
        "it was built for version {version} of the contract, this agent speaks {VERSION}x; build it again \
         with the wit/ of this agent, or run an agent that speaks {version}"
    )
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
        let log = ("nephometer:metering/log@0.2.0", false);
        assert!(
            check_imports(&[log, ("nephometer:metering/types@0.2.3", true)], "transform").is_ok()
        );
        let refused =
            check_imports(&[log, ("wasi:cli/environment@0.2.0", false)], "transform").unwrap_err();
        assert!(refused.contains("wasi:cli/environment@0.2.0"), "{refused}");
        let refused =
            check_imports(&[("nephometer:metering/log@0.3.0", false)], "transform").unwrap_err();
        assert!(refused.contains("was built for"), "{refused}");
        assert!(
            check_imports(&[("nephometer:metering/transform@0.2.0", false)], "transform").is_err()
        );
    }

    #[test]
    fn both_exports_are_wanted_in_a_version_that_is_known() {
        let wanted = ["component", "transform"];
        let good = ["nephometer:metering/component@0.2.0", "nephometer:metering/transform@0.2.9"];
        assert!(check_exports(&good, &wanted).is_ok());
        assert!(check_exports(&good[..1], &wanted).unwrap_err().contains("transform@0.2.x"));
        let other = [good[0], "nephometer:metering/transform@1.0.0"];
        assert!(check_exports(&other, &wanted).unwrap_err().contains("was built for"));
        assert!(check_exports(&[], &wanted).unwrap_err().contains("nothing"));
    }

    // The first import was blamed, whichever it was: "it imports log@0.1.0, which no publisher gets".
    #[test]
    fn another_version_is_named_with_ours_and_the_right_import_is_blamed() {
        let older = ["nephometer:metering/component@0.1.0", "nephometer:metering/publish@0.1.0"];
        let refused = check_version(&older).unwrap_err();
        assert!(refused.contains("built for version 0.1.0"), "{refused}");
        assert!(
            refused.contains("speaks 0.2.x") && refused.contains("build it again"),
            "{refused}"
        );
        let imports =
            [("nephometer:metering/log@0.2.0", false), ("nephometer:metering/types@0.1.0", true)];
        let refused = check_imports(&imports, "publish").unwrap_err();
        assert!(refused.contains("version 0.1.0"), "{refused}");
        let imports = [imports[0], ("other:thing/x@1.0.0", false)];
        let refused = check_imports(&imports, "publish").unwrap_err();
        assert!(refused.contains("other:thing/x@1.0.0"), "{refused}");
    }
}
