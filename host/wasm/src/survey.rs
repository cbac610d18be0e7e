//! Surveys a component file before compilation, and refuses one that would cost the compiler or the
//! engine out of proportion to its size.
//!
//! One pass over the sections, linear in the size of the file; only counts are kept. Runs in the
//! confined child, where compilation runs. Validation is left to the compiler.

use wasmparser::{
    ComponentDefinedType, ComponentType, ComponentTypeDeclaration, ElementItems,
    InstanceTypeDeclaration, Parser, Payload,
};

use nephometer_model::Bound;

/// Counts of a component's elements.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    functions: usize,
    types: usize,
    elements: usize,
    parts: usize,
    /// Length of the longest name of an import or export, bytes.
    name: usize,
}

/// Counts the elements of a component file.
///
/// # Errors
/// The exceeded bound, or the position of an unreadable section.
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
                    self.types += count_types(&ty?);
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
                    self.add_name(import?.name.name);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    self.add_name(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_name(&mut self, name: &str) {
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

/// The number of types that a type consists of.
fn count_types(ty: &ComponentType<'_>) -> usize {
    match ty {
        ComponentType::Defined(defined) => 1 + count_fields(defined),
        ComponentType::Func(function) => 1 + function.params.len(),
        ComponentType::Component(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                ComponentTypeDeclaration::Type(ty) => count_types(ty),
                _ => 1,
            });
            1 + inner.sum::<usize>()
        }
        ComponentType::Instance(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                InstanceTypeDeclaration::Type(ty) => count_types(ty),
                _ => 1,
            });
            1 + inner.sum::<usize>()
        }
        ComponentType::Resource { .. } => 1,
    }
}

fn count_fields(defined: &ComponentDefinedType<'_>) -> usize {
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

    fn survey_text(text: &str) -> Result<Survey, String> {
        survey(&wat::parse_str(text).unwrap())
    }

    fn refused(bound: Bound, text: &str) {
        let refusal = survey_text(text).unwrap_err();
        assert!(refusal.contains(bound.row().name), "{refusal}");
    }

    // Regression: 120 tables with one element each at the far end, 11 KB, compiled to 574 MB.
    #[test]
    fn elements_of_tables_are_counted_over_all_modules() {
        let most = Bound::ElementItems.most();
        let tables = |last: u64| {
            format!(
                "(component (core module (table {} funcref)) (core module (table {last} funcref)))",
                most - 10
            )
        };
        assert_eq!(survey_text(&tables(10)).unwrap().elements, Bound::ElementItems.size());
        refused(Bound::ElementItems, &tables(11));
        let segment = |count: usize| {
            let functions = "$f ".repeat(count);
            format!("(component (core module (func $f) (elem func {functions})))")
        };
        assert!(survey_text(&segment(Bound::ElementItems.size())).is_ok());
        refused(Bound::ElementItems, &segment(Bound::ElementItems.size() + 1));
    }

    #[test]
    fn functions_and_types_are_counted() {
        let functions =
            |count: usize| format!("(component (core module {}))", "(func)".repeat(count));
        assert!(survey_text(&functions(Bound::Functions.size())).is_ok());
        refused(Bound::Functions, &functions(Bound::Functions.size() + 1));
        let types =
            |count: usize| format!("(component (core module {}))", "(type (func))".repeat(count));
        assert!(survey_text(&types(Bound::Types.size())).is_ok());
        refused(Bound::Types, &types(Bound::Types.size() + 1));
        let record = |count: usize| {
            let fields: String = (0..count).map(|i| format!("(field \"f{i}\" u8)")).collect();
            format!("(component (type (record {fields})))")
        };
        assert_eq!(survey_text(&record(9)).unwrap().types, 10);
        let instance = "(component (type (instance (type (record (field \"a\" u8))))))";
        assert_eq!(survey_text(instance).unwrap().types, 3);
    }

    #[test]
    fn parts_nesting_and_names_are_bounded() {
        let parts = |count: usize| format!("(component {})", "(core module)".repeat(count));
        assert!(survey_text(&parts(Bound::Parts.size())).is_ok());
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
        assert!(survey_text(&named(Bound::NameBytes.size())).is_ok());
        refused(Bound::NameBytes, &named(Bound::NameBytes.size() + 1));
    }

    /// Nested components, deeper than the text parser allows.
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
    fn invalid_component_is_an_error() {
        assert!(survey(b"\0asm\x0d\0\x01\0\x01\xff").is_err());
        assert!(survey(b"").is_err());
    }
}
