//! Components that `check` refuses: invalid files, oversized parts, endless startup, hostile schemas.

use super::parts::{core, transformer, words, wrapped};
use super::{assert_refused_by_check, case};

#[test]
fn files_outside_the_contract_are_refused() {
    let good = transformer(&[]);
    let text = |text: &str| wat::parse_str(text).unwrap();
    assert_refused_by_check(
        "files",
        &[
            case("is-text", b"(component)".to_vec(), "text"),
            case("is-core", text("(module)"), "core module"),
            case("is-cut", good[..good.len() / 2].to_vec(), "cannot be compiled"),
            case("is-empty", Vec::new(), "empty"),
            case("exports-nothing", text("(component)"), "exports nothing"),
            case(
                "imports-files",
                text(
                    "(component (import \"wasi:filesystem/preopens@0.2.0\" (instance \
                     (export \"get\" (func)))))",
                ),
                "wasi:filesystem/preopens@0.2.0",
            ),
            case(
                "of-another-version",
                text(
                    "(component (import \"nephometer:metering/log@0.9.0\" (instance \
                     (export \"write\" (func)))))",
                ),
                "built for version",
            ),
            case("is-deep", nested(2_000), "component_nesting"),
        ],
    );
}

/// Nested components, deeper than the text parser allows.
fn nested(depth: usize) -> Vec<u8> {
    let header = b"\0asm\x0d\0\x01\0";
    let mut component = header.to_vec();
    for _ in 0..depth {
        let mut outer = header.to_vec();
        outer.push(4);
        // The length as LEB128.
        let mut length = component.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.append(&mut component);
        component = outer;
    }
    component
}

#[test]
fn oversized_memories_types_and_tables_are_refused() {
    let memories: String = (0..100).map(|_| "(memory 1)").collect();
    let modules: String = (0..100)
        .map(|i| format!("(core module $m{i} (memory 1)) (core instance (instantiate $m{i}))"))
        .collect();
    assert_refused_by_check(
        "large",
        &[
            case("memory-of-4-gib", transformer(&[("MEMORY", "65536")]), "limits.memory"),
            case("many-memories-in-one", transformer(&[("MORE", &memories)]), "cannot be compiled"),
            case("many-memories", wrapped_with(&modules), "core instances"),
            case("many-types", many_types(), "cannot be compiled"),
            case("large-jumps", large_jumps(), "cannot be compiled"),
            case("large-table", transformer(&[("MORE", "(table 10000000 funcref)")]), "elements"),
        ],
    );
}

/// A module with more types than wasm allows.
fn many_types() -> Vec<u8> {
    let types = "(type (func))".repeat(1_000_001);
    wrapped_with(&format!("(core module $types {types})"))
}

/// A branch table with more targets than wasm allows.
fn large_jumps() -> Vec<u8> {
    let targets = "0 ".repeat(8_000_000);
    transformer(&[("MORE", &format!("(func (param i32) (br_table {targets} (local.get 0)))"))])
}

/// A valid transformer with more in the component around it.
fn wrapped_with(more: &str) -> Vec<u8> {
    wrapped(&format!("{}\n{more}", core(&[])))
}

#[test]
fn endless_loops_and_traps_at_startup_are_refused() {
    let cpu = "limits.cpu";
    assert_refused_by_check(
        "loops-early",
        &[
            case("spins-at-start", transformer(&[("INITIALIZE", "(call $spin)")]), cpu),
            case("spins-in-describe", transformer(&[("DESCRIBE", "(call $spin)")]), cpu),
            case("spins-in-configure", transformer(&[("CONFIGURE", "(call $spin)")]), cpu),
            case("chats-in-configure", transformer(&[("CONFIGURE", "(call $chatter)")]), cpu),
            case("spins-in-realloc", transformer(&[("REALLOC", "(call $spin)")]), cpu),
            case(
                "realloc-outside",
                transformer(&[("REALLOC", "(return (i32.const -16))")]),
                "beyond end of memory",
            ),
            case(
                "traps-in-configure",
                transformer(&[("CONFIGURE", "(unreachable)")]),
                "unreachable",
            ),
            case("traps-in-describe", transformer(&[("DESCRIBE", "(unreachable)")]), "unreachable"),
        ],
    );
}

/// A component whose options-schema is `schema`, followed by `fill` blanks.
pub(super) fn schema(schema: &str, fill: u32) -> Vec<u8> {
    let length = u32::try_from(schema.len()).unwrap() + fill;
    let pages = (131_072 + length).div_ceil(65_536) + 1;
    let quoted = schema.replace('\\', r"\5c").replace('"', "\\22");
    transformer(&[
        ("MEMORY", &pages.to_string()),
        ("MORE", &format!("(data (i32.const 131072) \"{quoted}\")")),
        ("SCHEMA", &words(&[131_072, length])),
        (
            "INITIALIZE",
            &format!(
                "(memory.fill (i32.const {}) (i32.const 32) (i32.const {fill}))",
                131_072 + schema.len()
            ),
        ),
    ])
}

#[test]
fn hostile_schemas_are_refused() {
    let doubling = {
        let levels: Vec<String> = (0..40)
            .map(|i| {
                let next = i + 1;
                format!(
                    r##""l{i}":{{"allOf":[{{"$ref":"#/$defs/l{next}"}},{{"$ref":"#/$defs/l{next}"}}]}}"##
                )
            })
            .collect();
        format!(
            r##"{{"$ref":"#/$defs/l0","$defs":{{{},"l40":{{"required":["x"]}}}}}}"##,
            levels.join(",")
        )
    };
    assert_refused_by_check(
        "schemas",
        &[
            case("large-schema", schema("{}", 1 << 20), "schema_bytes"),
            case("huge-schema", schema("{}", 20 << 20), "limits.returned").with_memory(32),
            case(
                "schema-elsewhere",
                schema(r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#, 0),
                "options-schema cannot be used",
            ),
            case(
                "schema-of-a-file",
                schema(r#"{"$ref":"file:///etc/passwd"}"#, 0),
                "options-schema cannot be used",
            ),
            case(
                "schema-with-look-behind",
                schema(r#"{"patternProperties":{"(?<=a)b":{}}}"#, 0),
                "options-schema cannot be used",
            ),
            case("schema-that-doubles", schema(&doubling, 0), "options-schema"),
            case("schema-of-itself", schema(r##"{"$ref":"#"}"##, 0), "options-schema"),
            case("schema-is-no-json", schema("{", 0), "not JSON"),
        ],
    );
}
