//! Writes the types of the contract as TypeScript declarations: one module per interface, with the names
//! and the forms that componentize-js gives values.

use std::fmt::Write as _;
use std::path::Path;

use wit_parser::{
    Docs, Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, WorldItem,
};

use super::bindings;
use super::error::SdkError;
use super::files;

/// The package whose interfaces are written. The helper library hides those of WASI.
const PACKAGE: &str = "nephometer:metering/";

/// Writes `wit.d.ts` into `folder`, with all interfaces of the contract that the world imports and exports.
///
/// # Errors
/// If the contract cannot be read, or the file cannot be written.
pub(super) fn declarations(wit: &Path, world: &str, folder: &Path) -> Result<(), SdkError> {
    let (resolve, world) = bindings::world(wit, world)?;
    let world = &resolve.worlds[world];
    let mut text =
        "// The types of the contract, generated from wit/ by `component build`.\n".to_owned();
    for item in world.imports.values().chain(world.exports.values()) {
        if let WorldItem::Interface { id, .. } = item {
            let name = resolve.id_of(*id).unwrap_or_default();
            if name.starts_with(PACKAGE) {
                Module { resolve: &resolve, id: *id, text: &mut text }.write(&name);
            }
        }
    }
    files::write(&folder.join("wit.d.ts"), text)
}

/// One interface.
struct Module<'a> {
    resolve: &'a Resolve,
    id: InterfaceId,
    text: &'a mut String,
}

impl Module<'_> {
    fn write(mut self, name: &str) {
        let interface = &self.resolve.interfaces[self.id];
        self.docs(&interface.docs, "");
        self.line(&format!("declare module '{name}' {{"));
        for (name, id) in &interface.types {
            self.define(name, *id);
        }
        for function in interface.functions.values() {
            self.function(function);
        }
        self.line("}");
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn docs(&mut self, docs: &Docs, indent: &str) {
        let Some(text) = &docs.contents else { return };
        self.line(&format!("{indent}/**"));
        for line in text.trim().lines() {
            self.line(format!("{indent} * {}", line.trim()).trim_end());
        }
        self.line(&format!("{indent} */"));
    }

    fn define(&mut self, name: &str, id: TypeId) {
        let (resolve, name) = (self.resolve, camel(name, true));
        let one = &resolve.types[id];
        self.docs(&one.docs, "  ");
        let right = match &one.kind {
            TypeDefKind::Record(record) => {
                self.line(&format!("  export interface {name} {{"));
                for field in &record.fields {
                    self.docs(&field.docs, "    ");
                    let (mark, ty) = self.optional(&field.ty);
                    self.line(&format!("    {}{mark}: {ty};", camel(&field.name, false)));
                }
                return self.line("  }");
            }
            TypeDefKind::Enum(one) => one
                .cases
                .iter()
                .map(|case| format!("'{}'", case.name))
                .collect::<Vec<_>>()
                .join(" | "),
            TypeDefKind::Variant(one) => {
                let case = |case: &wit_parser::Case| match &case.ty {
                    Some(ty) => format!("{{ tag: '{}'; val: {} }}", case.name, self.ty(ty)),
                    None => format!("{{ tag: '{}' }}", case.name),
                };
                one.cases.iter().map(case).collect::<Vec<_>>().join(" | ")
            }
            // A type of another interface.
            TypeDefKind::Type(Type::Id(other)) => self.reference(*other),
            kind => self.kind(kind),
        };
        self.line(&format!("  export type {name} = {right};"));
    }

    fn function(&mut self, function: &Function) {
        self.docs(&function.docs, "  ");
        let parameters: Vec<String> = function
            .params
            .iter()
            .map(|one| {
                let (mark, ty) = self.optional(&one.ty);
                format!("{}{mark}: {ty}", camel(&one.name, false))
            })
            .collect();
        let result = function.result.map_or_else(|| "void".to_owned(), |ty| self.ty(&ty));
        let name = camel(&function.name, false);
        self.line(&format!("  export function {name}({}): {result};", parameters.join(", ")));
    }

    /// The mark and the type of a field or a parameter, which is left out if an option is none.
    fn optional(&self, ty: &Type) -> (&'static str, String) {
        if let Type::Id(id) = ty
            && let TypeDefKind::Option(some) = &self.resolve.types[*id].kind
        {
            return ("?", self.ty(some));
        }
        ("", self.ty(ty))
    }

    fn ty(&self, ty: &Type) -> String {
        match ty {
            Type::Id(id) => self.reference(*id),
            Type::U64 | Type::S64 => "bigint".to_owned(),
            Type::Bool => "boolean".to_owned(),
            Type::Char | Type::String => "string".to_owned(),
            _ => "number".to_owned(),
        }
    }

    /// A type by its name, qualified if it is of another interface; one without a name as it is.
    fn reference(&self, id: TypeId) -> String {
        let one = &self.resolve.types[id];
        let Some(name) = &one.name else { return self.kind(&one.kind) };
        let name = camel(name, true);
        match one.owner {
            wit_parser::TypeOwner::Interface(other) if other != self.id => {
                format!("import('{}').{name}", self.resolve.id_of(other).unwrap_or_default())
            }
            _ => name,
        }
    }

    fn without_aliases(&self, ty: Type) -> Type {
        match ty {
            Type::Id(id) => match self.resolve.types[id].kind {
                TypeDefKind::Type(other) => self.without_aliases(other),
                _ => ty,
            },
            _ => ty,
        }
    }

    fn kind(&self, kind: &TypeDefKind) -> String {
        match kind {
            TypeDefKind::Type(ty) => self.ty(ty),
            TypeDefKind::Option(ty) => format!("{} | undefined", self.ty(ty)),
            // The bindings throw the error.
            TypeDefKind::Result(result) => {
                result.ok.map_or_else(|| "void".to_owned(), |ty| self.ty(&ty))
            }
            TypeDefKind::Tuple(tuple) => {
                let types: Vec<String> = tuple.types.iter().map(|ty| self.ty(ty)).collect();
                format!("[{}]", types.join(", "))
            }
            TypeDefKind::List(ty) => match self.without_aliases(*ty) {
                Type::U8 => "Uint8Array".to_owned(),
                Type::U32 => "Uint32Array".to_owned(),
                Type::U64 => "BigUint64Array".to_owned(),
                Type::F64 => "Float64Array".to_owned(),
                _ => format!("{}[]", self.ty(ty)),
            },
            TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => self.reference(*id),
            // The contract has none of the others.
            _ => "unknown".to_owned(),
        }
    }
}

