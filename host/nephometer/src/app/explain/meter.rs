//! Where the values of a meter come from: libvirt's fields, the statistics, and steps of its unit.

use serde_json::{Value, json};

use nephometer_config::MeteringSpec;
use nephometer_libvirt::poll::meters::{
    CATALOGUE, MeterDef, RAW_PREFIX, libvirt_constants, raw_groups, raw_meter,
};
use nephometer_model::Release;

/// The prefix of the agent's own meters.
pub(super) const OWN_PREFIX: &str = "nephometer.";
/// Similar names in an answer.
const SIMILAR: usize = 5;

/// Who makes the samples of a meter.
#[derive(Debug, Clone, Copy)]
pub(super) enum MeterOrigin {
    /// A line of the catalogue.
    Catalogue(&'static MeterDef),
    /// Only other releases have it.
    OtherRelease(&'static MeterDef),
    /// A value of libvirt under its own name.
    Raw,
    /// The agent itself.
    Own,
    /// No line of the catalogue: a transformer may make it.
    Unlisted,
}

impl MeterOrigin {
    pub(super) fn of(name: &str, spec: MeteringSpec) -> Self {
        if name.starts_with(RAW_PREFIX) {
            return Self::Raw;
        }
        if name.starts_with(OWN_PREFIX) {
            return Self::Own;
        }
        let named =
            |def: &&&MeterDef, release: Release| *def.meter(release, spec.quirks).name == *name;
        let own = CATALOGUE.iter().filter(|def| def.exists_in(spec.release));
        if let Some(def) = own.clone().find(|def| named(&def, spec.release)) {
            return Self::Catalogue(def);
        }
        let elsewhere = |def: &&MeterDef| {
            Release::ALL.iter().any(|release| def.exists_in(*release) && named(&def, *release))
        };
        CATALOGUE.iter().find(elsewhere).map_or(Self::Unlisted, Self::OtherRelease)
    }

    /// As in the answer.
    pub(super) fn json(self, name: &str, spec: MeteringSpec) -> Value {
        let mut value = json!({ "name": name, "release": spec.release.as_str() });
        let (origin, more) = match self {
            Self::Catalogue(def) => ("libvirt", catalogue(def, spec)),
            Self::OtherRelease(def) => ("other_release", json!({ "releases": releases(def) })),
            Self::Raw => {
                let meter = raw_meter(name.trim_start_matches(RAW_PREFIX));
                let more = json!({
                    "type": meter.kind.as_str(),
                    "unit": *meter.unit,
                    "fields": name.trim_start_matches(RAW_PREFIX),
                    "groups": libvirt_constants(raw_groups(name)),
                    "unit_steps": [],
                });
                ("libvirt", more)
            }
            Self::Own => ("agent", json!({})),
            Self::Unlisted => ("transformer", json!({ "similar": similar(name, spec) })),
        };
        value["origin"] = origin.into();
        for (key, more) in more.as_object().into_iter().flatten() {
            value[key] = more.clone();
        }
        value
    }
}

fn catalogue(def: &MeterDef, spec: MeteringSpec) -> Value {
    let meter = def.meter(spec.release, spec.quirks);
    let from = libvirt_unit(def.fields);
    let steps = match from {
        Some(from) if *from != *meter.unit => {
            let by = if from == "KiB" { "/ 1024" } else { "" };
            vec![json!({ "from": from, "to": *meter.unit, "by": by })]
        }
        _ => Vec::new(),
    };
    json!({
        "type": meter.kind.as_str(),
        "unit": *meter.unit,
        "fields": def.fields,
        "groups": libvirt_constants(def.groups),
        "unit_steps": steps,
        "releases": releases(def),
    })
}

/// The releases that have a meter.
pub(super) fn releases(def: &MeterDef) -> Vec<&'static str> {
    let has = |release: &&Release| def.exists_in(**release);
    Release::ALL.iter().filter(has).map(|release| release.as_str()).collect()
}

/// The unit in which libvirt reports the first of these fields; `None` if it has none.
fn libvirt_unit(fields: &str) -> Option<String> {
    const KNOWN: [&str; 5] = ["cpu.", "vcpu.", "balloon.", "block.", "net."];
    let mut words = fields.split([' ', ',']);
    let field = words.find(|word| KNOWN.iter().any(|known| word.starts_with(known)))?;
    let unit = raw_meter(&field.replace(".N.", ".0.")).unit.to_string();
    (!unit.is_empty()).then_some(unit)
}

/// Known names that share the beginning or the end of a name.
fn similar(name: &str, spec: MeteringSpec) -> Vec<String> {
    let words: Vec<&str> = name.split(['.', '_']).collect();
    let mut found: Vec<(usize, String)> = CATALOGUE
        .iter()
        .filter(|def| def.exists_in(spec.release))
        .map(|def| def.meter(spec.release, spec.quirks).name.to_string())
        .map(|known| {
            let same = known.split(['.', '_']).filter(|word| words.contains(word)).count();
            (same, known)
        })
        .filter(|(same, _)| *same > 0)
        .collect();
    found.sort_by_key(|(same, known)| (std::cmp::Reverse(*same), known.len()));
    found.into_iter().take(SIMILAR).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_has_fields_groups_and_steps() {
        let spec = MeteringSpec::default();
        let of = |name: &str| MeterOrigin::of(name, spec).json(name, spec);
        let memory = of("memory.usage");
        assert_eq!(memory["groups"][1], "VIR_DOMAIN_STATS_BALLOON");
        assert_eq!(memory["unit_steps"][0], json!({"from": "KiB", "to": "MiB", "by": "/ 1024"}));
        let cpu = of("cpu");
        assert_eq!((&cpu["unit"], &cpu["unit_steps"]), (&json!("ns"), &json!([])));
        assert_eq!(of("disk.device.usage")["groups"][2], "virDomainGetBlockInfo");
        assert_eq!(of("libvirt.vcpu.delay")["groups"][1], "VIR_DOMAIN_STATS_VCPU");
        let liberty = of("instance");
        assert_eq!(
            (&liberty["origin"], &liberty["releases"][0]),
            (&json!("other_release"), &json!("liberty"))
        );
        let unknown = of("memory_usage");
        assert_eq!(
            (&unknown["origin"], &unknown["similar"][0]),
            (&json!("transformer"), &json!("memory.usage"))
        );
        for def in CATALOGUE.iter().filter(|def| def.exists_in(spec.release)) {
            let known = of(&def.meter(spec.release, spec.quirks).name);
            assert!(!known["fields"].as_str().unwrap().is_empty(), "{known}");
        }
    }
}
