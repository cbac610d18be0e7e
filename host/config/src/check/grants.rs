//! Checks `grants` of a component: the targets that it may connect to, and whether it gets the
//! credentials of the cloud.

use super::Check;
use super::units::truth;
use crate::grant::Grant;
use crate::keys;
use crate::raw::{Field, Kind, RawGrants, Scalars};

/// The grants of one component.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// `connect`
    pub(super) connect: Vec<Grant>,
    /// `service_credentials`, if it is set.
    pub(super) credentials: Option<bool>,
}

/// Checks all grants. `None` with a problem for each invalid one.
pub(super) fn check(check: &mut Check<'_>, at: &str, field: Field<RawGrants>) -> Option<Grants> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::GRANTS, &[]);
    let connect = connect(check, at, &raw.connect);
    let at = format!("{at}/service_credentials");
    let credentials = check.value(&at, &raw.service_credentials, truth, "write true or false");
    Some(Grants { connect: connect?, credentials: credentials? })
}

/// Checks the entries of `connect`. `None` with a problem for each invalid entry.
fn connect(check: &mut Check<'_>, at: &str, field: &Scalars) -> Option<Vec<Grant>> {
    const RIGHT: &str = "write a list such as [\"influx.lan:8086\", \"10.0.0.0/8:8086\"]";
    let pointer = format!("{at}/connect");
    let entries = match (field, check.kind(&pointer)) {
        (Field::Absent | Field::Null, _) => return Some(Vec::new()),
        (Field::Given(entries), Kind::List) => entries,
        _ => {
            check.wrong(&pointer, RIGHT);
            return None;
        }
    };
    let mut granted = Vec::new();
    for (inner, text) in check.texts(&pointer, entries) {
        match text.parse::<Grant>() {
            Ok(grant) => granted.push(grant),
            Err(reason) => {
                check.fault(
                    &inner,
                    format!("{text:?} is not a grant: {reason}"),
                    "write HOST:PORT",
                );
            }
        }
    }
    (granted.len() == entries.len()).then_some(granted)
}

#[cfg(test)]
mod tests {
    use crate::{Inputs, Origin, load_host};

    fn load(text: &str) -> Result<crate::AgentSpec, String> {
        let text = text.to_owned();
        let config = Origin::Text { name: "n.yaml".to_owned(), text };
        let inputs = Inputs { config, hostname: "h".to_owned(), ..Inputs::default() };
        let problems = |error: crate::ConfigError| {
            error.problems.iter().map(|problem| format!("{problem}\n")).collect()
        };
        load_host(&inputs).map(|loaded| loaded.spec).map_err(problems)
    }

    #[test]
    fn grants_and_options_are_read_and_kept_secret() {
        let spec = load(
            "components: {by_name: {influx: {grants: {connect: ['db.lan:8086', '[fd00::/8]:80']},\n\
             options: {token: hunter2, tags: {flavor: flavor.name}}}}}\n",
        )
        .unwrap();
        let influx = &spec.components.by_name["influx"];
        let connect: Vec<String> = influx.connect.iter().map(ToString::to_string).collect();
        assert_eq!(connect, ["db.lan:8086", "[fd00::/8]:80"]);
        assert_eq!(influx.options.reveal()["tags"]["flavor"], "flavor.name");
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn every_fault_has_its_place() {
        let text = "\
components:
  by_name:
    a: {grants: {connect: [db.lan, '10.0.0.1/8:80', 5, 'ok:1']}}
    b: {grants: {connect: 'db.lan:80', conect: [], service_credentials: please}}
    c: {grants: [], options: 5}
    d: {on_state_mismatch: forget}
";
        assert_eq!(
            load(text).unwrap_err(),
            "\
n.yaml:3:28: \"db.lan\" is not a grant: it has no port; write HOST:PORT
n.yaml:3:36: \"10.0.0.1/8:80\" is not a grant: its range begins at 10.0.0.0; write HOST:PORT
n.yaml:3:53: this entry of `connect` is a number; write text, in quotes if necessary
n.yaml:4:27: `connect` is text; write a list such as [\"influx.lan:8086\", \"10.0.0.0/8:8086\"]
n.yaml:4:40: the key \"conect\" is unknown; did you mean `connect`?
n.yaml:4:73: `service_credentials` is \"please\"; write true or false
n.yaml:5:17: `grants` is a list; write a mapping of `key: value` lines
n.yaml:5:30: `options` is a number; write a mapping of `key: value` lines
n.yaml:6:28: `on_state_mismatch` is \"forget\"; write keep_old or reset
"
        );
    }
}
