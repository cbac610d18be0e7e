//! Checks imports and exports of a component: contract, version and role.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::log::clean;

/// Prefix of all interfaces of the contract.
const CONTRACT: &str = "nephometer:metering/";
/// Supported versions of the contract.
const VERSION: &str = "0.2.";

/// WASI packages that publishers may import. Anything not granted is empty or refused.
const WASI: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Checks exports and imports of a transformer. The error is the reason.
pub(super) fn check_transformer(component: &Component) -> Result<(), String> {
    let (ty, engine) = (component.component_type(), component.engine());
    let imports: Vec<(&str, bool)> =
        ty.imports(engine).map(|(name, item)| (name, has_only_types(engine, &item.ty))).collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    // The role first: a publisher has imports that transformers must not have.
    check_kind(&exports, "transform")?;
    // Then the version, because everything else differs between versions.
    check_version(&exports)?;
    check_imports(&imports, "transform")?;
    check_exports(&exports, &["component", "dictionary", "transform"])
}

/// Whether it exports the optional interface `stateful`.
pub(super) fn is_stateful(component: &Component) -> bool {
    let (ty, engine) = (component.component_type(), component.engine());
    ty.exports(engine).any(|(name, _)| interface(name) == Some("stateful"))
}

/// Whether it imports HTTP or sockets.
pub(super) fn uses_network(component: &Component) -> bool {
    let (ty, engine) = (component.component_type(), component.engine());
    ty.imports(engine)
        .any(|(name, _)| name.starts_with("wasi:http/") || name.starts_with("wasi:sockets/"))
}

/// Checks exports and imports of a publisher. The error is the reason.
pub(super) fn check_publisher(component: &Component) -> Result<(), String> {
    let (ty, engine) = (component.component_type(), component.engine());
    let imports: Vec<(&str, bool)> = ty
        .imports(engine)
        .filter(|(name, _)| !WASI.iter().any(|package| name.starts_with(package)))
        .map(|(name, item)| (name, has_only_types(engine, &item.ty)))
        .collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    check_kind(&exports, "publish")?;
    check_version(&exports)?;
    check_exports(&exports, &["component", "publish"])?;
    check_imports(&imports, "publish")
}

/// Whether an import is an interface with types only, which gives a component no ability.
fn has_only_types(engine: &wasmtime::Engine, item: &ComponentItem) -> bool {
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
            (Some("log" | "types"), Some(version)) if is_supported(version) => {}
            (Some(_), Some(version)) if !is_supported(version) => {
                return Err(other_version(version));
            }
            (Some(_), _) if *only_types => {}
            _ => {
                let name = clean(name);
                return Err(match kind {
                    "publish" => format!("imports {name}, which is not available to publishers"),
                    _ => format!(
                        "imports {name}; transformers may import only {CONTRACT}log: no clocks, \
                         random numbers, files or sockets"
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Checks that all exports have a supported version of the contract.
fn check_version(exports: &[&str]) -> Result<(), String> {
    let built = exports.iter().filter_map(|name| Some((interface(name)?, version(name)?)));
    match built.map(|(_, version)| version).find(|version| !is_supported(version)) {
        Some(version) => Err(other_version(version)),
        None => Ok(()),
    }
}

/// Whether this host supports a version of the contract.
fn is_supported(version: &str) -> bool {
    version.starts_with(VERSION)
}

/// Checks that it is not of the other kind, listed in the wrong section.
fn check_kind(exports: &[&str], kind: &str) -> Result<(), String> {
    let has = |required: &str| exports.iter().any(|name| interface(name) == Some(required));
    match (kind, has("transform"), has("publish")) {
        (_, true, true) => {
            Err("exports both transform and publish; a component must export exactly one"
                .to_owned())
        }
        ("publish", true, false) => {
            Err("is a transformer; list it under `transformers`".to_owned())
        }
        ("transform", false, true) => {
            Err("is a publisher; list it under `publishers` as NAME://...".to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks that it exports all of these interfaces. The last one is its kind.
fn check_exports(exports: &[&str], required: &[&str]) -> Result<(), String> {
    for one in required {
        match exports.iter().find(|name| interface(name) == Some(one)) {
            Some(name) => match version(name) {
                Some(version) if is_supported(version) => {}
                version => return Err(other_version(version.unwrap_or("no version"))),
            },
            None => {
                let has = if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    clean(&exports.join(", "))
                };
                let kind = if required.contains(&"publish") { "publisher" } else { "transformer" };
                return Err(format!(
                    "not a {kind}: exports {has}, but not {CONTRACT}{one}@{VERSION}x"
                ));
            }
        }
    }
    Ok(())
}

fn other_version(version: &str) -> String {
    let version = clean(version);
    format!(
        "built for version {version} of the contract, this agent supports {VERSION}x; rebuild it \
         with the wit/ of this agent, or use an agent that supports {version}"
    )
}

/// The interface of the contract in a full name.
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
    fn transformers_may_import_only_the_log() {
        let log = ("nephometer:metering/log@0.2.0", false);
        assert!(
            check_imports(&[log, ("nephometer:metering/types@0.2.3", true)], "transform").is_ok()
        );
        let refused =
            check_imports(&[log, ("wasi:cli/environment@0.2.0", false)], "transform").unwrap_err();
        assert!(refused.contains("wasi:cli/environment@0.2.0"), "{refused}");
        let refused =
            check_imports(&[("nephometer:metering/log@0.3.0", false)], "transform").unwrap_err();
        assert!(refused.contains("built for version"), "{refused}");
        assert!(
            check_imports(&[("nephometer:metering/transform@0.2.0", false)], "transform").is_err()
        );
    }

    #[test]
    fn all_exports_are_required_in_a_supported_version() {
        let required = ["component", "transform"];
        let good = ["nephometer:metering/component@0.2.0", "nephometer:metering/transform@0.2.9"];
        assert!(check_exports(&good, &required).is_ok());
        assert!(check_exports(&good[..1], &required).unwrap_err().contains("transform@0.2.x"));
        let other = [good[0], "nephometer:metering/transform@1.0.0"];
        assert!(check_exports(&other, &required).unwrap_err().contains("built for version"));
        assert!(check_exports(&[], &required).unwrap_err().contains("nothing"));
    }

    // Regression: the first import was reported, even if it was not the wrong one.
    #[test]
    fn error_names_both_versions_and_the_wrong_import() {
        let older = ["nephometer:metering/component@0.1.0", "nephometer:metering/publish@0.1.0"];
        let refused = check_version(&older).unwrap_err();
        assert!(refused.contains("built for version 0.1.0"), "{refused}");
        assert!(refused.contains("supports 0.2.x") && refused.contains("rebuild it"), "{refused}");
        let imports =
            [("nephometer:metering/log@0.2.0", false), ("nephometer:metering/types@0.1.0", true)];
        let refused = check_imports(&imports, "publish").unwrap_err();
        assert!(refused.contains("version 0.1.0"), "{refused}");
        let imports = [imports[0], ("other:thing/x@1.0.0", false)];
        let refused = check_imports(&imports, "publish").unwrap_err();
        assert!(refused.contains("other:thing/x@1.0.0"), "{refused}");
    }
}
