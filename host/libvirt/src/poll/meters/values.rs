//! How values come out of a reading. A number that libvirt did not give makes no value.

use nephometer_model::{DiskReading, Domain, Flavor, MemoryReading, Quirks, Reading, Volume};

/// What a value is made from.
pub(super) struct Of<'a> {
    pub(super) reading: &'a Reading,
    pub(super) domain: Option<&'a Domain>,
    pub(super) quirks: Quirks,
}

/// Time of all processors, running and waiting. Holes in their numbering are normal; if the
/// complete ones are not as many as there should be, the total is taken.
pub(super) fn cpu_time(of: &Of<'_>) -> Option<Volume> {
    let reading = of.reading;
    let maximum = reading.vcpu_maximum.unwrap_or(0);
    let complete = reading
        .vcpus
        .iter()
        .filter(|vcpu| vcpu.index < maximum)
        .filter_map(|vcpu| Some(u128::from(vcpu.time?) + u128::from(vcpu.wait?)));
    let (count, sum) = complete.fold((0_u64, 0_u128), |(count, sum), time| (count + 1, sum + time));
    match reading.vcpu_current {
        Some(current) if current != count => reading.cpu_time.map(Volume::from),
        // Upstream gives 0 here: no processor is known, and so no time.
        None if count == 0 => None,
        _ => i128::try_from(sum).ok().map(Volume::Integer),
    }
}

/// Time of the whole domain. For one that is shut off the number is libvirtd's own, and upstream's
/// other call says 0.
pub(super) fn cpu_total(of: &Of<'_>) -> Option<Volume> {
    match of.reading.is_shut_off() {
        true => Some(Volume::Integer(0)),
        false => of.reading.cpu_time.map(Volume::from),
    }
}

/// What the domain has now; of one that is shut off, what it may have.
pub(super) fn memory(of: &Of<'_>) -> Option<Volume> {
    let memory = &of.reading.memory;
    let kib = if of.reading.is_shut_off() { memory.maximum } else { memory.actual };
    kib.map(mib)
}

/// What the guest cannot get without swapping; by an older driver, what it does not leave unused.
/// Below 0 if the guest's own numbers do not fit.
pub(super) fn memory_usage(of: &Of<'_>) -> Option<Volume> {
    let memory = &of.reading.memory;
    let free = memory.usable.or(memory.unused)?;
    Some(quotient(i128::from(memory.available?) - i128::from(free)))
}

/// The same in Ceilometer 5: what the guest does not leave unused, in whole numbers, rounded down.
pub(super) fn memory_usage_whole(of: &Of<'_>) -> Option<Volume> {
    let memory = &of.reading.memory;
    let (available, unused) = (memory.available?, memory.unused?);
    if of.quirks.unused_zero && (available == 0 || unused == 0) {
        return None;
    }
    Some(Volume::Integer((i128::from(available) - i128::from(unused)).div_euclid(1024)))
}

/// Both directions are known, or neither is taken.
pub(super) fn swap(
    reading: &Reading,
    direction: fn(&MemoryReading) -> Option<u64>,
) -> Option<Volume> {
    let memory = &reading.memory;
    memory.swap_in.and(memory.swap_out).and(direction(memory)).map(mib)
}

/// A file may be larger than what the guest sees of it.
pub(super) fn capacity(disk: &DiskReading) -> Option<u64> {
    Some(disk.capacity?.max(disk.physical.unwrap_or(0)))
}

/// What Nova gave the instance.
pub(super) fn flavor(of: &Of<'_>, size: fn(&Flavor) -> i64) -> Option<Volume> {
    let nova = of.domain?.nova.as_ref()?;
    Some(Volume::Integer(size(&nova.flavor).into()))
}

