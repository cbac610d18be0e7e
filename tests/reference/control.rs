//! `docs/reference/control.md`: the requests of the control socket.

use std::fmt::Write as _;
use std::fs;

use syn::{GenericArgument, Item, PathArguments, Type};

use super::syntax::{docs, snake_case};
use super::{cell, compare};
use crate::harness::root;

const HEAD: &str = "# Control requests

A running agent answers at `control.socket`, a Unix socket that only the agent's user and root may open.
A request is one line of JSON, an object whose `command` names it; the response is one line: an object
with `answer`, or with `error` and a text. The connection is closed after that. The commands of
`nephometer` are the supported client; requests may gain fields and answers may gain keys in any version.

```sh
printf '{\"command\": \"status\"}\\n' | socat - UNIX-CONNECT:/run/nephometer/agent.sock
```

| command | fields | does |
|---|---|---|
";

/// The JSON that a type is written as.
fn json_type(of: &Type) -> String {
    match of {
        Type::Path(path) => {
            let last = path.path.segments.last().unwrap();
            match &last.arguments {
                PathArguments::AngleBracketed(inner) if last.ident == "Option" => {
                    let inner = inner.args.iter().find_map(|one| match one {
                        GenericArgument::Type(inner) => Some(json_type(inner)),
                        _ => None,
                    });
                    format!("{} or null", inner.unwrap())
                }
                _ => match last.ident.to_string().as_str() {
                    "bool" => "boolean".to_owned(),
                    "u64" => "number".to_owned(),
                    "String" => "text".to_owned(),
                    other => panic!("how does JSON write {other}?"),
                },
            }
        }
        Type::Tuple(tuple) => {
            let parts: Vec<_> = tuple.elems.iter().map(json_type).collect();
            format!("[{}]", parts.join(", "))
        }
        _ => panic!("a type that no request had until now"),
    }
}

#[test]
fn control_page_lists_every_request() {
    let path = root().join("host/nephometer/src/control/mod.rs");
    let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let requests = file.items.iter().find_map(|item| match item {
        Item::Enum(one) if one.ident == "Request" => Some(one),
        _ => None,
    });
    let mut page = HEAD.to_owned();
    for request in &requests.unwrap().variants {
        let fields: Vec<String> = request
            .fields
            .iter()
            .map(|field| {
                let name = field.ident.as_ref().unwrap();
                format!("`{name}` ({}): {}", json_type(&field.ty), docs(&field.attrs))
            })
            .collect();
        let name = snake_case(&request.ident.to_string());
        let (fields, meaning) = (cell(&fields.join(" ")), cell(&docs(&request.attrs)));
        writeln!(page, "| `{name}` | {fields} | {meaning} |").unwrap();
    }
    compare("control.md", &page);
}
