//! The imports between the files of a crate, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, paths};

type Files = BTreeMap<Vec<String>, Source>;
/// The imported names, by importing and imported module.
pub(super) type Edges = BTreeMap<Vec<String>, BTreeMap<Vec<String>, BTreeSet<String>>>;

/// Finds the names that each file imports from other files. A `pub use` is no import; a name that is
/// imported through it counts for the file that defines it. Imports between a module and its child
/// modules are left out.
pub(super) fn imports(files: &Files) -> Edges {
    let mut edges = Edges::new();
    for (module, source) in files {
        let used = source.uses.iter().filter(|one| !one.reexport && one.name != "*");
        let used = used.map(|one| one.path.clone()).chain(paths(&source.syntax));
        for path in used {
            let Some(target) = defined_in(files, module, &path, 0) else { continue };
            if !target.starts_with(module) && !module.starts_with(&target) {
                let name = path.last().cloned().unwrap_or_default();
                edges.entry(module.clone()).or_default().entry(target).or_default().insert(name);
            }
        }
    }
    edges
}

/// The module that defines the item of a path as seen from `module`. `None` if it is no file of the
/// crate.
fn defined_in(files: &Files, module: &[String], path: &[String], depth: u8) -> Option<Vec<String>> {
    let mut rest = path;
    let mut at = match rest.first()?.as_str() {
        "crate" => {
            rest = &rest[1..];
            Vec::new()
        }
        "self" => {
            rest = &rest[1..];
            module.to_vec()
        }
        "super" => {
            let mut at = module.to_vec();
            while rest.first().is_some_and(|part| part == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
            at
        }
        first => {
            let child = [module, &[first.to_owned()]].concat();
            let own = files.contains_key(&child);
            // A module that a `use` imported, such as `frames::append`.
            let source = files.get(module)?;
            let imported = source.uses.iter().find(|one| one.name == first && path.len() > 1);
            match imported {
                Some(one) if !own && depth < 8 && one.path != path => {
                    let whole = [&*one.path, &path[1..]].concat();
                    return defined_in(files, module, &whole, depth + 1);
                }
                _ if own => module.to_vec(),
                _ => return None,
            }
        }
    };
    while let Some(name) = rest.first() {
        let child = [&*at, std::slice::from_ref(name)].concat();
        if files.contains_key(&child) {
            at = child;
            rest = &rest[1..];
            continue;
        }
        let source = files.get(&at)?;
        if source.items.contains(name) || depth >= 8 {
            break;
        }
        let named = source.uses.iter().find(|one| one.name == *name);
        if let Some(one) = named {
            let whole = [&*one.path, &rest[1..]].concat();
            return defined_in(files, &at, &whole, depth + 1);
        }
        let globs = source.uses.iter().filter(|one| one.name == "*" && one.reexport);
        let through = globs.filter_map(|one| {
            let whole = [&*one.path, rest].concat();
            defined_in(files, &at, &whole, depth + 1)
        });
        if let Some(found) = through.into_iter().next() {
            return Some(found);
        }
        break;
    }
    files.contains_key(&at).then_some(at)
}

/// Groups of files that import each other in a cycle.
pub(super) fn cycles(edges: &Edges) -> Vec<Vec<Vec<String>>> {
    let reachable: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> =
        edges.keys().map(|from| (from, reachable_from(edges, from))).collect();
    let mut visited = BTreeSet::new();
    let mut found = Vec::new();
    for (from, all) in &reachable {
        if !all.contains(from) || visited.contains(from) {
            continue;
        }
        let back = |to: &&&Vec<String>| reachable.get(**to).is_some_and(|all| all.contains(from));
        let cycle: Vec<Vec<String>> = all.iter().filter(back).map(|one| (*one).clone()).collect();
        visited.extend(all.iter().filter(back).copied());
        found.push(cycle);
    }
    found
}

fn reachable_from<'a>(edges: &'a Edges, from: &Vec<String>) -> BTreeSet<&'a Vec<String>> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&Vec<String>> =
        edges.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(one) = next.pop() {
        if found.insert(one) {
            next.extend(edges.get(one).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}
