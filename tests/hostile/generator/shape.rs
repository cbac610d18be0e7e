//! The component around a core module: its sections, and additions to them.

use std::ops::Range;

use wasm_encoder::{
    CodeSection, Component, ComponentExportKind, ComponentExportSection, ComponentImportSection,
    ComponentInstanceSection, ComponentSection, ComponentTypeRef, ComponentTypeSection,
    ComponentValType, ConstExpr, ElementSection, Elements, Function, FunctionSection,
    InstanceSection, InstanceType, MemorySection, MemoryType, Module, ModuleArg, PrimitiveValType,
    RefType, TableSection, TableType, TypeBounds, TypeSection,
};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef as Imported,
    Parser, Payload,
};

use super::chance::Chance;
use super::contract::World;
use super::names;
use super::sections;
use super::value::small;

const HEADER: usize = 8;
const MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const FIELDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A component as a list of sections.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    header: Vec<u8>,
    /// Kind and content of each section.
    sections: Vec<(u8, Vec<u8>)>,
    /// The number of types in the component.
    types: u32,
}

impl Shape {
    /// Splits a good component into sections.
    pub(super) fn of(component: &[u8]) -> Self {
        let sections = split(component, HEADER).into_iter();
        Self {
            header: component[..HEADER].to_vec(),
            sections: sections.map(|(id, range)| (id, component[range].to_vec())).collect(),
            types: types(component),
        }
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        let mut component = self.header.clone();
        for (id, content) in &self.sections {
            component.push(*id);
            leb(content.len(), &mut component);
            component.extend(content);
        }
        component
    }

    /// Replaces the first core module, which is the author's.
    pub(super) fn replace_main(&mut self, module: Vec<u8>) {
        let main = self.sections.iter_mut().find(|(id, _)| *id == MODULE);
        main.expect("wit-component puts it there").1 = module;
    }

    fn count(&self, wanted: u8) -> u32 {
        small(self.sections.iter().filter(|(id, _)| *id == wanted).count())
    }

    fn add(&mut self, section: &impl ComponentSection) {
        let mut bytes = Vec::new();
        section.append_to_component(&mut bytes);
        let added = split(&bytes, 0).into_iter();
        self.sections.extend(added.map(|(id, range)| (id, bytes[range].to_vec())));
    }

    /// Applies one random change and returns its description.
    pub(super) fn change(&mut self, chance: &mut Chance, world: &World) -> String {
        match chance.small(13) {
            0 => self.nest(chance.size(5_000)),
            1 => self.instances(chance.size(5_000)),
            2 => self.core_instances(chance.size(3_000)),
            3 => self.tables(chance),
            4 => self.import(chance, world),
            5 | 6 => self.type_chain(chance),
            7 => self.wide_types(chance),
            8 => self.nested_types(chance.size(200)),
            9 => self.exports(chance),
            10 => self.customs(chance),
            11 => {
                let (id, length) = (u8::try_from(chance.small(16)).unwrap(), chance.size(200));
                self.sections.push((id, chance.bytes(length)));
                format!("a section {id} of chance")
            }
            _ => self.reorder(chance),
        }
    }

    /// Nested components.
    fn nest(&mut self, depth: u32) -> String {
        let mut inner = Component::new().finish();
        for _ in 1..depth {
            let mut outer = self.header.clone();
            outer.push(COMPONENT);
            leb(inner.len(), &mut outer);
            outer.append(&mut inner);
            inner = outer;
        }
        self.sections.push((COMPONENT, inner));
        format!("components {depth} deep")
    }

    fn instances(&mut self, count: u32) -> String {
        let number = self.count(COMPONENT);
        self.sections.push((COMPONENT, Component::new().finish()));
        let mut instances = ComponentInstanceSection::new();
        for _ in 0..count {
            instances.instantiate(number, Vec::<(&str, ComponentExportKind, u32)>::new());
        }
        self.add(&instances);
        format!("{count} instances")
    }

    fn core_instances(&mut self, count: u32) -> String {
        let number = self.count(MODULE);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut module = Module::new();
        module.section(&memories);
        self.sections.push((MODULE, module.finish()));
        let mut instances = InstanceSection::new();
        for _ in 0..count {
            instances.instantiate(number, Vec::<(&str, ModuleArg)>::new());
        }
        self.add(&instances);
        format!("{count} core instances")
    }

