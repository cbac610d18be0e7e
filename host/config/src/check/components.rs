//! Checks `components` of `nephometer.yaml`: the search path, the settings of each component, and
//! the limits of all of them together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::discovery::Credentials;
use super::units::{DURATION, SIZE};
use super::units::{duration, size, truth, whole};
use super::{Check, grants, registries};
use crate::component_spec::{
    ComponentSpec, ComponentsSpec, GuardSpec, LimitsSpec, OnError, SecretOptions, ShadowSource,
    ShadowSpec, StateMismatch, TotalsSpec,
};
use crate::keys;
use crate::proxies::Proxies;
use crate::raw::{
    Field, Kind, RawComponent, RawComponents, RawGuard, RawLimits, RawTotals, Scalar, Scalars,
    token,
};

/// The address space of a component.
const MOST_MEMORY: u64 = 4 << 30;

/// The smallest totals. A lower number most likely lacks its unit.
const LEAST_MEMORY: u64 = 16 << 20;
const LEAST_STATES: u64 = 1 << 20;

/// A sum of ten thousand times as much.
const MOST_PERCENT: i64 = 1_000_000;

/// More file descriptors than a process gets on most systems.
const MOST_SOCKETS: i64 = 65_536;

/// The publisher that Ceilometer gives the credentials of its own section.
const GIVEN_BY_DEFAULT: &str = "gnocchi";

/// Options that are credentials of the component itself: no others are added to them.
const OWN_CREDENTIALS: [&str; 2] = ["auth_type", "auth_url"];

pub(super) fn check(
    check: &mut Check<'_>,
    field: Field<RawComponents>,
    credentials: &mut Credentials,
) -> Option<ComponentsSpec> {
    let raw = check.mapping("/components", field)?;
    check.keys("/components", &keys::COMPONENTS, &[]);
    let path = component_path(check, &raw.path);
    let totals = totals(check, raw.totals);
    let registries = registries::registries(check, raw.registries);
    let signatures = registries::signatures(check, raw.signatures);
    let guard = guard(check, ("/components/guard", &GuardSpec::default()), raw.guard);
    let pointer = "/components/by_name";
    let raw = check.mapping(pointer, raw.by_name)?;
    let mut by_name = BTreeMap::new();
    let mut good = true;
    for (name, field) in raw {
        let at = format!("{pointer}/{}", token(&name));
        let default = guard.unwrap_or_default();
        match component(check, (&name, &at, &default), field, credentials) {
            Some(spec) => {
                by_name.insert(name, spec);
            }
            None => good = false,
        }
    }
    if !by_name.contains_key(GIVEN_BY_DEFAULT) {
        credentials.give_by_default(GIVEN_BY_DEFAULT);
        if let Some(cloud) = credentials.spec.clone() {
            let spec = ComponentSpec { cloud: Some(cloud), ..ComponentSpec::default() };
            by_name.insert(GIVEN_BY_DEFAULT.to_owned(), spec);
        }
    }
    let spec = ComponentsSpec {
        path: path?,
        by_name,
        registries: registries?,
        signatures: signatures?,
        guard: guard?,
        totals: totals?,
        compiler: None,
        proxies: Proxies::default(),
        provided: BTreeMap::new(),
    };
    good.then_some(spec)
}

fn component_path(check: &mut Check<'_>, field: &Scalars) -> Option<Vec<PathBuf>> {
    const RIGHT: &str = "write a list of folders";
    let pointer = "/components/path";
    match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => {
            Some(vec![PathBuf::from("/usr/lib/nephometer/components")])
        }
        // For environment variables: folders separated by colons, as in PATH.
        (_, Kind::Text) => {
            let text = check.text(pointer).unwrap_or_default();
            let folders: Vec<PathBuf> =
                text.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect();
            if folders.is_empty() {
                check.fault(pointer, "`path` is empty", RIGHT);
                return None;
            }
            Some(folders)
        }
        (Field::Given(entries), Kind::List) => {
            let texts = check.texts(pointer, entries);
            for (inner, _) in texts.iter().filter(|(_, text)| text.is_empty()) {
                check.fault(inner, "this entry of `path` is empty", "name a folder or remove it");
            }
            let good = texts.len() == entries.len() && texts.iter().all(|(_, t)| !t.is_empty());
            good.then(|| texts.into_iter().map(|(_, text)| PathBuf::from(text)).collect())
        }
        _ => {
            check.wrong(pointer, RIGHT);
            None
        }
    }
}

