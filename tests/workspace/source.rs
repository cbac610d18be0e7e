//! Parses the source files of a crate: follows `mod` from its root, and leaves out unit tests.

use std::collections::BTreeMap;
use std::path::Path;

use syn::visit::{self, Visit};

/// One file of a crate.
pub(super) struct Source {
    /// The syntax tree without tests.
    pub(super) syntax: syn::File,
    /// The names of its items.
    pub(super) items: Vec<String>,
    /// The names of its structs, enums, unions, traits and type aliases.
    pub(super) types: Vec<String>,
    /// The names that it imports.
    pub(super) uses: Vec<Use>,
}

/// One name of a `use`: its path, and whether it is reexported.
pub(super) struct Use {
    /// `*` for a glob.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) reexport: bool,
}

/// The files of a crate by module path.
pub(super) fn sources(root: &Path) -> BTreeMap<Vec<String>, Source> {
    let mut found = BTreeMap::new();
    read(root, Vec::new(), &mut found);
    found
}

fn read(path: &Path, module: Vec<String>, found: &mut BTreeMap<Vec<String>, Source>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    without_tests(&mut syntax.items);
    let folder = path.parent().unwrap();
    let (mut items, mut types, mut uses) = (Vec::new(), Vec::new(), Vec::new());
    for item in &syntax.items {
        match item {
            syn::Item::Mod(child) if child.content.is_none() => {
                let name = child.ident.to_string();
                let inner = folder.join(&name).join("mod.rs");
                let file = if inner.exists() { inner } else { folder.join(format!("{name}.rs")) };
                read(&file, [&*module, &[name]].concat(), found);
            }
            syn::Item::Use(one) => {
                let reexport = !matches!(one.vis, syn::Visibility::Inherited);
                leaves(&one.tree, &mut Vec::new(), reexport, &mut uses);
            }
            other => {
                if let Some((name, is_type)) = named(other) {
                    if is_type {
                        types.push(name.clone());
                    }
                    items.push(name);
                }
            }
        }
    }
    found.insert(module, Source { syntax, items, types, uses });
}

/// Removes items that are compiled for tests only.
fn without_tests(items: &mut Vec<syn::Item>) {
    items.retain(|item| !attributes(item).iter().any(is_test));
}

fn is_test(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn named(item: &syn::Item) -> Option<(String, bool)> {
    let (name, is_type) = match item {
        syn::Item::Const(i) => (&i.ident, false),
        syn::Item::Fn(i) => (&i.sig.ident, false),
        syn::Item::Static(i) => (&i.ident, false),
        syn::Item::Mod(i) => (&i.ident, false),
        syn::Item::Macro(i) => (i.ident.as_ref()?, false),
        syn::Item::Enum(i) => (&i.ident, true),
        syn::Item::Struct(i) => (&i.ident, true),
        syn::Item::Trait(i) => (&i.ident, true),
        syn::Item::Type(i) => (&i.ident, true),
        syn::Item::Union(i) => (&i.ident, true),
        _ => return None,
    };
    Some((name.to_string(), is_type))
}

fn leaves(tree: &syn::UseTree, before: &mut Vec<String>, reexport: bool, out: &mut Vec<Use>) {
    let mut leaf = |name: String, path: Vec<String>| out.push(Use { name, path, reexport });
    match tree {
        syn::UseTree::Path(part) => {
            before.push(part.ident.to_string());
            leaves(&part.tree, before, reexport, out);
            before.pop();
        }
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|one| leaves(one, before, reexport, out));
        }
        syn::UseTree::Glob(_) => leaf("*".to_owned(), before.clone()),
        syn::UseTree::Name(one) if one.ident == "self" => {
            leaf(before.last().cloned().unwrap_or_default(), before.clone());
        }
        syn::UseTree::Name(one) => {
            let name = one.ident.to_string();
            leaf(name.clone(), [&**before, &[name]].concat());
        }
        syn::UseTree::Rename(one) => {
            let path = [&**before, &[one.ident.to_string()]].concat();
            leaf(one.rename.to_string(), path);
        }
    }
}

/// The paths in a file outside its `use` items.
pub(super) fn paths(syntax: &syn::File) -> Vec<Vec<String>> {
    struct Paths(Vec<Vec<String>>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
            visit::visit_path(self, path);
        }
        fn visit_macro(&mut self, call: &'ast syn::Macro) {
            // Most macros have expressions separated by commas as arguments.
            let parse = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
            if let Ok(arguments) = call.parse_body_with(parse) {
                arguments.iter().for_each(|one| self.visit_expr(one));
            }
            visit::visit_macro(self, call);
        }
    }
    let mut paths = Paths(Vec::new());
    paths.visit_file(syntax);
    paths.0
}