    /// Modules that are never instantiated, but compiled nevertheless.
    fn tables(&mut self, chance: &mut Chance) -> String {
        let (modules, tables, size) = (chance.size(8), chance.size(90), chance.size(1_000_000));
        for _ in 0..modules {
            self.sections.push((MODULE, module_of_tables(tables, size)));
        }
        format!("{modules} modules of {tables} tables of {size} elements")
    }

    /// An import that the host does not have, or has in another version.
    fn import(&mut self, chance: &mut Chance, world: &World) -> String {
        let known = chance.pick(&world.interfaces).clone();
        let name = match chance.small(6) {
            0 => other_version(&known, chance),
            1 => known,
            2 => "wasi:filesystem/preopens@0.2.0".to_owned(),
            3 => "wasi:cli/environment@0.2.0".to_owned(),
            4 => names::any(chance, 3_000),
            _ => format!("a{}:b/c@0.{}.0", chance.word(), chance.word()),
        };
        let mut imports = ComponentImportSection::new();
        if name.contains('/') {
            let mut types = ComponentTypeSection::new();
            types.instance(&InstanceType::new());
            self.add(&types);
            imports.import(&*name, ComponentTypeRef::Instance(self.types));
        } else {
            imports.import(&*name, ComponentTypeRef::Type(TypeBounds::SubResource));
        }
        self.types += 1;
        self.add(&imports);
        format!("imports {:?}", &name[..name.floor_char_boundary(60)])
    }

    /// A chain of types, each made of the one before, once or several times.
    fn type_chain(&mut self, chance: &mut Chance) -> String {
        let (depth, kind, wide) = (chance.size(5_000), chance.small(5), chance.size(8));
        let mut types = ComponentTypeSection::new();
        types.defined_type().primitive(PrimitiveValType::U8);
        for nth in 1..depth {
            let before = ComponentValType::Type(self.types + nth - 1);
            let ty = types.defined_type();
            match kind {
                0 => ty.list(before),
                1 => ty.option(before),
                2 => ty.tuple(vec![before; wide as usize]),
                3 => ty.record(FIELDS[..wide as usize].iter().map(|name| (*name, before))),
                _ => ty.result(Some(before), Some(before)),
            }
        }
        self.add(&types);
        self.export_type(self.types + depth - 1);
        self.types += depth + 1;
        format!("types {depth} deep, kind {kind}, {wide} wide")
    }

    /// A type with very many parts, or very many types.
    fn wide_types(&mut self, chance: &mut Chance) -> String {
        let (count, kind) = (chance.size(60_000), chance.small(5));
        let named: Vec<String> = (0..count).map(|nth| format!("n{nth}")).collect();
        let byte = ComponentValType::Primitive(PrimitiveValType::U8);
        let mut types = ComponentTypeSection::new();
        match kind {
            0 => types.defined_type().record(named.iter().map(|name| (&**name, byte))),
            1 => types.defined_type().enum_type(named.iter().map(String::as_str)),
            2 => types.defined_type().flags(named.iter().map(String::as_str)),
            3 => {
                types
                    .function()
                    .params(named.iter().map(|name| (&**name, byte)))
                    .result(Some(byte));
            }
            _ => (0..count).for_each(|_| types.defined_type().list(byte)),
        }
        self.types += types.len();
        self.add(&types);
        format!("{count} parts of types, kind {kind}")
    }

    /// Nested instance types.
    fn nested_types(&mut self, depth: u32) -> String {
        let mut inner = InstanceType::new();
        for _ in 0..depth {
            let mut outer = InstanceType::new();
            outer.ty().instance(&inner);
            outer.export("i", ComponentTypeRef::Instance(0));
            inner = outer;
        }
        let mut types = ComponentTypeSection::new();
        types.instance(&inner);
        self.add(&types);
        self.types += 1;
        format!("types of instances {depth} deep")
    }

    fn export_type(&mut self, number: u32) {
        let mut exports = ComponentExportSection::new();
        exports.export("further-type", ComponentExportKind::Type, number, None);
        self.add(&exports);
    }

    fn exports(&mut self, chance: &mut Chance) -> String {
        let count = chance.size(5_000);
        let name = if chance.one_in(2) { "x".to_owned() } else { names::any(chance, 5_000) };
        let mut types = ComponentTypeSection::new();
        types.defined_type().primitive(PrimitiveValType::U8);
        self.add(&types);
        let mut exports = ComponentExportSection::new();
        for nth in 0..count {
            let name = format!("{name}{nth}");
            exports.export(&*name, ComponentExportKind::Type, self.types, None);
        }
        self.types += 1 + count;
        self.add(&exports);
        format!("{count} exports")
    }

