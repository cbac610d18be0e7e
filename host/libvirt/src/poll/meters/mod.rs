//! Meters: the catalogue, the selection of a source, and the samples of a reading.
//!
//! Pure, except for the counters that deltas are computed from. Names, types, units and values are
//! those of Ceilometer's compute agent in the configured release. A number that libvirt omitted
//! makes no sample: missing is not zero.

mod catalogue;
mod deltas;
mod devices;
mod raw;
mod values;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use self::catalogue::ValueReader;
use self::deltas::CounterDeltas;
use self::values::ValueInput;
use super::gaps;
use crate::resource_metadata::DomainResources;
use nephometer_config::{KnownMeters, MeterFilter, MeteringSpec};
use nephometer_model::{Domain, Groups, Meter, Reading, Release, Resource, Volume};

pub use self::catalogue::{CATALOGUE, MeterDef, has_value};
pub(super) use self::devices::without_statistics;
pub use self::raw::{PREFIX as RAW_PREFIX, libvirt_constants, meter as raw_meter, raw_groups};

/// A sample without an id.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// Index of the meter in [`Meters::all`].
    pub meter: usize,
    /// The measured resource.
    pub resource: Arc<Resource>,
    /// The value.
    pub volume: Volume,
}

/// The meters selected by one source, or by several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeterSelection {
    /// Indices in [`CATALOGUE`], ascending.
    catalogue: Vec<usize>,
    /// The statistics these are computed from.
    groups: Groups,
}

/// The meters of one poll task.
#[derive(Debug)]
pub struct Meters {
    spec: MeteringSpec,
    /// The catalogue, then the meters `libvirt.*` seen so far.
    all: Vec<Arc<Meter>>,
    /// Index of the raw meter of each libvirt key.
    raw: HashMap<String, usize>,
    deltas: CounterDeltas,
}

impl MeterSelection {
    /// The meters of both selections.
    pub fn union(mut self, other: &Self) -> Self {
        self.catalogue.extend(&other.catalogue);
        self.catalogue.sort_unstable();
        self.catalogue.dedup();
        Self { groups: self.groups.union(other.groups), ..self }
    }

    /// Whether a catalogue meter is selected.
    pub fn contains(&self, meter: usize) -> bool {
        self.catalogue.binary_search(&meter).is_ok()
    }

    /// The statistics to request.
    pub fn groups(&self) -> Groups {
        self.groups
    }
}

/// The names of a release's meters, for the check of a configuration.
pub fn known_meters(spec: MeteringSpec) -> KnownMeters {
    let name = |def: &MeterDef, release: Release| def.meter(release, spec.quirks).name.to_string();
    let (known, others): (Vec<&MeterDef>, _) =
        CATALOGUE.iter().partition(|def| def.exists_in(spec.release));
    let elsewhere = |def: &MeterDef| {
        let latest = Release::ALL.into_iter().rfind(|release| def.exists_in(*release));
        latest.map(|release| (name(def, release), release))
    };
    let names = known.into_iter().map(|def| name(def, spec.release));
    KnownMeters {
        names: names.chain([gaps::METER.to_owned()]).collect(),
        others: others.into_iter().filter_map(elsewhere).collect(),
        prefix: raw::PREFIX,
    }
}

impl Meters {
    /// The meters of a release.
    pub fn new(spec: MeteringSpec) -> Self {
        let named = |def: &MeterDef| Arc::new(def.meter(spec.release, spec.quirks));
        let all = CATALOGUE.iter().map(named).collect();
        Self { spec, all, raw: HashMap::new(), deltas: CounterDeltas::default() }
    }

    /// All meters known so far. The list only grows.
    pub fn all(&self) -> &[Arc<Meter>] {
        &self.all
    }