fn component(
    check: &mut Check<'_>,
    (name, at, guard): (&str, &str, &GuardSpec),
    field: Field<RawComponent>,
    credentials: &mut Credentials,
) -> Option<ComponentSpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::COMPONENT, &[]);
    let from = registries::from(check, (name, at), &raw.from);
    let default = LimitsSpec::default();
    let limits = limits(check, (&format!("{at}/limits"), &default), raw.limits);
    let shadow = shadow(check, (name, at), &raw.shadow);
    let at_limits = format!("{at}/shadow_limits");
    let own = limits.unwrap_or_default();
    let shadow_limits = self::limits(check, (&at_limits, &own), raw.shadow_limits);
    let guard = self::guard(check, (&format!("{at}/guard"), guard), raw.guard);
    let words = [("hold", OnError::Hold), ("drop", OnError::Drop), ("keep", OnError::Keep)];
    let on_error = check.word(&format!("{at}/on_error"), &raw.on_error, &words);
    let words = [("keep_old", StateMismatch::KeepOld), ("reset", StateMismatch::Reset)];
    let pointer = format!("{at}/on_state_mismatch");
    let mismatch = check.word(&pointer, &raw.on_state_mismatch, &words);
    let grants = grants::check(check, &format!("{at}/grants"), raw.grants);
    let options = check.mapping(&format!("{at}/options"), raw.options);
    let (grants, options) = (grants?, options?);
    let (shadow, shadow_limits) = (shadow?, shadow_limits?);
    let own = OWN_CREDENTIALS.iter().any(|key| options.contains_key(*key));
    let cloud = match grants.credentials {
        Some(false) => None,
        _ if own => None,
        Some(true) => {
            let at = format!("{at}/grants/service_credentials");
            Some(credentials.required(check, &at)?)
        }
        None if name == GIVEN_BY_DEFAULT => {
            credentials.give_by_default(name);
            credentials.spec.clone()
        }
        None => None,
    };
    Some(ComponentSpec {
        from: from?,
        shadow: shadow.map(|source| ShadowSpec { source, limits: shadow_limits }),
        guard: guard?,
        limits: limits?,
        on_error: on_error?.unwrap_or_default(),
        on_state_mismatch: mismatch?.unwrap_or_default(),
        connect: grants.connect,
        cloud,
        options: SecretOptions::new(options),
    })
}

/// A shadow is a file or comes from a registry.
fn shadow(
    check: &mut Check<'_>,
    (name, at): (&str, &str),
    field: &Field<Scalar>,
) -> Option<Option<ShadowSource>> {
    let pointer = format!("{at}/shadow");
    let Some(text) = check.string(&pointer, field)? else { return Some(None) };
    if text.starts_with("oci://") {
        let origin = registries::origin(check, (name, &pointer, "shadow"), &text)?;
        return Some(Some(ShadowSource::Registry(origin)));
    }
    Some(Some(ShadowSource::File(PathBuf::from(text))))
}

fn limits(
    check: &mut Check<'_>,
    (at, default): (&str, &LimitsSpec),
    field: Field<RawLimits>,
) -> Option<LimitsSpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::LIMITS, &[]);
    let memory = |value: &Scalar| size(value).filter(|bytes| *bytes <= MOST_MEMORY);
    let right = "write a size of at most 4GiB, such as 64MiB";
    let memory = check.value(&format!("{at}/memory"), &raw.memory, memory, right);
    let cpu = check.value(&format!("{at}/cpu"), &raw.cpu, duration, DURATION);
    let wall = check.value(&format!("{at}/wall"), &raw.wall, duration, DURATION);
    let returned = check.value(&format!("{at}/returned"), &raw.returned, size, SIZE);
    Some(LimitsSpec {
        memory: memory?.unwrap_or(default.memory),
        cpu: cpu?.unwrap_or(default.cpu),
        wall: wall?.unwrap_or(default.wall),
        returned: returned?.unwrap_or(default.returned),
    })
}