    fn customs(&mut self, chance: &mut Chance) -> String {
        let (what, found) = sections::any(chance);
        let at = chance.below(self.sections.len() + 1);
        for custom in found {
            let mut content = Vec::new();
            leb(custom.name.len(), &mut content);
            content.extend(custom.name.as_bytes());
            content.extend(&custom.data);
            self.sections.insert(at.min(self.sections.len()), (0, content));
        }
        format!("{what}, beside the module")
    }

    /// Repeats, removes or swaps sections.
    fn reorder(&mut self, chance: &mut Chance) -> String {
        let (one, other) = (chance.below(self.sections.len()), chance.below(self.sections.len()));
        let id = self.sections[one].0;
        match chance.small(3) {
            0 => {
                let section = self.sections[one].clone();
                self.sections.insert(other, section);
                format!("section {one} of kind {id} again at {other}")
            }
            1 => {
                self.sections.remove(one);
                format!("section {one} of kind {id} is away")
            }
            _ => {
                self.sections.swap(one, other);
                format!("sections {one} and {other} swapped")
            }
        }
    }
}

/// Renames an interface of the contract in this component; the new name has the same length, so
/// that nothing else changes.
pub(super) fn rename(bytes: &mut [u8], chance: &mut Chance, world: &World) -> String {
    let name = chance.pick(&world.interfaces).clone();
    let new = other_version(&name, chance);
    let all = chance.one_in(2);
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(name.len()).position(|part| part == name.as_bytes())
    {
        let begin = at + found;
        if all || chance.one_in(2) {
            bytes[begin..begin + new.len()].copy_from_slice(new.as_bytes());
        }
        at = begin + new.len();
    }
    format!("{name} becomes {new}")
}

/// Replaces one digit or letter, mostly in the version.
fn other_version(name: &str, chance: &mut Chance) -> String {
    let version = name.find('@').map_or(0, |at| at + 1);
    let from = if chance.one_in(3) { 0 } else { version.min(name.len() - 1) };
    let letters: Vec<usize> =
        (from..name.len()).filter(|at| name.as_bytes()[*at].is_ascii_alphanumeric()).collect();
    let at = *chance.pick(&letters);
    let new = if name.as_bytes()[at].is_ascii_digit() {
        chance.small(10).to_string()
    } else {
        char::from(b'a' + u8::try_from(chance.small(26)).unwrap()).to_string()
    };
    format!("{}{new}{}", &name[..at], &name[at + 1..])
}

fn module_of_tables(count: u32, size: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let (mut tables, mut elements) = (TableSection::new(), ElementSection::new());
    for number in 0..count {
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: size.into(),
            maximum: None,
            shared: false,
        });
        let last = ConstExpr::i32_const((size - 1).cast_signed());
        elements.active(Some(number), &last, Elements::Functions([0][..].into()));
    }
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&tables).section(&elements).section(&code);
    module.finish()
}

/// The sections from this offset on: kind and range of the content.
pub(super) fn split(bytes: &[u8], mut from: usize) -> Vec<(u8, Range<usize>)> {
    let mut sections = Vec::new();
    while from < bytes.len() {
        let id = bytes[from];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            from += 1;
            length |= usize::from(bytes[from] & 0x7f) << shift;
            shift += 7;
            if bytes[from] < 0x80 {
                break;
            }
        }
        let begin = from + 1;
        from = begin + length;
        sections.push((id, begin..from));
    }
    sections
}

/// A length in LEB128.
fn leb(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    into.push(u8::try_from(number).unwrap());
}

/// The number of types in the outermost component.
fn types(component: &[u8]) -> u32 {
    let (mut depth, mut count) = (0, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("a good component") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            payload if depth == 0 => count += types_of(payload),
            _ => {}
        }
    }
    count
}

fn types_of(payload: Payload<'_>) -> u32 {
    let found = match payload {
        Payload::ComponentTypeSection(section) => return section.count(),
        Payload::ComponentImportSection(section) => section
            .into_iter()
            .filter(|import| matches!(import.as_ref().unwrap().ty, Imported::Type(_)))
            .count(),
        Payload::ComponentExportSection(section) => section
            .into_iter()
            .filter(|export| export.as_ref().unwrap().kind == ComponentExternalKind::Type)
            .count(),
        Payload::ComponentAliasSection(section) => section
            .into_iter()
            .filter(|alias| match alias.as_ref().unwrap() {
                ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Type,
                ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::Type,
                ComponentAlias::CoreInstanceExport { .. } => false,
            })
            .count(),
        _ => 0,
    };
    small(found)
}
