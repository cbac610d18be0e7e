//! The files embedded in the program: templates, helper libraries, the contract.

use include_dir::{Dir, DirEntry, include_dir};

use super::language::{Kind, Language};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/templates");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-guest");
static C: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-c");
static JAVASCRIPT: Dir<'_> =
    include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-javascript");
static PYTHON: Dir<'_> =
    include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-python/nephometer");
static GO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-go");
static ZIG: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-examples/nephometer-zig");

/// Pin the versions that the examples are tested with.
const RUST_LOCK: &str = include_str!("../../../guest-examples/Cargo.lock");
const NPM_LOCK: &str =
    include_str!("../../../guest-examples/nephometer-javascript/package-lock.json");

/// The build products of all languages.
const GITIGNORE: &str =
    "/*.wasm\n/*-failed.json\n/build/\n/target/\n/node_modules/\n/.venv/\n__pycache__/\n";

/// A file of a project: path and content.
pub(super) type File<'a> = (String, &'a [u8]);

/// The WIT files of the contract, in `wit/`.
pub(super) fn contract() -> Vec<File<'static>> {
    below(&WIT, "wit")
}

/// The files of a new project, with placeholders such as `{{name}}`. `None` if there is no template.
pub(super) fn project(language: Language, kind: Kind) -> Option<Vec<File<'static>>> {
    let folder = match kind {
        Kind::Transformer => language.word().to_owned(),
        Kind::Publisher => format!("{}-publisher", language.word()),
    };
    let template = TEMPLATES.get_dir(&folder)?;
    let mut files = below(template, "");
    files.push((".gitignore".to_owned(), GITIGNORE.as_bytes()));
    files.extend(contract());
    // What is the same in all languages.
    files.extend(match kind {
        Kind::Transformer => below(TEMPLATES.get_dir("fixtures")?, "fixtures"),
        Kind::Publisher => below(TEMPLATES.get_dir("publisher")?, ""),
    });
    files.extend(library(language));
    match language {
        Language::Rust => files.push(("Cargo.lock".to_owned(), RUST_LOCK.as_bytes())),
        Language::JavaScript | Language::TypeScript => {
            files.extend(below(TEMPLATES.get_dir("npm")?, ""));
            files.push(("package-lock.json".to_owned(), NPM_LOCK.as_bytes()));
        }
        Language::C | Language::Python | Language::Go | Language::Zig => {}
    }
    Some(files)
}

fn library(language: Language) -> Vec<File<'static>> {
    let mut files = all_of_library(language);
    files.retain(|(path, _)| !path.split('/').any(is_test));
    files
}

fn all_of_library(language: Language) -> Vec<File<'static>> {
    match language {
        // Its relative path to the contract then leads to the project's copy.
        Language::Rust => below(&RUST, "vendor/nephometer-guest"),
        Language::C => below(&C, "nephometer"),
        Language::JavaScript | Language::TypeScript => below(&JAVASCRIPT, "nephometer"),
        Language::Python => below(&PYTHON, "nephometer"),
        Language::Go => below(&GO, "nephometer"),
        Language::Zig => below(&ZIG, "nephometer"),
    }
}

/// All files below a folder, without build products.
fn below(dir: &'static Dir<'_>, prefix: &str) -> Vec<File<'static>> {
    let mut files = Vec::new();
    let mut folders = vec![dir];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(dir) => folders.push(dir),
                DirEntry::File(file) => {
                    let path = file.path().strip_prefix(dir.path()).unwrap_or(file.path());
                    let path = path.to_string_lossy();
                    if !path.split('/').any(is_build_product) {
                        let separator = if prefix.is_empty() { "" } else { "/" };
                        files.push((format!("{prefix}{separator}{path}"), file.contents()));
                    }
                }
            }
        }
    }
    files.sort();
    files
}

fn is_build_product(name: &str) -> bool {
    matches!(name, "__pycache__" | "node_modules" | "target" | ".zig-cache" | "zig-cache")
        || name.ends_with(".pyc")
}

/// Whether a file or folder holds tests, by the conventions of all languages. The test support of the
/// libraries is no test.
pub(super) fn is_test(name: &str) -> bool {
    name == "tests"
        || name.starts_with("test_")
        || name.ends_with("_test.go")
        || name.contains(".test.")
}
