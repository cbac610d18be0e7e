//! The simulated domains and their numbers, as pure functions of seed and time.

use std::f64::consts::TAU;

use serde_json::{Map, Value};
use uuid::Uuid;

use nephometer_model::{
    DiskDevice, DiskReading, Domain, DomainState, Flavor, MemoryReading, NicDevice, NicReading,
    Nova, Reading, VcpuReading,
};

/// Flavors: name, virtual processors, RAM in MiB, disk in GiB.
const FLAVORS: [(&str, u16, u32, i64); 4] = [
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("gp.größer", 4, 8192, 80),
];
/// Display names of instances.
const NAMES: [&str; 8] = ["web", "db", "mail", "überwachung", "cache", "構築", "batch", "gateway"];
/// One in this many slots is vacated now and then.
const VACATED_ONE_IN: u64 = 8;
/// One in this many domains reboots now and then.
const REBOOTING_ONE_IN: u64 = 6;
/// How long a vacated slot stays empty.
const VACANT_SECONDS: f64 = 30.0;

/// A simulation: a fixed number of slots and a seed.
#[derive(Debug)]
pub(super) struct World {
    slots: u32,
    seed: u64,
}

/// The place of a domain, encoded in its uuid, so that no lookup is needed.
#[derive(Debug)]
pub(super) struct Slot;

/// The domain that occupies a slot.
#[derive(Debug)]
pub(super) struct Tenant {
    slot: u32,
    /// Counts the tenants of the slot, from 0.
    pub(super) number: u16,
    /// When it was created, in seconds since the start of the simulation; negative if before it.
    started: f64,
    key: u64,
}

impl Slot {
    /// The uuid of a tenant. Its last 12 digits are the number of the tenant and the slot.
    pub(super) fn uuid(seed: u64, slot: u32, tenant_number: u16) -> Uuid {
        let key = mix(seed, &[u64::from(slot), u64::from(tenant_number)]);
        let low = 0x8000_0000_0000_0000 | u64::from(tenant_number) << 32 | u64::from(slot);
        let high = key & 0xffff_ffff_ffff_0fff | 0x4000;
        Uuid::from_u64_pair(high, low)
    }

    /// The slot and the number of the tenant in a uuid.
    pub(super) fn of(uuid: Uuid) -> (u32, u16) {
        let (_, low) = uuid.as_u64_pair();
        let slot = u32::try_from(low & 0xffff_ffff).unwrap_or(u32::MAX);
        (slot, u16::try_from(low >> 32 & 0xffff).unwrap_or(u16::MAX))
    }
}

impl World {
    /// A simulation with this many slots, all occupied at the start.
    pub(super) fn new(slots: u32, seed: u64) -> Self {
        Self { slots, seed }
    }

    /// The number of slots.
    pub(super) fn slots(&self) -> usize {
        usize::try_from(self.slots).unwrap_or(usize::MAX)
    }

    /// The tenant of a slot; `None` while it is vacant.
    pub(super) fn tenant(&self, slot: u32, seconds: f64) -> Option<Tenant> {
        let character = mix(self.seed, &[u64::from(slot)]);
        // The first slot is never vacated, so that the smallest simulation has a domain.
        let (tenant_number, started) = if slot > 0 && character.is_multiple_of(VACATED_ONE_IN) {
            let period = 240.0 + 600.0 * fraction(character, 1);
            // The first tenant leaves somewhere within the first period.
            let since = seconds + (period - VACANT_SECONDS) * fraction(character, 2);
            if since % period > period - VACANT_SECONDS {
                return None;
            }
            let tenant_number = (since / period).floor();
            (
                whole(tenant_number),
                if tenant_number > 0.0 { seconds - since % period } else { -86_400.0 },
            )
        } else {
            (0, -86_400.0 * (1.0 + fraction(character, 3)))
        };
        let tenant_number = u16::try_from(tenant_number).ok()?;
        let key = mix(self.seed, &[u64::from(slot), u64::from(tenant_number)]);
        Some(Tenant { slot, number: tenant_number, started, key })
    }