pub(super) fn mib(kib: u64) -> Volume {
    quotient(i128::from(kib))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are below 2^53 KiB, and Python's division is of doubles too"
)]
fn quotient(kib: i128) -> Volume {
    Volume::Float(kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::{DomainState, VcpuReading};

    fn of(reading: &Reading) -> Of<'_> {
        Of { reading, domain: None, quirks: Quirks::default() }
    }

    fn vcpus(times: &[(u64, u64, Option<u64>)]) -> Vec<VcpuReading> {
        let one = |(index, time, wait): &(u64, u64, Option<u64>)| VcpuReading {
            index: *index,
            time: Some(*time),
            wait: *wait,
        };
        times.iter().map(one).collect()
    }

    #[test]
    fn cpu_time_is_reckoned_as_upstream_does() {
        let two = [(0, 10, Some(1)), (1, 20, Some(2))];
        let holes = [(0, 10, Some(1)), (2, 20, Some(2))];
        let no_wait = [(0, 10, None), (1, 20, None)];
        for (current, maximum, times, total, expected) in [
            (Some(2), Some(2), &two[..], Some(99), Some(33)),
            (Some(2), Some(4), &holes[..], Some(99), Some(33)),
            (Some(1), Some(2), &two[..], Some(99), Some(99)),
            (Some(2), Some(2), &no_wait[..], Some(99), Some(99)),
            (None, Some(1), &two[..1], Some(99), Some(11)),
            (None, None, &[][..], Some(77), None),
            (Some(2), Some(2), &no_wait[..], None, None),
        ] {
            let reading = Reading {
                vcpu_current: current,
                vcpu_maximum: maximum,
                vcpus: vcpus(times),
                cpu_time: total,
                ..Reading::default()
            };
            assert_eq!(cpu_time(&of(&reading)), expected.map(Volume::Integer), "{reading:?}");
            assert_eq!(cpu_total(&of(&reading)), total.map(Volume::from));
        }
    }

    #[test]
    fn memory_is_in_floats_of_mib() {
        for (available, usable, unused, expected, liberty) in [
            (Some(1_000_000), Some(600_000), Some(300_000), Some(390.625), Some(683)),
            (None, Some(1), None, None, None),
            (Some(1000), None, Some(0), Some(0.976_562_5), Some(0)),
            (Some(1000), None, Some(1500), Some(-0.488_281_25), Some(-1)),
            (Some(1000), None, None, None, None),
        ] {
            let mut reading = Reading::default();
            reading.memory.available = available;
            reading.memory.usable = usable;
            reading.memory.unused = unused;
            assert_eq!(memory_usage(&of(&reading)), expected.map(Volume::Float));
            assert_eq!(memory_usage_whole(&of(&reading)), liberty.map(Volume::Integer));
            let quirks = Quirks { unused_zero: true, ..Quirks::default() };
            let quirky = memory_usage_whole(&Of { quirks, ..of(&reading) });
            assert_eq!(quirky.is_none(), liberty.is_none() || unused == Some(0));
        }
        assert_eq!(mib(54_272), Volume::Float(53.0));
    }

    #[test]
    fn swap_is_known_in_both_directions_or_not_at_all() {
        let mut reading = Reading::default();
        reading.memory.swap_in = Some(2048);
        assert_eq!(swap(&reading, |memory| memory.swap_in), None);
        reading.memory.swap_out = Some(0);
        assert_eq!(swap(&reading, |memory| memory.swap_in), Some(Volume::Float(2.0)));
        assert_eq!(swap(&reading, |memory| memory.swap_out), Some(Volume::Float(0.0)));
    }

    #[test]
    fn a_stopped_domain_has_the_memory_that_it_may_have() {
        let memory_reading = MemoryReading {
            actual: Some(1024),
            maximum: Some(2_097_152),
            ..MemoryReading::default()
        };
        let mut reading = Reading { memory: memory_reading, ..Reading::default() };
        assert_eq!(memory(&of(&reading)), Some(Volume::Float(1.0)));
        reading.state = Some(DomainState::ShutOff);
        assert_eq!(memory(&of(&reading)), Some(Volume::Float(2048.0)));
        assert_eq!(cpu_total(&of(&reading)), Some(Volume::Integer(0)));
    }

    #[test]
    fn a_file_may_be_larger_than_its_capacity() {
        let disk = |capacity, physical| DiskReading { capacity, physical, ..Default::default() };
        assert_eq!(capacity(&disk(Some(5), Some(7))), Some(7));
        assert_eq!(capacity(&disk(Some(5), None)), Some(5));
        assert_eq!(capacity(&disk(None, Some(7))), None);
    }
}
