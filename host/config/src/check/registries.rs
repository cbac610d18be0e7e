//! Checks where components come from besides files: `from`, `registries` and `signatures`.

use std::collections::BTreeMap;

use super::Check;
use super::units::truth;
use crate::keys;
use crate::raw::{Field, Kind, RawCodeKey, RawRegistry, RawSignatures, Scalar, Scalars, token};
use crate::registry::{
    CodeKeySpec, ComponentOrigin, RegistryIdentity, RegistrySpec, SignaturesSpec, is_registry,
};
use nephometer_model::{Glob, Secret};

const TRUTH: &str = "write true or false";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----";

/// `from` of a component.
pub(super) fn from(
    check: &mut Check<'_>,
    (name, at): (&str, &str),
    field: &Field<Scalar>,
) -> Option<Option<ComponentOrigin>> {
    let pointer = format!("{at}/from");
    let Some(text) = check.string(&pointer, field)? else { return Some(None) };
    origin(check, (name, &pointer, "from"), &text).map(Some)
}

/// A reference that a key of a component has.
pub(super) fn origin(
    check: &mut Check<'_>,
    (name, pointer, key): (&str, &str, &str),
    text: &str,
) -> Option<ComponentOrigin> {
    match text.parse() {
        Ok(reference) if is_file_name(name) => Some(ComponentOrigin { reference, locked: None }),
        Ok(_) => {
            let what = format!("a component from a registry cannot have the name {name:?}");
            check.fault(pointer, what, "use a name without `/` and a leading `.`");
            None
        }
        Err(right) => {
            check.fault(pointer, format!("`{key}` is {text:?}"), right);
            None
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.')
}

/// `components.registries`
pub(super) fn registries(
    check: &mut Check<'_>,
    field: Field<BTreeMap<String, Field<RawRegistry>>>,
) -> Option<BTreeMap<String, RegistrySpec>> {
    let pointer = "/components/registries";
    let mut found = Some(BTreeMap::new());
    for (name, field) in check.mapping(pointer, field)? {
        let at = format!("{pointer}/{}", token(&name));
        if !is_registry(&name) {
            let what = format!("{name:?} is no registry");
            check.fault(&at, what, "write its host, with its port if it has one");
            found = None;
        }
        match (registry(check, &at, field), &mut found) {
            (Some(spec), Some(found)) => _ = found.insert(name, spec),
            _ => found = None,
        }
    }
    found
}

fn registry(check: &mut Check<'_>, at: &str, field: Field<RawRegistry>) -> Option<RegistrySpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::REGISTRY, &[]);
    let ca = check.file(&format!("{at}/ca"), &raw.ca);
    let plain = check.value(&format!("{at}/plain_http"), &raw.plain_http, truth, TRUTH);
    let username = check.string(&format!("{at}/username"), &raw.username);
    let password = check.secret(&format!("{at}/password"), &raw.password, &raw.password_file);
    let token = check.secret(&format!("{at}/token"), &raw.token, &raw.token_file);
    let identity = match (username?, password?, token?) {
        (None, None, None) => None,
        (Some(username), Some(password), None) => {
            Some(RegistryIdentity::Password { username, password: Secret::new(password) })
        }
        (None, None, Some(token)) => Some(RegistryIdentity::Token(Secret::new(token))),
        _ => {
            let what = "its login is incomplete, or there are two";
            check.fault(at, what, "set `username` and `password`, or `token` alone");
            return None;
        }
    };
    Some(RegistrySpec { ca: ca?, identity, plain_http: plain?.unwrap_or(false) })
}

/// `components.signatures`
pub(super) fn signatures(
    check: &mut Check<'_>,
    field: Field<RawSignatures>,
) -> Option<SignaturesSpec> {
    let pointer = "/components/signatures";
    let raw = check.mapping(pointer, field)?;
    check.keys(pointer, &keys::SIGNATURES, &[]);
    let require = globs(check, &format!("{pointer}/require_signature"), &raw.require_signature);
    let allow = globs(check, &format!("{pointer}/allow_unsigned"), &raw.allow_unsigned);
    let pointer = format!("{pointer}/keys");
    let mut keys = Some(BTreeMap::new());
    for (name, field) in check.mapping(&pointer, raw.keys)? {
        let at = format!("{pointer}/{}", token(&name));
        match (key(check, &at, field), &mut keys) {
            (Some(key), Some(keys)) => _ = keys.insert(name, key),
            _ => keys = None,
        }
    }
    Some(SignaturesSpec { keys: keys?, require: require?, allow: allow? })
}

fn key(check: &mut Check<'_>, at: &str, field: Field<RawCodeKey>) -> Option<CodeKeySpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::CODE_KEY, &[]);
    let revoked = check.value(&format!("{at}/revoked"), &raw.revoked, truth, TRUTH);
    let pointer = format!("{at}/pem");
    let remedy = "write the PEM text of a public key, as in cosign.pub, as a block after `pem: |`";
    let Some(pem) = check.string(&pointer, &raw.pem)? else {
        check.fault(at, "this key has no `pem`", remedy);
        return None;
    };
    if !pem.trim_start().starts_with(PUBLIC_KEY) {
        check.fault(&pointer, "`pem` is not a public key", remedy);
        return None;
    }
    Some(CodeKeySpec { pem, revoked: revoked?.unwrap_or(false) })
}

fn globs(check: &mut Check<'_>, pointer: &str, field: &Scalars) -> Option<Vec<Glob>> {
    const RIGHT: &str = "write a list of names of components and patterns, such as [\"team-*\"]";
    match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => Some(Vec::new()),
        (Field::Given(entries), Kind::List) => {
            let texts = check.texts(pointer, entries);
            let mut globs = Vec::new();
            for (inner, text) in &texts {
                match Glob::new(text) {
                    Ok(glob) => globs.push(glob),
                    Err(error) => check.fault(inner, error.to_string(), "use a shorter pattern"),
                }
            }
            (globs.len() == entries.len()).then_some(globs)
        }
        _ => {
            check.wrong(pointer, RIGHT);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Inputs, Origin, RegistryIdentity, load_host};

    fn load(text: &str) -> Result<crate::ComponentsSpec, String> {
        let config = Origin::Text { name: "n.yaml".to_owned(), text: text.to_owned() };
        let inputs = Inputs { config, hostname: "h".to_owned(), ..Inputs::default() };
        let problems = |error: crate::ConfigError| {
            error.problems.iter().map(|problem| format!("{problem}\n")).collect()
        };
        load_host(&inputs).map(|loaded| loaded.spec.components).map_err(problems)
    }

    #[test]
    fn registries_keys_and_references_are_read_and_logins_are_secret() {
        let spec = load(
            "components:\n  registries:\n    registry.example:5000: {username: u, password: hunter2}\n    \
             mirror.example: {token: hunter2, plain_http: true}\n  signatures:\n    keys:\n      \
             builder: {pem: '-----BEGIN PUBLIC KEY-----', revoked: true}\n    \
             require_signature: ['team-*']\n  by_name:\n    price: {from: 'oci://registry.example:5000/price:1'}\n",
        )
        .unwrap();
        let registry = &spec.registries["registry.example:5000"];
        assert!(matches!(registry.identity, Some(RegistryIdentity::Password { .. })));
        assert!(spec.registries["mirror.example"].plain_http);
        assert!(spec.signatures.keys["builder"].revoked);
        let origin = spec.by_name["price"].from.as_ref().unwrap();
        assert_eq!(origin.reference.tag.as_deref(), Some("1"));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn every_fault_has_its_place() {
        let text = "\
components:
  registries:
    'a b': {}
    r.example: {username: u, token: t}
  signatures:
    keys:
      one: {revoked: perhaps}
      two: {pem: 'ssh-rsa AAAA'}
    allow_unsigned: price
  by_name:
    price: {from: 'registry.example/price:1'}
    ../x: {from: 'oci://registry.example/price:1'}
";
        assert_eq!(
            load(text).unwrap_err(),
            "\
n.yaml:3:12: \"a b\" is no registry; write its host, with its port if it has one
n.yaml:4:16: its login is incomplete, or there are two; set `username` and `password`, or `token` alone
n.yaml:7:12: this key has no `pem`; write the PEM text of a public key, as in cosign.pub, as a block after `pem: |`
n.yaml:7:22: `revoked` is \"perhaps\"; write true or false
n.yaml:8:18: `pem` is not a public key; write the PEM text of a public key, as in cosign.pub, as a block after `pem: |`
n.yaml:9:21: `allow_unsigned` is text; write a list of names of components and patterns, such as [\"team-*\"]
n.yaml:11:19: `from` is \"registry.example/price:1\"; write oci://HOST/REPOSITORY:TAG, with @sha256:DIGEST to pin it
n.yaml:12:18: a component from a registry cannot have the name \"../x\"; use a name without `/` and a leading `.`
"
        );
    }
}