    /// The description of a tenant. Independent of the time.
    pub(super) fn describe(&self, tenant: &Tenant) -> Domain {
        let key = tenant.key;
        let (flavor, vcpus, ram, disk) = pick(&FLAVORS, key, 10);
        let port = format!("{:010x}", key >> 24);
        // Differs between successive tenants of a slot.
        let target = format!("tap{}-{}", &port[..8], &port[8..]);
        let mac =
            format!("fa:16:3e:{:02x}:{:02x}:{:02x}", key & 0xff, key >> 8 & 0xff, key >> 16 & 0xff);
        let disk_count = 1 + usize::from(fraction(key, 11) < 0.4);
        let targets = ["vda", "vdb"].into_iter().take(disk_count);
        let mut parameters = Map::new();
        parameters
            .insert("interfaceid".to_owned(), Slot::uuid(key, tenant.slot, 0).to_string().into());
        parameters.insert("bridge".to_owned(), Value::Null);
        // One in ten has no Nova metadata.
        let owned = fraction(key, 12) >= 0.1;
        Domain {
            uuid: Slot::uuid(self.seed, tenant.slot, tenant.number),
            name: format!(
                "instance-{:08x}",
                u64::from(tenant.number) << 24 | u64::from(tenant.slot)
            ),
            os_type: Some("hvm".to_owned()),
            architecture: Some("x86_64".to_owned()),
            nova: owned.then(|| nova(tenant, (flavor, *vcpus, *ram, *disk))),
            vcpus: Some(u64::from(*vcpus)),
            memory_kib: Some(u64::from(*ram) * 1024),
            disks: targets
                .map(|dev| DiskDevice { target: dev.to_owned(), has_source: true })
                .collect(),
            nics: vec![NicDevice { target, mac, filterref: None, parameters }],
            nics_without_target: 0,
        }
    }

    /// The statistics of a tenant. Counters grow, except for resets by reboots.
    pub(super) fn read(&self, tenant: &Tenant, domain: &Domain, seconds: f64) -> Reading {
        let key = tenant.key;
        let up = uptime(tenant, seconds);
        let vcpus = domain.vcpus.unwrap_or(1);
        let vcpu = |index| {
            // Stays below 100% even at the peak of the oscillation.
            let load = Flow::new(key, 20 + index, 0.02, 0.55);
            VcpuReading { index, time: Some(load.total(up, 1e9)), wait: Some(load.total(up, 2e6)) }
        };
        let vcpus: Vec<VcpuReading> = (0..vcpus).map(vcpu).collect();
        let disk = |(index, device): (u64, &DiskDevice)| {
            let read = Flow::new(key, 40 + 2 * index, 1.0, 200.0);
            let write = Flow::new(key, 41 + 2 * index, 0.5, 80.0);
            DiskReading {
                name: device.target.clone(),
                read_requests: Some(read.total(up, 1.0)),
                read_bytes: Some(read.total(up, 1.0) * 4096),
                read_time: Some(read.total(up, 1.0) * 90_000),
                write_requests: Some(write.total(up, 1.0)),
                write_bytes: Some(write.total(up, 1.0) * 8192),
                write_time: Some(write.total(up, 1.0) * 250_000),
                capacity: Some(20 << 30),
                // Files grow as the guest writes.
                allocation: Some((4 << 30) + write.total(up, 1.0) * 512),
                physical: Some((4 << 30) + write.total(up, 1.0) * 512),
            }
        };
        let nic = |(index, device): (u64, &NicDevice)| {
            let received = Flow::new(key, 60 + 2 * index, 2.0, 900.0);
            let sent = Flow::new(key, 61 + 2 * index, 1.0, 700.0);
            NicReading {
                name: device.target.clone(),
                rx_bytes: Some(received.total(up, 1.0) * 420),
                rx_packets: Some(received.total(up, 1.0)),
                rx_errors: Some(0),
                rx_drops: Some(received.total(up, 0.001)),
                tx_bytes: Some(sent.total(up, 1.0) * 610),
                tx_packets: Some(sent.total(up, 1.0)),
                tx_errors: Some(0),
                tx_drops: Some(0),
            }
        };
        Reading {
            uuid: domain.uuid,
            state: Some(state(tenant)),
            cpu_time: Some(vcpus.iter().filter_map(|vcpu| vcpu.time).sum()),
            vcpu_current: domain.vcpus,
            vcpu_maximum: domain.vcpus,
            vcpus,
            memory: memory(key, domain.memory_kib.unwrap_or(0), seconds),
            disks: (0..).zip(&domain.disks).map(disk).collect(),
            nics: (0..).zip(&domain.nics).map(nic).collect(),
            ..Reading::default()
        }
    }
}

