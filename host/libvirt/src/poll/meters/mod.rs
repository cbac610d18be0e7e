//! What is metered: which meters there are, and how samples come out of a reading.
//!
//! Pure, but for what growth remembers. Names, types, units and values are those of Ceilometer's
//! compute agent in the release that is stood in for. A number that libvirt did not give makes no
//! sample: missing is not zero.

mod catalogue;
mod growth;
mod raw;
mod values;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use self::catalogue::{Reads, Stopped};
use self::growth::Growth;
use self::values::Of;
use crate::resource_metadata::Described;
use nephometer_config::{MeterFilter, MeteringSpec};
use nephometer_model::{Domain, Groups, Meter, Reading, Release, Resource, Volume};

pub use self::catalogue::{CATALOGUE, MeterDef, is_given};
pub use self::raw::meter as raw_meter;

/// A sample that has no id yet.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Position of the meter in [`Meters::all`].
    pub meter: usize,
    /// What was measured.
    pub resource: Arc<Resource>,
    /// The value.
    pub volume: Volume,
}

/// What somebody wants of each reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Positions in [`CATALOGUE`], ascending.
    catalogue: Vec<usize>,
    /// The statistics that these are made from.
    groups: Groups,
}

/// The meters of one poll task.
#[derive(Debug)]
pub struct Meters {
    rules: MeteringSpec,
    /// Those of the catalogue in its order, then those `libvirt.*` that were seen.
    all: Vec<Arc<Meter>>,
    /// By libvirt's key.
    raw: HashMap<String, usize>,
    growth: Growth,
}

impl Wanted {
    /// What either wants.
    pub fn union(mut self, other: &Self) -> Self {
        self.catalogue.extend(&other.catalogue);
        self.catalogue.sort_unstable();
        self.catalogue.dedup();
        Self { groups: self.groups.union(other.groups), ..self }
    }

    /// Whether a meter of the catalogue is wanted.
    pub fn has(&self, meter: usize) -> bool {
        self.catalogue.binary_search(&meter).is_ok()
    }

    /// The statistics to ask for.
    pub fn groups(&self) -> Groups {
        self.groups
    }
}

impl Meters {
    /// Those of a release.
    pub fn new(rules: MeteringSpec) -> Self {
        let named = |line: &MeterDef| Arc::new(line.meter(rules.release, rules.quirks));
        let all = CATALOGUE.iter().map(named).collect();
        Self { rules, all, raw: HashMap::new(), growth: Growth::default() }
    }

    /// All that are known by now. It only grows.
    pub fn all(&self) -> &[Arc<Meter>] {
        &self.all
    }

    /// What a source wants.
    pub fn wanted(&self, filter: &MeterFilter) -> Wanted {
        let there = |meter: &usize| {
            CATALOGUE[*meter].is_in(self.rules.release) && filter.matches(&self.all[*meter].name)
        };
        let catalogue: Vec<usize> = (0..CATALOGUE.len()).filter(there).collect();
        let made_from = |groups: Groups, meter: &usize| groups.union(CATALOGUE[*meter].groups);
        let groups = catalogue.iter().fold(raw::groups(filter), made_from);
        Wanted { catalogue, groups }
    }

    /// Whether a source wants a meter that is none of the catalogue's.
    pub(crate) fn wants_raw(&self, filter: &MeterFilter, meter: usize) -> bool {
        meter >= CATALOGUE.len() && filter.names(raw::PREFIX, &self.all[meter].name)
    }

    /// Forgets what was measured of all domains but these.
    pub fn retain(&mut self, there: impl Fn(Uuid) -> bool) {
        self.growth.retain(there);
    }

    /// Adds the samples of one reading to `samples`, meter by meter in the order of the catalogue,
    /// devices in the order of the domain's XML. How many numbers these meters need and libvirt did
    /// not give.
    pub fn measure(
        &mut self,
        reading: &Reading,
        described: &mut Described,
        wanted: &Wanted,
        samples: &mut Vec<Measured>,
    ) -> u64 {
        if reading.state.is_none() {
            // Nothing says whether the numbers are the guest's.
            return u64::try_from(wanted.catalogue.len()).unwrap_or(u64::MAX);
        }
        let mut absent = 0;
        for &meter in &wanted.catalogue {
            if !reading.is_shut_off() || self.is_of_stopped(&CATALOGUE[meter]) {
                absent += self.line(meter, reading, described, samples);
            }
        }
        if wanted.groups.contains(Groups::RAW) && !reading.is_shut_off() {
            self.raw(reading, described, samples);
        }
        absent
    }

    fn is_of_stopped(&self, line: &MeterDef) -> bool {
        match line.stopped {
            Stopped::Never => false,
            Stopped::Reported => self.rules.report_stopped_instance_metrics,
            Stopped::Always => true,
            Stopped::Quirk(has) => has(&self.rules.quirks),
        }
    }

