//! The public items of a crate, and the names in their signatures.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, TraitItem, Visibility};

use super::source::Source;

/// The public interface of a crate.
#[derive(Default)]
pub(super) struct PublicInterface {
    /// Public functions, types, constants and methods.
    pub(super) items: BTreeSet<String>,
    /// The names in signatures and public fields. Users of the items get them without naming them.
    pub(super) mentioned: BTreeSet<String>,
}

/// Reads the public interface from the files of a crate.
pub(super) fn public_interface(files: &BTreeMap<Vec<String>, Source>) -> PublicInterface {
    let mut interface = PublicInterface::default();
    files.values().flat_map(|source| &source.syntax.items).for_each(|item| interface.item(item));
    interface
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

impl PublicInterface {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Fn(one) if is_public(&one.vis) => self.function(&one.sig),
            Item::Const(one) if is_public(&one.vis) => self.value(&one.ident, &one.ty),
            Item::Static(one) if is_public(&one.vis) => self.value(&one.ident, &one.ty),
            Item::Type(one) if is_public(&one.vis) => self.value(&one.ident, &one.ty),
            Item::Struct(one) if is_public(&one.vis) => {
                self.items.insert(one.ident.to_string());
                let fields = one.fields.iter().filter(|field| is_public(&field.vis));
                fields.for_each(|field| self.mention(|names| names.visit_type(&field.ty)));
                self.mention(|names| names.visit_generics(&one.generics));
            }
            Item::Enum(one) if is_public(&one.vis) => {
                self.items.insert(one.ident.to_string());
                self.mention_by(&one.ident, |names| names.visit_item_enum(one));
            }
            Item::Trait(one) if is_public(&one.vis) => {
                self.items.insert(one.ident.to_string());
                for item in &one.items {
                    if let TraitItem::Fn(function) = item {
                        self.mention(|names| names.visit_signature(&function.sig));
                    }
                }
                one.supertraits.iter().for_each(|bound| {
                    self.mention(|names| names.visit_type_param_bound(bound));
                });
            }
            Item::Impl(one) => self.implementation(one),
            _ => {}
        }
    }

    fn implementation(&mut self, one: &syn::ItemImpl) {
        for item in &one.items {
            match item {
                ImplItem::Fn(function) if one.trait_.is_some() => {
                    self.mention(|names| names.visit_signature(&function.sig));
                }
                ImplItem::Type(alias) => self.mention(|names| names.visit_type(&alias.ty)),
                ImplItem::Fn(function) if is_public(&function.vis) => self.function(&function.sig),
                ImplItem::Const(value) if is_public(&value.vis) => {
                    self.value(&value.ident, &value.ty);
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, signature: &syn::Signature) {
        self.items.insert(signature.ident.to_string());
        self.mention_by(&signature.ident, |names| names.visit_signature(signature));
    }

    fn value(&mut self, name: &syn::Ident, ty: &syn::Type) {
        self.items.insert(name.to_string());
        self.mention(|names| names.visit_type(ty));
    }

    /// Adds the names that an item mentions besides its own.
    fn mention_by(&mut self, item: &syn::Ident, visit: impl FnOnce(&mut Names<'_>)) {
        let mut names = BTreeSet::new();
        visit(&mut Names(&mut names));
        names.remove(&item.to_string());
        self.mentioned.extend(names);
    }

    fn mention(&mut self, visit: impl FnOnce(&mut Names<'_>)) {
        visit(&mut Names(&mut self.mentioned));
    }
}

struct Names<'a>(&'a mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.extend(path.segments.iter().map(|segment| segment.ident.to_string()));
        visit::visit_path(self, path);
    }
}