fn nova(tenant: &Tenant, (flavor, vcpus, ram, disk): (&str, u16, u32, i64)) -> Nova {
    let key = tenant.key;
    // Few projects with a few users each.
    let (project_number, user_number) = (mix(key, &[13]) % 7, mix(key, &[14]) % 3);
    let project = mix(0, &[project_number]);
    let user = mix(project, &[user_number]);
    let from_image = fraction(key, 15) < 0.8;
    Nova {
        name: format!("{}-{:02}", pick(&NAMES, key, 16), tenant.slot),
        user_id: format!("{user:016x}{:016x}", mix(user, &[])),
        project_id: format!("{project:016x}{:016x}", mix(project, &[])),
        user_name: Some(format!("user-{user_number}")),
        project_name: Some(format!("project-{project_number}")),
        flavor: Flavor {
            id: None,
            name: flavor.to_owned(),
            vcpus: i64::from(vcpus),
            ram: i64::from(ram),
            disk,
            ephemeral: 0,
            swap: 0,
            extra_specs: None,
        },
        image: from_image.then(|| "155d900f-4e14-4e4c-a73d-069cbf4541e6".to_owned()),
        image_meta: None,
    }
}

fn state(tenant: &Tenant) -> DomainState {
    // The first one runs, so that the smallest simulation moves.
    if tenant.slot > 0 && fraction(tenant.key, 17) < 0.04 {
        DomainState::Paused
    } else {
        DomainState::Running
    }
}

/// Seconds since the domain was created or rebooted.
fn uptime(tenant: &Tenant, seconds: f64) -> f64 {
    let age = seconds - tenant.started;
    if state(tenant) == DomainState::Paused {
        // Paused since before the start: its counters do not move.
        return 3600.0;
    }
    if mix(tenant.key, &[18]).is_multiple_of(REBOOTING_ONE_IN) {
        let period = 400.0 + 1200.0 * fraction(tenant.key, 19);
        return age % period;
    }
    age
}

/// Memory: usage oscillates between a quarter and three quarters.
fn memory(key: u64, total: u64, seconds: f64) -> MemoryReading {
    let swing = 0.5
        + 0.25 * (TAU * (seconds / (300.0 + 600.0 * fraction(key, 30)) + fraction(key, 31))).sin();
    let available = total - total / 32;
    let usable = whole(swing * float(available));
    MemoryReading {
        actual: Some(total),
        maximum: Some(total),
        swap_in: Some(0),
        swap_out: Some(0),
        available: Some(available),
        unused: Some(usable - usable / 4),
        usable: Some(usable),
        rss: Some(available - usable + 40_960),
    }
}

/// A counter whose rate oscillates around its mean and is always positive.
struct Flow {
    mean: f64,
    frequency: f64,
    phase: f64,
}

impl Flow {
    /// The mean rate is between `least` and `most` per second; small rates are more frequent.
    fn new(key: u64, salt: u64, least: f64, most: f64) -> Self {
        let size = fraction(key, 100 + salt);
        Self {
            mean: least + (most - least) * size * size * size,
            frequency: TAU / (60.0 + 600.0 * fraction(key, 200 + salt)),
            phase: TAU * fraction(key, 300 + salt),
        }
    }

    /// The counter after this many seconds: the integral of `mean * (1 + 0.8 sin)`, which is
    /// monotonic.
    fn total(&self, seconds: f64, scale: f64) -> u64 {
        let swing = self.phase.cos() - (self.frequency * seconds + self.phase).cos();
        whole(scale * self.mean * (seconds + 0.8 / self.frequency * swing))
    }
}

fn pick<T>(from: &[T], key: u64, salt: u64) -> &T {
    let at = mix(key, &[salt]) % u64::try_from(from.len()).unwrap_or(1);
    &from[usize::try_from(at).unwrap_or(0)]
}

/// A pseudorandom number in `0.0..1.0`.
fn fraction(key: u64, salt: u64) -> f64 {
    float(mix(key, &[salt]) >> 11) / float(1 << 53)
}