    /// One line of the catalogue.
    fn line(
        &mut self,
        meter: usize,
        reading: &Reading,
        described: &mut Described,
        samples: &mut Vec<Measured>,
    ) -> u64 {
        let domain = Arc::clone(described.domain());
        let of = Of { reading, domain: Some(&domain), quirks: self.rules.quirks };
        // Few domains have events of the processor enabled, and not all are Nova's.
        let expected = !matches!(CATALOGUE[meter].groups, Groups::PERF | Groups::NONE);
        let mut absent = 0;
        let mut take =
            |resource: Option<Arc<Resource>>, volume: Option<Volume>| match resource.zip(volume) {
                Some((resource, volume)) => samples.push(Measured { meter, resource, volume }),
                None => absent += u64::from(expected),
            };
        match CATALOGUE[meter].value {
            Reads::Vm(value) => take(Some(described.vm()), value(&of)),
            Reads::Cpu(value) => take(Some(described.cpu(reading.vcpu_current)), value(&of)),
            Reads::Disk(value) => {
                for position in media(&domain, self.rules.release) {
                    let found = reading.disk(&domain.disks[position].target);
                    take(described.disk(position), found.and_then(value).map(Volume::from));
                }
            }
            Reads::Disks(value) => {
                let media = media(&domain, self.rules.release);
                let each = media.iter().map(|position| {
                    reading.disk(&domain.disks[*position].target).and_then(value).map(i128::from)
                });
                let sum = each.sum::<Option<i128>>().map(Volume::Integer);
                take(Some(described.all_disks(&media)), sum);
            }
            Reads::Nic(value) => {
                for (position, device) in domain.nics.iter().enumerate() {
                    let found = reading.nic(&device.target);
                    take(described.nic(position), found.and_then(value).map(Volume::from));
                }
            }
            Reads::NicGrowth(value) => {
                for (position, device) in domain.nics.iter().enumerate() {
                    let found = reading.nic(&device.target).and_then(value);
                    let device = device.target.as_str();
                    let grown =
                        found.map(|now| self.growth.since_last(domain.uuid, meter, device, now));
                    take(described.nic(position), grown.map(Volume::from));
                }
            }
        }
        absent
    }

    /// All numbers as libvirt calls them. Which source wants which is for later to say.
    fn raw(&mut self, reading: &Reading, described: &mut Described, samples: &mut Vec<Measured>) {
        let domain = Arc::clone(described.domain());
        for number in &reading.raw {
            let meter = match self.raw.get(&number.key) {
                Some(meter) => *meter,
                None => self.add_raw(&number.key),
            };
            let device = number.device.as_deref();
            let disk = domain.disks.iter().position(|disk| Some(disk.target.as_str()) == device);
            let nic = domain.nics.iter().position(|nic| Some(nic.target.as_str()) == device);
            let resource = match number.key.split_once('.') {
                Some(("block", _)) => disk.and_then(|position| described.disk(position)),
                Some(("net", _)) => nic.and_then(|position| described.nic(position)),
                _ => None,
            };
            let resource = resource.unwrap_or_else(|| match raw::part(&number.key) {
                Some(part) => described.part(part),
                None => described.vm(),
            });
            samples.push(Measured { meter, resource, volume: number.value });
        }
    }

    /// Keys of different parts are one meter.
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

/// Positions of the disks that are metered: since Ceilometer 8 not those without a medium.
fn media(domain: &Domain, release: Release) -> Vec<usize> {
    let all = domain.disks.iter().enumerate();
    let metered = all.filter(|(_, disk)| disk.has_source || release == Release::Liberty);
    metered.map(|(position, _)| position).collect()
}

/// Whether the devices in a reading are others than those of the description, which then is out
/// of date. A reading without any device of a kind says nothing: libvirt leaves out what it
/// cannot ask QEMU for.
pub(crate) fn devices_differ(reading: &Reading, domain: &Domain) -> bool {
    let disks = reading.disks.iter().map(|disk| disk.name.as_str());
    let media = domain.disks.iter().filter(|disk| disk.has_source);
    let nics = reading.nics.iter().map(|nic| nic.name.as_str());
    // An empty drive has statistics, but no medium: it is known, and not required.
    differ(disks.clone(), |name| domain.disks.iter().any(|disk| disk.target == name))
        || lacks(disks, media.map(|disk| disk.target.as_str()))
        || differ(nics.clone(), |name| domain.nics.iter().any(|nic| nic.target == name))
        || lacks(nics, domain.nics.iter().map(|nic| nic.target.as_str()))
}

fn differ<'a>(mut read: impl Iterator<Item = &'a str>, known: impl Fn(&str) -> bool) -> bool {
    read.any(|name| !known(name))
}

fn lacks<'a>(
    mut read: impl Iterator<Item = &'a str> + Clone,
    mut described: impl Iterator<Item = &'a str>,
) -> bool {
    let all = read.clone();
    read.next().is_some() && described.any(|name| !all.clone().any(|read| read == name))
}

/// Whether a line is the one that tells the state of an instance.
pub(super) fn is_power_state(line: &MeterDef) -> bool {
    line.name == "power.state"
}
