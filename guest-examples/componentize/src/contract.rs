//! Checks that a contract is compatible with an earlier version.
//!
//! There are two checks, which complement each other. For each world, a host of the new world must
//! run a component of the old one (the check of wit-component). For each interface, the text must
//! be the same except for comments and `@since`: records, variants and signatures never change, not
//! even by additions. Allowed additions are interfaces, worlds, and imports of a world.

use std::collections::BTreeMap;
use std::path::Path;

use wit_component::{OutputToString, WitPrinter, semver_check};
use wit_parser::{InterfaceId, PackageId, Resolve, WorldId, WorldItem, WorldKey};

/// The result of a comparison. Names are `interface NAME` or `world NAME`.
#[derive(Debug)]
pub struct Comparison {
    /// The old package with its version.
    pub old: String,
    /// Unchanged interfaces and compatible worlds.
    pub kept: Vec<String>,
    /// New interfaces and worlds.
    pub added: Vec<String>,
    /// Descriptions of incompatible changes.
    pub broken: Vec<String>,
}

/// Compares two folders of WIT files.
///
/// # Errors
/// If one of them cannot be read. Incompatible changes are in [`Comparison::broken`].
pub fn compare(old: &Path, new: &Path) -> Result<Comparison, String> {
    let (old_resolve, old_package) = read(old)?;
    let (new_resolve, new_package) = read(new)?;
    let mut compared = Comparison {
        old: old_resolve.packages[old_package].name.to_string(),
        kept: Vec::new(),
        added: Vec::new(),
        broken: Vec::new(),
    };
    let (old, new) = ((&old_resolve, old_package), (&new_resolve, new_package));
    compare_names(&mut compared, old, new);
    compare_interfaces(&mut compared, old, new)?;
    compare_worlds(&mut compared, old, new)?;
    Ok(compared)
}

type Contract<'a> = (&'a Resolve, PackageId);

fn read(folder: &Path) -> Result<(Resolve, PackageId), String> {
    let mut resolve = Resolve::default();
    match resolve.push_dir(folder) {
        Ok((package, _)) => Ok((resolve, package)),
        Err(error) => Err(format!("{}: {error:#}", folder.display())),
    }
}

fn compare_names(compared: &mut Comparison, old: Contract<'_>, new: Contract<'_>) {
    let name = |(resolve, package): Contract<'_>| {
        let name = &resolve.packages[package].name;
        format!("{}:{}", name.namespace, name.name)
    };
    if name(old) != name(new) {
        compared.broken.push(format!("package {} was renamed to {}", name(old), name(new)));
    }
}

fn compare_interfaces(
    compared: &mut Comparison,
    (old, old_package): Contract<'_>,
    (new, new_package): Contract<'_>,
) -> Result<(), String> {
    let old_ones = &old.packages[old_package].interfaces;
    let new_ones = &new.packages[new_package].interfaces;
    for (name, &id) in old_ones {
        let Some(&new_id) = new_ones.get(name) else {
            compared.broken.push(format!("interface {name} was removed"));
            continue;
        };
        match difference(&text(old, id)?, &text(new, new_id)?) {
            None => compared.kept.push(format!("interface {name}")),
            Some(what) => compared.broken.push(format!("interface {name}: {what}")),
        }
    }
    let added = new_ones.keys().filter(|name| !old_ones.contains_key(*name));
    compared.added.extend(added.map(|name| format!("interface {name}")));
    Ok(())
}

/// The lines of an interface, without comments and `@since`.
fn text(resolve: &Resolve, id: InterfaceId) -> Result<Vec<String>, String> {
    let mut printer = WitPrinter::new(OutputToString::default());
    printer.emit_docs(false);
    printer.print_interface(resolve, id).map_err(|error| format!("{error:#}"))?;
    let text = String::from(printer.output);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.filter(|line| !line.starts_with('@')).map(str::to_owned).collect())
}

fn difference(old: &[String], new: &[String]) -> Option<String> {
    let index = (0..old.len().max(new.len())).find(|&index| old.get(index) != new.get(index))?;
    let line =
        |lines: &[String]| lines.get(index).map_or("nothing".to_owned(), |l| format!("`{l}`"));
    Some(format!("{} was changed to {}", line(old), line(new)))
}

fn compare_worlds(
    compared: &mut Comparison,
    old: Contract<'_>,
    new: Contract<'_>,
) -> Result<(), String> {
    let old_worlds = &old.0.packages[old.1].worlds;
    let new_worlds = &new.0.packages[new.1].worlds;
    for (name, &old_world) in old_worlds {
        let Some(&new_world) = new_worlds.get(name) else {
            compared.broken.push(format!("world {name} was removed"));
            continue;
        };
        let mut changes = compare_items((old.0, old_world), (new.0, new_world));
        if let Err(error) = runs(old, new, old_world, new_world)? {
            changes.push(error);
        }
        if changes.is_empty() {
            compared.kept.push(format!("world {name}"));
        }
        compared.broken.extend(changes.into_iter().map(|change| format!("world {name}: {change}")));
    }
    let added = new_worlds.keys().filter(|name| !old_worlds.contains_key(*name));
    compared.added.extend(added.map(|name| format!("world {name}")));
    Ok(())
}

