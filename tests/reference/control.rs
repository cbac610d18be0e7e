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
with `answer`, or with `error` and a text. The connection is closed after that; only `tap` has more lines,
and [live.md](../live.md) describes them and the answer to `explain`. The commands of
`nephometer` are the supported client; requests may gain fields and answers may gain keys in any version.

```sh
printf '{\"command\": \"status\"}\\n' | socat - UNIX-CONNECT:/run/nephometer/agent.sock
```

| command | fields | does |
|---|---|---|
";

const LEDGER: &str = "
## The ledger

`ledger` in the answer to `status`, which `nephometer status --json` prints, has the counters as numbers.
They continue after a restart. These keys keep their names and meanings; others may be added.

| key | unit | meaning |
|---|---|---|
| `polled` | samples | made from readings |
| `cycles_skipped` | polling cycles | skipped because the one before took longer than the interval |
| `missing` | domain readings | failed in a polling cycle |
| `absent` | values | a configured meter needs them, and libvirt did not report them |
| `sinks` | list | one object per sink, in the order of their creation |
| `breaches` | list of texts | numbers that do not add up; only meaningful while no batch is being processed |

In each of `sinks`, `entered` = `processed` + all of `dropped` + `pending`:

| key | unit | meaning |
|---|---|---|
| `sink` | text | its name |
| `entered` | samples | routed to it |
| `processed` | samples | entered its transformers |
| `pending` | samples | in the journal, not yet processed |
| `dropped` | samples by reason | dropped before its transformers |
| `transformers` | list | `component` (its name), and in samples: `samples_in` = `passed` + `absorbed` + all of `dropped`; `passed` + `created` came out |
| `publishers` | list | `publisher` (its URL without secrets), and in envelopes: `encoded` = `confirmed` + all of `dropped` + `pending`; `samples`: the samples in them; `failed_attempts` after which envelopes were to be sent again, since the start |

`dropped` is always an object with a number for each reason, zeros included: `journal_full`, `spool_full`,
`policy`, `rejected`, `component_failed`, `permanent`, `unreadable`, `too_old`.
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
    page += LEDGER;
    compare("control.md", &page);
}