    /// The meters that a filter selects.
    pub fn select(&self, filter: &MeterFilter) -> MeterSelection {
        let selected = |meter: &usize| {
            CATALOGUE[*meter].exists_in(self.spec.release) && filter.matches(&self.all[*meter].name)
        };
        let catalogue: Vec<usize> = (0..CATALOGUE.len()).filter(selected).collect();
        let add = |groups: Groups, meter: &usize| groups.union(CATALOGUE[*meter].groups);
        let groups = catalogue.iter().fold(raw::groups(filter), add);
        MeterSelection { catalogue, groups }
    }

    /// Whether a filter selects a meter that is not in the catalogue.
    pub(crate) fn selects_raw(&self, filter: &MeterFilter, meter: usize) -> bool {
        meter >= CATALOGUE.len() && filter.names(raw::PREFIX, &self.all[meter].name)
    }

    /// Forgets the counters of domains that no longer exist.
    pub fn retain(&mut self, exists: impl Fn(Uuid) -> bool) {
        self.deltas.retain(exists);
    }

    /// Appends the samples of one reading to `samples`: meters in the order of the catalogue,
    /// devices in the order of the domain's XML. Returns how many expected values libvirt omitted.
    pub fn measure(
        &mut self,
        reading: &Reading,
        resources: &mut DomainResources,
        selection: &MeterSelection,
        samples: &mut Vec<Measurement>,
    ) -> u64 {
        if reading.state.is_none() {
            // Without a state it is unknown whether the numbers are the guest's.
            return u64::try_from(selection.catalogue.len()).unwrap_or(u64::MAX);
        }
        let mut absent = 0;
        for &meter in &selection.catalogue {
            if !reading.is_shut_off() || CATALOGUE[meter].is_measured_when_stopped(&self.spec) {
                absent += self.measure_meter(meter, reading, resources, samples);
            }
        }
        if selection.groups.contains(Groups::RAW) && !reading.is_shut_off() {
            self.measure_raw(reading, resources, samples);
        }
        absent
    }

    /// Appends the samples of one catalogue meter; returns the number of absent values.
    fn measure_meter(
        &mut self,
        meter: usize,
        reading: &Reading,
        resources: &mut DomainResources,
        samples: &mut Vec<Measurement>,
    ) -> u64 {
        let domain = Arc::clone(resources.domain());
        let input = ValueInput { reading, domain: Some(&domain), quirks: self.spec.quirks };
        // Few domains have perf events enabled, and not all are Nova's: their absence is normal.
        let expected = !matches!(CATALOGUE[meter].groups, Groups::PERF | Groups::NONE);
        let mut absent = 0;
        let mut add =
            |resource: Option<Arc<Resource>>, volume: Option<Volume>| match resource.zip(volume) {
                Some((resource, volume)) => samples.push(Measurement { meter, resource, volume }),
                None => absent += u64::from(expected),
            };
        match CATALOGUE[meter].value {
            ValueReader::Vm(value) => add(Some(resources.vm()), value(&input)),
            ValueReader::Cpu(value) => {
                add(Some(resources.cpu(reading.vcpu_current)), value(&input));
            }
            ValueReader::Disk(value) => {
                for position in metered_disks(&domain, self.spec.release) {
                    let found = reading.disk(&domain.disks[position].target);
                    add(resources.disk(position), found.and_then(value).map(Volume::from));
                }
            }
            ValueReader::Disks(value) => {
                let positions = metered_disks(&domain, self.spec.release);
                let each = positions.iter().map(|position| {
                    reading.disk(&domain.disks[*position].target).and_then(value).map(i128::from)
                });
                let sum = each.sum::<Option<i128>>().map(Volume::Integer);
                add(Some(resources.all_disks(&positions)), sum);
            }
            ValueReader::Nic(value) => {
                for (position, device) in domain.nics.iter().enumerate() {
                    let found = reading.nic(&device.target);
                    add(resources.nic(position), found.and_then(value).map(Volume::from));
                }
            }
            ValueReader::NicDelta(value) => {
                for (position, device) in domain.nics.iter().enumerate() {
                    let found = reading.nic(&device.target).and_then(value);
                    let device = device.target.as_str();
                    let delta =
                        found.map(|now| self.deltas.since_last(domain.uuid, meter, device, now));
                    add(resources.nic(position), delta.map(Volume::from));
                }
            }
        }
        absent
    }