/// Imports may be added but not removed; exports must not change.
fn compare_items(
    (old, old_world): (&Resolve, WorldId),
    (new, new_world): (&Resolve, WorldId),
) -> Vec<String> {
    let (old_world, new_world) = (&old.worlds[old_world], &new.worlds[new_world]);
    let names = |resolve: &Resolve, items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
        items.map(|(key, item)| (key_name(resolve, key), kind(item))).collect::<BTreeMap<_, _>>()
    };
    let imports = names(old, &mut old_world.imports.iter());
    let new_imports = names(new, &mut new_world.imports.iter());
    let exports = names(old, &mut old_world.exports.iter());
    let new_exports = names(new, &mut new_world.exports.iter());
    let mut changes = Vec::new();
    for (name, kind) in &imports {
        if new_imports.get(name) != Some(kind) {
            changes.push(format!("no longer imports {name}"));
        }
    }
    for (name, kind) in &exports {
        if new_exports.get(name) != Some(kind) {
            changes.push(format!("no longer exports {name}"));
        }
    }
    for name in new_exports.keys().filter(|name| !exports.contains_key(*name)) {
        changes.push(format!("exports {name}, which older components do not have"));
    }
    changes
}

/// The name without its version, because the versions differ.
fn key_name(resolve: &Resolve, key: &WorldKey) -> String {
    let name = resolve.name_world_key(key);
    name.split('@').next().unwrap_or(&name).to_owned()
}

fn kind(item: &WorldItem) -> &'static str {
    match item {
        WorldItem::Interface { .. } => "interface",
        WorldItem::Function(_) => "function",
        WorldItem::Type { .. } => "type",
    }
}

/// Whether a host of the new world runs a component of the old one. The inner error is the reason
/// why not; the outer error means that the two could not be compared.
fn runs(
    (old, old_package): Contract<'_>,
    (new, _): Contract<'_>,
    old_world: WorldId,
    new_world: WorldId,
) -> Result<Result<(), String>, String> {
    let mut old = old.clone();
    rename(&mut old, old_package);
    let mut both = new.clone();
    let map = both.merge(old).map_err(|error| format!("{error:#}"))?;
    let old_world =
        map.map_world(old_world, Default::default()).map_err(|error| format!("{error:#}"))?;
    Ok(semver_check(both, old_world, new_world).map_err(|error| format!("{error:#}")))
}

/// Gives a package a version that the new contract never has, so that both can be merged.
fn rename(resolve: &mut Resolve, package: PackageId) {
    let name = resolve.packages[package].name.clone();
    resolve.package_names.shift_remove(&name);
    let version = name.version.clone().map(|mut version| {
        version.build = Default::default();
        version.pre = Default::default();
        version.major += 1_000_000;
        version
    });
    resolve.packages[package].name.version = version;
    resolve.package_names.insert(resolve.packages[package].name.clone(), package);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::{env, fs, process};

    fn wit() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
    }

    /// A copy of the contract with one text in one file changed.
    struct Copy(PathBuf);

    impl Copy {
        fn with(name: &str, file: &str, from: &str, to: &str) -> Self {
            let folder = env::temp_dir().join(format!("contract-{}-{name}", process::id()));
            fs::create_dir_all(folder.join("deps")).unwrap();
            for part in ["", "deps"] {
                for entry in fs::read_dir(wit().join(part)).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_file() {
                        let copy = folder.join(part).join(entry.file_name());
                        fs::copy(entry.path(), copy).unwrap();
                    }
                }
            }
            let path = folder.join(file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(from), "{file} has no {from:?}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            Self(folder)
        }
    }

    impl Drop for Copy {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn broken(name: &str, file: &str, from: &str, to: &str) -> Vec<String> {
        let copy = Copy::with(name, file, from, to);
        compare(&wit(), &copy.0).unwrap().broken
    }

    #[test]
    fn a_contract_is_compatible_with_itself() {
        let compared = compare(&wit(), &wit()).unwrap();
        assert_eq!((compared.broken.len(), compared.added.len()), (0, 0), "{compared:?}");
        assert!(compared.kept.contains(&"world http-publisher".to_owned()), "{compared:?}");
        assert!(compared.kept.contains(&"interface stateful".to_owned()), "{compared:?}");
    }

    #[test]
    fn comments_and_additions_are_compatible() {
        let comment = broken("comment", "types.wit", "/// A meter:", "/// A thing:");
        assert!(comment.is_empty(), "{comment:?}");
        let import = "world publisher {\n    import log;";
        let more = "world publisher {\n    import wasi:random/random@0.2.12;\n    import log;";
        let import = broken("import", "worlds.wit", import, more);
        assert!(import.is_empty(), "{import:?}");
        let world = "world new { include publisher; }\nworld publisher {";
        let copy = Copy::with("world", "worlds.wit", "world publisher {", world);
        let compared = compare(&wit(), &copy.0).unwrap();
        assert_eq!((compared.broken.len(), compared.added), (0, vec!["world new".to_owned()]));
    }

    #[test]
    fn every_change_of_existing_items_is_incompatible() {
        let all = [
            ("field", "types.wit", "unit: string,", "unit: string, scale: f64,"),
            ("type", "transform.wit", "volume: list<f64>", "volume: list<f32>"),
            ("case", "publish.wit", "broken(string),", "broken(string), maybe,"),
            ("order", "types.wit", "gauge,", "zero, gauge,"),
            ("function", "log.wit", "message: string);", "message: string, line: u32);"),
            ("more", "log.wit", "write: func", "flush: func();\n write: func"),
            ("export", "worlds.wit", "export component;", ""),
        ];
        for (name, file, from, to) in all {
            assert!(!broken(name, file, from, to).is_empty(), "{name}");
        }
    }

    #[test]
    fn removed_worlds_are_reported() {
        let copy = Copy::with("removed", "worlds.wit", "world transformer {", "world changer {");
        let path = copy.0.join("worlds.wit");
        let text =
            fs::read_to_string(&path).unwrap().replace("include transformer", "include changer");
        fs::write(&path, text).unwrap();
        assert_eq!(compare(&wit(), &copy.0).unwrap().broken, ["world transformer was removed"]);
    }
}
