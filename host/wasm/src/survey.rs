//! Looks at a component's file before it is compiled, and refuses what would cost the compiler or the
//! engine out of proportion to its size.
//!
//! One pass over the sections, linear in the file's size; nothing is kept but counts. It runs where
//! compilation runs, in the confined child. Whether the component is valid is the compiler's business.

use wasmparser::{
    ComponentDefinedType, ComponentType, ComponentTypeDeclaration, ElementItems,
    InstanceTypeDeclaration, Parser, Payload,
};

use nephometer_model::Bound;

/// What a component is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    functions: usize,
    types: usize,
    elements: usize,
    parts: usize,
    /// Length of the longest name of a component's import or export.
    name: usize,
}

/// Counts what is in the file.
///
/// # Errors
/// With the bound that it exceeds, or with the place that cannot be read.
pub(super) fn survey(bytes: &[u8]) -> Result<Survey, String> {
    let mut found = Survey::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| error.to_string())?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                found.parts += 1;
                Bound::Nesting.check(depth).map_err(|exceeded| exceeded.to_string())?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => found.add(&payload).map_err(|error| error.to_string())?,
        }
        found.check()?;
    }
    Ok(found)
}

impl Survey {
    fn check(&self) -> Result<(), String> {
        for (bound, count) in [
            (Bound::Functions, self.functions),
            (Bound::Types, self.types),
            (Bound::ElementItems, self.elements),
            (Bound::Parts, self.parts),
            (Bound::NameBytes, self.name),
        ] {
            bound.check(count).map_err(|exceeded| exceeded.to_string())?;
        }
        Ok(())
    }

    fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(types) => self.types += types.count() as usize,
            Payload::CoreTypeSection(types) => self.types += types.count() as usize,
            Payload::ComponentTypeSection(types) => {
                for ty in types.clone() {
                    self.types += weight(&ty?);
                }
            }
            Payload::FunctionSection(functions) => self.functions += functions.count() as usize,
            Payload::ComponentCanonicalSection(functions) => {
                self.functions += functions.count() as usize;
            }
            Payload::InstanceSection(instances) => self.parts += instances.count() as usize,
            Payload::ComponentInstanceSection(instances) => {
                self.parts += instances.count() as usize;
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    self.add_elements(table?.ty.initial);
                }
            }
            Payload::ElementSection(segments) => self.add_segments(segments)?,
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    self.name(import?.name.name);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    self.name(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.parts += 1;
        self.name = self.name.max(name.len());
    }

    fn add_elements(&mut self, count: u64) {
        self.elements = self.elements.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
    }

    fn add_segments(
        &mut self,
        segments: &wasmparser::ElementSectionReader<'_>,
    ) -> wasmparser::Result<()> {
        for segment in segments.clone() {
            let segment = segment?;
            let items = match &segment.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            self.add_elements(u64::from(items));
        }
        Ok(())
    }
}

/// How many types a type consists of.
fn weight(ty: &ComponentType<'_>) -> usize {
    match ty {
        ComponentType::Defined(defined) => 1 + fields(defined),
        ComponentType::Func(function) => 1 + function.params.len(),
        ComponentType::Component(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                ComponentTypeDeclaration::Type(ty) => weight(ty),
                _ => 1,
            });
            1 + inner.sum::<usize>()
        }
        ComponentType::Instance(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                InstanceTypeDeclaration::Type(ty) => weight(ty),
                _ => 1,
            });
            1 + inner.sum::<usize>()
        }
        ComponentType::Resource { .. } => 1,
    }
}

fn fields(defined: &ComponentDefinedType<'_>) -> usize {
    match defined {
        ComponentDefinedType::Record(fields) => fields.len(),
        ComponentDefinedType::Variant(cases) => cases.len(),
        ComponentDefinedType::Tuple(types) => types.len(),
        ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => names.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Survey, String> {
        survey(&wat::parse_str(text).unwrap())
    }

    fn refused(bound: Bound, text: &str) {
        let refusal = of(text).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    }

    // 120 tables with one element each at the far end were 11 KB, and 574 MB of compiled code.
    #[test]
    fn elements_of_tables_are_counted_over_all_modules() {
        let most = Bound::ElementItems.most();
        let tables = |last: u64| {
            format!(
                "(component (core module (table {} funcref)) (core module (table {last} funcref)))",
                most - 10
            )
        };
        assert_eq!(of(&tables(10)).unwrap().elements, Bound::ElementItems.size());
        refused(Bound::ElementItems, &tables(11));
        let segment = |count: usize| {
            let functions = "$f ".repeat(count);
            format!("(component (core module (func $f) (elem func {functions})))")
        };
        assert!(of(&segment(Bound::ElementItems.size())).is_ok());
        refused(Bound::ElementItems, &segment(Bound::ElementItems.size() + 1));
    }

    #[test]
    fn functions_and_types_are_counted() {
        let functions =
            |count: usize| format!("(component (core module {}))", "(func)".repeat(count));
        assert!(of(&functions(Bound::Functions.size())).is_ok());
        refused(Bound::Functions, &functions(Bound::Functions.size() + 1));
        let types =
            |count: usize| format!("(component (core module {}))", "(type (func))".repeat(count));
        assert!(of(&types(Bound::Types.size())).is_ok());
        refused(Bound::Types, &types(Bound::Types.size() + 1));
        let record = |count: usize| {
            let fields: String = (0..count).map(|i| format!("(field \"f{i}\" u8)")).collect();
            format!("(component (type (record {fields})))")
        };
        assert_eq!(of(&record(9)).unwrap().types, 10);
        let instance = "(component (type (instance (type (record (field \"a\" u8))))))";
        assert_eq!(of(instance).unwrap().types, 3);
    }

    #[test]
    fn parts_nesting_and_names_are_bounded() {
        let parts = |count: usize| format!("(component {})", "(core module)".repeat(count));
        assert!(of(&parts(Bound::Parts.size())).is_ok());
        refused(Bound::Parts, &parts(Bound::Parts.size() + 1));
        assert!(survey(&nested(Bound::Nesting.size())).is_ok());
        let refusal = survey(&nested(Bound::Nesting.size() + 1)).unwrap_err();
        assert!(refusal.contains(Bound::Nesting.row().name), "{refusal}");
        let named = |length: usize| {
            format!(
                "(component (core module $m) (export \"{}\" (core module $m)))",
                "a".repeat(length)
            )
        };
        assert!(of(&named(Bound::NameBytes.size())).is_ok());
        refused(Bound::NameBytes, &named(Bound::NameBytes.size() + 1));
    }

    /// Components within components: the parser of text does not go so deep.
    fn nested(levels: usize) -> Vec<u8> {
        let empty = b"\0asm\x0d\0\x01\0";
        (0..levels).fold(empty.to_vec(), |inner, _| {
            let mut outer = empty.to_vec();
            outer.push(4);
            let mut length = inner.len();
            while length >= 0x80 {
                outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            outer.push(u8::try_from(length).unwrap());
            outer.extend(inner);
            outer
        })
    }

    #[test]
    fn what_is_no_component_is_an_error() {
        assert!(survey(b"\0asm\x0d\0\x01\0\x01\xff").is_err());
        assert!(survey(b"").is_err());
    }
}
