//! Computes meter values from readings. Pure; a number that libvirt omitted makes no value.

use nephometer_model::{DiskReading, Domain, Flavor, MemoryReading, Quirks, Reading, Volume};

/// What a value is computed from.
pub(super) struct ValueInput<'a> {
    pub(super) reading: &'a Reading,
    pub(super) domain: Option<&'a Domain>,
    pub(super) quirks: Quirks,
}

/// Time of all virtual processors, running and waiting. Holes in their numbering are normal; if
/// fewer are complete than the domain has, the total is used.
pub(super) fn cpu_time(input: &ValueInput<'_>) -> Option<Volume> {
    let reading = input.reading;
    let maximum = reading.vcpu_maximum.unwrap_or(0);
    let complete = reading
        .vcpus
        .iter()
        .filter(|vcpu| vcpu.index < maximum)
        .filter_map(|vcpu| Some(u128::from(vcpu.time?) + u128::from(vcpu.wait?)));
    let (count, sum) = complete.fold((0_u64, 0_u128), |(count, sum), time| (count + 1, sum + time));
    match reading.vcpu_current {
        Some(current) if current != count => reading.cpu_time.map(Volume::from),
        // Ceilometer reports 0 here, but without a processor there is no time to report.
        None if count == 0 => None,
        _ => i128::try_from(sum).ok().map(Volume::Integer),
    }
}

/// Time of the whole domain. Of one that is shut off libvirt reports libvirtd's own time here, but
/// 0 from the call that Ceilometer makes.
pub(super) fn cpu_total(input: &ValueInput<'_>) -> Option<Volume> {
    match input.reading.is_shut_off() {
        true => Some(Volume::Integer(0)),
        false => input.reading.cpu_time.map(Volume::from),
    }
}

/// The current memory of the domain; of one that is shut off, its maximum.
pub(super) fn memory(input: &ValueInput<'_>) -> Option<Volume> {
    let memory = &input.reading.memory;
    let kib = if input.reading.is_shut_off() { memory.maximum } else { memory.actual };
    kib.map(mib)
}

/// Memory that is not available without swapping; with an older balloon driver, memory that is not
/// unused. Negative if the guest's numbers are inconsistent.
pub(super) fn memory_usage(input: &ValueInput<'_>) -> Option<Volume> {
    let memory = &input.reading.memory;
    let free = memory.usable.or(memory.unused)?;
    Some(quotient(i128::from(memory.available?) - i128::from(free)))
}

/// The same in Ceilometer 5: memory that is not unused, in whole MiB, rounded down.
pub(super) fn memory_usage_whole(input: &ValueInput<'_>) -> Option<Volume> {
    let memory = &input.reading.memory;
    let (available, unused) = (memory.available?, memory.unused?);
    if input.quirks.unused_zero && (available == 0 || unused == 0) {
        return None;
    }
    Some(Volume::Integer((i128::from(available) - i128::from(unused)).div_euclid(1024)))
}

/// Swap in one direction; requires that both are known.
pub(super) fn swap(
    reading: &Reading,
    direction: fn(&MemoryReading) -> Option<u64>,
) -> Option<Volume> {
    let memory = &reading.memory;
    memory.swap_in.and(memory.swap_out).and(direction(memory)).map(mib)
}

/// The image file may be larger than the disk in it.
pub(super) fn capacity(disk: &DiskReading) -> Option<u64> {
    Some(disk.capacity?.max(disk.physical.unwrap_or(0)))
}

/// A size of the flavor; `None` if the domain is not Nova's.
pub(super) fn flavor(input: &ValueInput<'_>, size: fn(&Flavor) -> i64) -> Option<Volume> {
    let nova = input.domain?.nova.as_ref()?;
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

    fn input(reading: &Reading) -> ValueInput<'_> {
        ValueInput { reading, domain: None, quirks: Quirks::default() }
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
    fn cpu_time_matches_ceilometer() {
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
            assert_eq!(cpu_time(&input(&reading)), expected.map(Volume::Integer), "{reading:?}");
            assert_eq!(cpu_total(&input(&reading)), total.map(Volume::from));
        }
    }

    #[test]
    fn memory_usage_is_a_float_of_mib() {
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
            assert_eq!(memory_usage(&input(&reading)), expected.map(Volume::Float));
            assert_eq!(memory_usage_whole(&input(&reading)), liberty.map(Volume::Integer));
            let quirks = Quirks { unused_zero: true, ..Quirks::default() };
            let quirky = memory_usage_whole(&ValueInput { quirks, ..input(&reading) });
            assert_eq!(quirky.is_none(), liberty.is_none() || unused == Some(0));
        }
        assert_eq!(mib(54_272), Volume::Float(53.0));
    }

    #[test]
    fn swap_requires_both_directions() {
        let mut reading = Reading::default();
        reading.memory.swap_in = Some(2048);
        assert_eq!(swap(&reading, |memory| memory.swap_in), None);
        reading.memory.swap_out = Some(0);
        assert_eq!(swap(&reading, |memory| memory.swap_in), Some(Volume::Float(2.0)));
        assert_eq!(swap(&reading, |memory| memory.swap_out), Some(Volume::Float(0.0)));
    }

    #[test]
    fn memory_of_a_stopped_domain_is_its_maximum() {
        let memory_reading = MemoryReading {
            actual: Some(1024),
            maximum: Some(2_097_152),
            ..MemoryReading::default()
        };
        let mut reading = Reading { memory: memory_reading, ..Reading::default() };
        assert_eq!(memory(&input(&reading)), Some(Volume::Float(1.0)));
        reading.state = Some(DomainState::ShutOff);
        assert_eq!(memory(&input(&reading)), Some(Volume::Float(2048.0)));
        assert_eq!(cpu_total(&input(&reading)), Some(Volume::Integer(0)));
    }

    #[test]
    fn capacity_is_at_least_the_size_of_the_file() {
        let disk = |capacity, physical| DiskReading { capacity, physical, ..Default::default() };
        assert_eq!(capacity(&disk(Some(5), Some(7))), Some(7));
        assert_eq!(capacity(&disk(Some(5), None)), Some(5));
        assert_eq!(capacity(&disk(None, Some(7))), None);
    }
}