fn guard(
    check: &mut Check<'_>,
    (at, default): (&str, &GuardSpec),
    field: Field<RawGuard>,
) -> Option<GuardSpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::GUARD, &[]);
    let enabled =
        check.value(&format!("{at}/enabled"), &raw.enabled, truth, "write `true` or `false`");
    let mut number = |key: &str, field: &Field<Scalar>, least: i64, most: i64| {
        let range = |value: &Scalar| whole(value).filter(|value| (least..=most).contains(value));
        let right = format!("write a whole number from {least} to {most}");
        check.value(&format!("{at}/{key}"), field, range, &right)
    };
    let cycles = number("cycles", &raw.cycles, 1, 10_000);
    let sums = number("sums", &raw.sums, 0, MOST_PERCENT);
    let samples = number("samples", &raw.samples, 0, MOST_PERCENT);
    let absent = number("absent", &raw.absent, 0, 1_000_000_000);
    let cost = number("cost", &raw.cost, 1, 1_000_000);
    // The ranges are checked.
    let small = |value: Option<i64>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
    };
    Some(GuardSpec {
        enabled: enabled?.unwrap_or(default.enabled),
        cycles: small(cycles?, default.cycles),
        sums: small(sums?, default.sums),
        samples: small(samples?, default.samples),
        absent: absent?.and_then(|value| u64::try_from(value).ok()).unwrap_or(default.absent),
        cost: small(cost?, default.cost),
    })
}

/// Checks the limits of all components together.
fn totals(check: &mut Check<'_>, field: Field<RawTotals>) -> Option<TotalsSpec> {
    let at = "/components/totals";
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::TOTALS, &[]);
    let default = TotalsSpec::default();
    let memory = |value: &Scalar| size(value).filter(|bytes| *bytes >= LEAST_MEMORY);
    let right = "write a size of at least 16MiB, such as 2GiB";
    let memory = check.value("/components/totals/memory", &raw.memory, memory, right);
    let states = |value: &Scalar| size(value).filter(|bytes| *bytes >= LEAST_STATES);
    let right = "write a size of at least 1MiB, such as 512MiB";
    let states = check.value("/components/totals/states", &raw.states, states, right);
    let sockets = |value: &Scalar| {
        let value = whole(value).filter(|value| (1..=MOST_SOCKETS).contains(value))?;
        usize::try_from(value).ok()
    };
    let right = "write a whole number from 1 to 65536";
    let sockets = check.value("/components/totals/sockets", &raw.sockets, sockets, right);
    Some(TotalsSpec {
        memory: memory?.unwrap_or(default.memory),
        states: states?.unwrap_or(default.states),
        sockets: sockets?.unwrap_or(default.sockets),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inputs, Origin, load_host};

    fn totals(text: &str) -> Result<TotalsSpec, String> {
        let text = format!("components: {{totals: {text}}}\n");
        let config = Origin::Text { name: "n.yaml".to_owned(), text };
        let inputs = Inputs { config, hostname: "h".to_owned(), ..Inputs::default() };
        match load_host(&inputs) {
            Ok(loaded) => Ok(loaded.spec.components.totals),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn totals_have_defaults_and_bounds() {
        let default = TotalsSpec::default();
        assert_eq!(totals("{}"), Ok(default));
        assert_eq!(default.memory, 2 << 30);
        assert_eq!(totals("{states: 1MiB}"), Ok(TotalsSpec { states: 1 << 20, ..default }));
        assert_eq!(
            totals("{memory: 16MiB, states: 64MiB, sockets: 65536}"),
            Ok(TotalsSpec { memory: 16 << 20, states: 64 << 20, sockets: 65_536 })
        );
        assert_eq!(
            totals("{memory: 2, states: 1048575, sockets: 0}").unwrap_err(),
            "n.yaml:1:31: `memory` is 2; write a size of at least 16MiB, such as 2GiB\n\
             n.yaml:1:42: `states` is 1048575; write a size of at least 1MiB, such as 512MiB\n\
             n.yaml:1:60: `sockets` is 0; write a whole number from 1 to 65536"
        );
        for wrong in ["{memory: 16777215}", "{sockets: 65537}", "{socket: 5}", "5"] {
            assert!(totals(wrong).is_err(), "{wrong}");
        }
    }
}