/// `meter-type` as `meterType`, or as `MeterType`.
fn camel(name: &str, upper: bool) -> String {
    let mut text = String::new();
    for (index, word) in name.split('-').enumerate() {
        let (first, rest) = word.split_at(word.len().min(1));
        let first = if upper || index > 0 { first.to_uppercase() } else { first.to_owned() };
        let _ = write!(text, "{first}{rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(world: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        declarations(&wit, world, folder.path()).unwrap();
        std::fs::read_to_string(folder.path().join("wit.d.ts")).unwrap()
    }

    #[test]
    fn values_have_the_forms_of_the_bindings() {
        let text = generated("stateful-transformer");
        for expected in [
            "declare module 'nephometer:metering/log@0.2.0' {",
            "  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';",
            "  export function write(level: Level, message: string): void;",
            "    projectId?: string;",
            "    volume: Float64Array;",
            "    time: BigUint64Array;",
            "  export type Timestamp = bigint;",
            "| { tag: 'keep'; val: Uint32Array } |",
            "import('nephometer:metering/types@0.2.0').Meter;",
            "  export function flush(now: Timestamp): Answer | undefined;",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains(": unknown"), "{text}");
    }

    #[test]
    fn worlds_have_their_interfaces_only() {
        let text = generated("http-publisher");
        assert!(text.contains("export function publish(what: Delivery): void;"), "{text}");
        assert!(!text.contains("metering/transform@") && !text.contains("wasi:"), "{text}");
    }
}