    /// Appends all raw numbers. Sources select among them later.
    fn measure_raw(
        &mut self,
        reading: &Reading,
        resources: &mut DomainResources,
        samples: &mut Vec<Measurement>,
    ) {
        let domain = Arc::clone(resources.domain());
        for number in &reading.raw {
            let meter = match self.raw.get(&number.key) {
                Some(meter) => *meter,
                None => self.add_raw(&number.key),
            };
            let device = number.device.as_deref();
            let disk = domain.disks.iter().position(|disk| Some(disk.target.as_str()) == device);
            let nic = domain.nics.iter().position(|nic| Some(nic.target.as_str()) == device);
            let resource = match number.key.split_once('.') {
                Some(("block", _)) => disk.and_then(|disk| match raw::device_part(&number.key) {
                    // Without it, all bins of a histogram would be one resource.
                    Some(part) => resources.disk_part(disk, part),
                    None => resources.disk(disk),
                }),
                Some(("net", _)) => nic.and_then(|position| resources.nic(position)),
                _ => None,
            };
            let resource = resource.unwrap_or_else(|| match raw::part(&number.key) {
                Some(part) => resources.part(part),
                None => resources.vm(),
            });
            samples.push(Measurement { meter, resource, volume: number.value });
        }
    }

    /// The index of a key's meter. Keys of different parts share one meter.
    fn add_raw(&mut self, key: &str) -> usize {
        let meter = raw::meter(key);
        let known = self.all[CATALOGUE.len()..].iter().position(|one| **one == meter);
        let at = known.map_or(self.all.len(), |position| CATALOGUE.len() + position);
        if known.is_none() {
            self.all.push(Arc::new(meter));
        }
        self.raw.insert(key.to_owned(), at);
        at
    }
}

/// Indices of the metered disks: since Ceilometer 8 not those without a medium.
fn metered_disks(domain: &Domain, release: Release) -> Vec<usize> {
    let all = domain.disks.iter().enumerate();
    let metered = all.filter(|(_, disk)| disk.has_source || release == Release::Liberty);
    metered.map(|(position, _)| position).collect()
}

/// Whether a reading has other devices than the description, which then is out of date. A reading
/// without any device of a kind proves nothing: libvirt omits what it cannot request from QEMU.
pub(crate) fn devices_differ(reading: &Reading, domain: &Domain) -> bool {
    let disks = reading.disks.iter().map(|disk| disk.name.as_str());
    let media = domain.disks.iter().filter(|disk| disk.has_source);
    let nics = reading.nics.iter().map(|nic| nic.name.as_str());
    // An empty drive may have statistics or not: it is allowed, but not required.
    has_unknown(disks.clone(), |name| domain.disks.iter().any(|disk| disk.target == name))
        || lacks(disks, media.map(|disk| disk.target.as_str()))
        || has_unknown(nics.clone(), |name| domain.nics.iter().any(|nic| nic.target == name))
        || lacks(nics, domain.nics.iter().map(|nic| nic.target.as_str()))
}

fn has_unknown<'a>(mut read: impl Iterator<Item = &'a str>, known: impl Fn(&str) -> bool) -> bool {
    read.any(|name| !known(name))
}

fn lacks<'a>(
    mut read: impl Iterator<Item = &'a str> + Clone,
    mut resources: impl Iterator<Item = &'a str>,
) -> bool {
    let all = read.clone();
    read.next().is_some() && resources.any(|name| !all.clone().any(|read| read == name))
}

/// Whether a meter is the state of an instance.
pub(super) fn is_power_state(def: &MeterDef) -> bool {
    def.name == "power.state"
}
