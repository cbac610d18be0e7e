//! `docs/reference/errors.md`: every error type with its messages.

use std::fmt::Write as _;

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, ExprLit, Fields, Item, Lit};

use super::syntax::{docs, files};
use super::{cell, code, compare};
use crate::harness::root;

const HEAD: &str = "# Errors

Commands print errors to standard error and end with an [exit code](cli.md#exit-codes). An error names
what is wrong, where, and what would be right. Names in braces are filled in; the cause from the system
or a library follows after a colon.

Problems of configuration files are not listed here: `nephometer check` prints each of them with file,
line, column and a remedy.
";

/// The crates whose errors users see, in the order of data flow.
const CRATES: &[&str] = &[
    "config",
    "files",
    "libvirt",
    "store",
    "wasm",
    "amqp",
    "pipeline",
    "wire",
    "sdk",
    "nephometer",
];

/// The text of `#[error(\"...\")]`; `None` for transparent errors.
fn message(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|one| one.path().is_ident("error"))?;
    let parse = |input: ParseStream<'_>| {
        let text = input.parse::<Expr>()?;
        input.parse::<Ignored>()?;
        Ok(text)
    };
    match attribute.parse_args_with(parse).ok()? {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The arguments after the text, which are not read.
struct Ignored;

impl Parse for Ignored {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        while !input.is_empty() {
            input.step(|cursor| {
                let (_, rest) = cursor.token_tree().unwrap();
                Ok(((), rest))
            })?;
        }
        Ok(Self)
    }
}

fn row(page: &mut String, attributes: &[Attribute], name: &str) {
    let Some(text) = message(attributes) else { return };
    let meaning = docs(attributes);
    assert!(!meaning.is_empty(), "{name} has no comment");
    // Texts that are filled in as a whole name nothing to search for.
    if !matches!(text.as_str(), "{}" | "{0}" | "{reason}") {
        writeln!(page, "| {} | {} |", code(&text), cell(&meaning)).unwrap();
    }
}

#[test]
fn errors_page_lists_every_message() {
    let mut page = HEAD.to_owned();
    for name in CRATES {
        for (path, file) in files(&format!("host/{name}/src")) {
            for item in &file.items {
                let mut rows = String::new();
                let (attributes, ident) = match item {
                    Item::Enum(one) => {
                        for variant in &one.variants {
                            let name = format!("{}::{}", one.ident, variant.ident);
                            row(&mut rows, &variant.attrs, &name);
                        }
                        (&one.attrs, &one.ident)
                    }
                    Item::Struct(one) if !matches!(one.fields, Fields::Unit) => {
                        row(&mut rows, &one.attrs, &one.ident.to_string());
                        (&one.attrs, &one.ident)
                    }
                    _ => continue,
                };
                if rows.is_empty() {
                    continue;
                }
                let file = path.strip_prefix(root()).unwrap().display();
                let title = docs(attributes);
                writeln!(page, "\n## {ident}\n\n{title} (`{file}`)\n").unwrap();
                page += "| message | meaning |\n|---|---|\n";
                page += &rows;
            }
        }
    }
    compare("errors.md", &page);
}