/// A hash of seed and words: one step of splitmix64 per word.
fn mix(seed: u64, words: &[u64]) -> u64 {
    let step = |state: u64, word: &u64| {
        let mut z =
            (state ^ word.wrapping_mul(0xd6e8_feb8_6659_fd93)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    // An extra word, so that without words the result is not the seed.
    words.iter().chain(&[0x5eed]).fold(seed, step)
}

#[expect(clippy::cast_precision_loss, reason = "simulated numbers stay below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and nothing simulated is below 0"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(reading: &Reading) -> Vec<u64> {
        let mut all = vec![reading.cpu_time.unwrap()];
        for disk in &reading.disks {
            all.extend([disk.read_bytes, disk.read_requests, disk.write_bytes].map(Option::unwrap));
        }
        for nic in &reading.nics {
            all.extend([nic.rx_bytes, nic.rx_packets, nic.tx_bytes].map(Option::unwrap));
        }
        all
    }

    #[test]
    fn the_same_seed_makes_the_same_world() {
        let (one, two, other) = (World::new(40, 5), World::new(40, 5), World::new(40, 6));
        for slot in 0..40 {
            let tenant = one.tenant(slot, 100.0).unwrap_or_else(|| one.tenant(slot, 0.0).unwrap());
            let domain = one.describe(&tenant);
            assert_eq!(domain, two.describe(&tenant));
            assert_eq!(one.read(&tenant, &domain, 100.0), two.read(&tenant, &domain, 100.0));
            assert_eq!(Slot::of(domain.uuid), (slot, tenant.number));
            assert_ne!(domain.uuid, other.describe(&other.tenant(slot, 0.0).unwrap()).uuid);
        }
    }

    #[test]
    fn counters_grow_except_for_resets_and_domains_come_and_go() {
        let world = World::new(100, 1);
        let (mut resets, mut left, mut came, mut steps) = (0, 0, 0, 0);
        for slot in 0..100 {
            let mut last: Option<(u16, Vec<u64>)> = None;
            for cycle in 0..360 {
                let seconds = f64::from(cycle) * 10.0;
                let Some(tenant) = world.tenant(slot, seconds) else {
                    assert!(cycle > 0, "all slots are occupied at the start");
                    left += usize::from(last.take().is_some());
                    continue;
                };
                let domain = world.describe(&tenant);
                let now = counters(&world.read(&tenant, &domain, seconds));
                if let Some((tenant_number, before)) = &last {
                    assert_eq!(
                        *tenant_number, tenant.number,
                        "a slot is vacant between two tenants"
                    );
                    let grew = before.iter().zip(&now).all(|(before, now)| before <= now);
                    let fell =
                        before.iter().zip(&now).all(|(before, now)| before > now || *now == 0);
                    assert!(grew || fell, "{slot} at {seconds}: {before:?} {now:?}");
                    resets += usize::from(!grew);
                    steps += 1;
                } else if cycle > 0 {
                    came += 1;
                    assert!(seconds - tenant.started < 11.0, "a new domain starts at 0");
                }
                last = Some((tenant.number, now));
            }
        }
        assert!(resets > 10 && resets * 50 < steps, "{resets} resets in {steps} steps");
        assert!(left > 10 && came > 10, "{left} left, {came} came");
    }

    #[test]
    fn numbers_are_plausible() {
        let world = World::new(500, 1);
        let (mut ascii, mut owned, mut running) = (0, 0, 0);
        for slot in 0..500 {
            let tenant = world.tenant(slot, 0.0).unwrap();
            let domain = world.describe(&tenant);
            let (first, second) =
                (world.read(&tenant, &domain, 50.0), world.read(&tenant, &domain, 60.0));
            let spent = second.cpu_time.unwrap().saturating_sub(first.cpu_time.unwrap());
            assert!(spent <= 10_000_000_000 * domain.vcpus.unwrap(), "{slot}: {spent} ns in 10 s");
            let memory = first.memory;
            assert!(memory.usable < memory.available && memory.available < memory.actual);
            running += usize::from(first.state == Some(DomainState::Running));
            owned += usize::from(domain.nova.is_some());
            ascii += usize::from(domain.nova.is_none_or(|nova| nova.name.is_ascii()));
        }
        assert!((450..500).contains(&running) && (400..490).contains(&owned));
        assert!((200..480).contains(&ascii), "some names are ASCII, some are not");
    }
}
