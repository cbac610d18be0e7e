//! Meters `libvirt.*`: every number of libvirt's statistics under its own name. Ceilometer has none
//! of them; only sources that name them get them.

use nephometer_config::MeterFilter;
use nephometer_model::{Groups, Meter, MeterType};

/// The prefix of their names.
pub const PREFIX: &str = "libvirt.";

const GROUPS: [(&str, Groups); 12] = [
    ("state", Groups::NONE),
    ("cpu", Groups::CPU),
    ("vcpu", Groups::VCPU),
    ("balloon", Groups::BALLOON),
    ("block", Groups::BLOCK),
    ("net", Groups::INTERFACE),
    ("perf", Groups::PERF),
    ("iothread", Groups::IOTHREAD),
    ("memory", Groups::MEMORY),
    ("dirtyrate", Groups::DIRTY_RATE),
    ("vm", Groups::VM),
    (JOB, Groups::JOB),
];

/// What libvirt reports of a migration while it lasts.
const JOB: &str = "job";

/// Units of these by the suffix of the name; the first match counts. All are gauges: they begin anew
/// with each job.
const JOB_UNITS: [(&str, &str); 13] = [
    (".time_elapsed", "ms"),
    (".time_elapsed_net", "ms"),
    (".time_remaining", "ms"),
    (".downtime", "ms"),
    (".downtime_net", "ms"),
    (".setup_time", "ms"),
    ("_dirty_rate", "page/s"),
    ("_bps", "B/s"),
    ("_page_size", "B"),
    ("_bytes", "B"),
    ("_total", "B"),
    ("_processed", "B"),
    ("_remaining", "B"),
];

/// Type and unit by the suffix of the name; the first match counts. Others are gauges without a
/// unit.
const TYPES_BY_SUFFIX: [(&str, MeterType, &str); 33] = [
    ("vcpu.time", MeterType::Cumulative, "ns"),
    ("vcpu.wait", MeterType::Cumulative, "ns"),
    ("vcpu.delay", MeterType::Cumulative, "ns"),
    ("cpu.time", MeterType::Cumulative, "ns"),
    ("cpu.user", MeterType::Cumulative, "ns"),
    ("cpu.system", MeterType::Cumulative, "ns"),
    ("_ns.sum", MeterType::Cumulative, "ns"),
    (".time", MeterType::Cumulative, "ns"),
    (".times", MeterType::Cumulative, "ns"),
    (".reqs", MeterType::Cumulative, "request"),
    ("rd.bytes", MeterType::Cumulative, "B"),
    ("wr.bytes", MeterType::Cumulative, "B"),
    ("rx.bytes", MeterType::Cumulative, "B"),
    ("tx.bytes", MeterType::Cumulative, "B"),
    (".pkts", MeterType::Cumulative, "packet"),
    (".errs", MeterType::Cumulative, "packet"),
    (".drop", MeterType::Cumulative, "packet"),
    (".sum", MeterType::Cumulative, ""),
    // Histograms: where a bin begins, and how many values were in it.
    (".bin.start", MeterType::Gauge, "ns"),
    (".bin.value", MeterType::Cumulative, ""),
    (".allocation", MeterType::Gauge, "B"),
    (".capacity", MeterType::Gauge, "B"),
    (".physical", MeterType::Gauge, "B"),
    (".threshold", MeterType::Gauge, "B"),
    ("_ns.cur", MeterType::Gauge, "ns"),
    ("_ns.max", MeterType::Gauge, "ns"),
    ("balloon.swap_in", MeterType::Cumulative, "KiB"),
    ("balloon.swap_out", MeterType::Cumulative, "KiB"),
    ("_fault", MeterType::Cumulative, ""),
    ("last-update", MeterType::Gauge, "s"),
    ("poll-max-ns", MeterType::Gauge, "ns"),
    ("dirtyrate.megabytes_per_second", MeterType::Gauge, "MiB/s"),
    ("perf.cmt", MeterType::Gauge, "B"),
];

/// The constants of libvirt that request them.
const CONSTANTS: [(Groups, &str); 11] = [
    (Groups::CPU, "VIR_DOMAIN_STATS_CPU_TOTAL"),
    (Groups::VCPU, "VIR_DOMAIN_STATS_VCPU"),
    (Groups::BALLOON, "VIR_DOMAIN_STATS_BALLOON"),
    (Groups::BLOCK, "VIR_DOMAIN_STATS_BLOCK"),
    (Groups::INTERFACE, "VIR_DOMAIN_STATS_INTERFACE"),
    (Groups::PERF, "VIR_DOMAIN_STATS_PERF"),
    (Groups::IOTHREAD, "VIR_DOMAIN_STATS_IOTHREAD"),
    (Groups::MEMORY, "VIR_DOMAIN_STATS_MEMORY"),
    (Groups::DIRTY_RATE, "VIR_DOMAIN_STATS_DIRTYRATE"),
    (Groups::VM, "VIR_DOMAIN_STATS_VM"),
    (Groups::SIZES, "virDomainGetBlockInfo"),
];

/// How libvirt is asked for groups of statistics: its constants and functions. The state is always among
/// them.
pub fn libvirt_constants(groups: Groups) -> Vec<&'static str> {
    let named = CONSTANTS.iter().filter(|(group, _)| groups.contains(*group));
    std::iter::once("VIR_DOMAIN_STATS_STATE").chain(named.map(|(_, name)| *name)).collect()
}

/// The groups of statistics with the meter of this name, which begins with [`PREFIX`].
pub fn raw_groups(name: &str) -> Groups {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let group = rest.split_once('.').map_or(rest, |(group, _)| group);
    GROUPS.iter().find(|(known, _)| *known == group).map_or(Groups::ALL, |(_, one)| *one)
}

/// Counters among the balloon statistics, which otherwise are sizes.
const BALLOON_COUNTERS: [&str; 2] = ["hugetlb_pgalloc", "hugetlb_pgfail"];

/// The meter of a key. Its name is the key without indices.
pub fn meter(key: &str) -> Meter {
    let words: Vec<&str> = key.split('.').filter(|word| !is_number(word)).collect();
    let name = format!("{PREFIX}{}", words.join("."));
    if words.first() == Some(&JOB) {
        let unit = JOB_UNITS.iter().find(|(suffix, _)| name.ends_with(suffix));
        return Meter::new(name, MeterType::Gauge, unit.map_or("", |(_, unit)| *unit));
    }
    let known = TYPES_BY_SUFFIX.iter().find(|(suffix, ..)| name.ends_with(suffix));
    let (kind, unit) = match known {
        Some((_, kind, unit)) => (*kind, *unit),
        None if BALLOON_COUNTERS.iter().any(|suffix| name.ends_with(suffix)) => {
            (MeterType::Cumulative, "")
        }
        None if key.starts_with("balloon.") => (MeterType::Gauge, "KiB"),
        None => (MeterType::Gauge, ""),
    };
    Meter::new(name, kind, unit)
}

/// The indexed part of the instance that a key is about, such as `vcpu.0`; `None` for the instance.
pub(super) fn part(key: &str) -> Option<&str> {
    let mut end = 0;
    let mut found = None;
    for word in key.split('.') {
        end += word.len();
        if is_number(word) {
            found = Some(end);
        }
        end += 1;
    }
    found.and_then(|end| key.get(..end))
}

/// The indexed part of a device that a key is about, such as `latency_histogram.read.bin.3` in
/// `block.0.latency_histogram.read.bin.3.value`; `None` for the device itself.
pub(super) fn device_part(key: &str) -> Option<&str> {
    let rest = key.splitn(3, '.').nth(2)?;
    part(rest)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The statistics needed for the raw meters that a filter names.
pub(super) fn groups(filter: &MeterFilter) -> Groups {
    filter.with_prefix(PREFIX).fold(Groups::NONE, |groups, glob| {
        groups.union(Groups::RAW).union(raw_groups(glob.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_map_to_meters_and_parts() {
        for (key, name, kind, unit, about) in [
            ("vcpu.0.delay", "libvirt.vcpu.delay", "cumulative", "ns", Some("vcpu.0")),
            ("vcpu.12.halted", "libvirt.vcpu.halted", "gauge", "", Some("vcpu.12")),
            (
                "vcpu.0.halt_wait_ns.sum",
                "libvirt.vcpu.halt_wait_ns.sum",
                "cumulative",
                "ns",
                Some("vcpu.0"),
            ),
            ("block.0.fl.reqs", "libvirt.block.fl.reqs", "cumulative", "request", Some("block.0")),
            ("block.1.threshold", "libvirt.block.threshold", "gauge", "B", Some("block.1")),
            ("cpu.haltpoll.fail.time", "libvirt.cpu.haltpoll.fail.time", "cumulative", "ns", None),
            (
                "cpu.cache.monitor.0.bank.1.bytes",
                "libvirt.cpu.cache.monitor.bank.bytes",
                "gauge",
                "",
                Some("cpu.cache.monitor.0.bank.1"),
            ),
            ("balloon.disk_caches", "libvirt.balloon.disk_caches", "gauge", "KiB", None),
            ("balloon.major_fault", "libvirt.balloon.major_fault", "cumulative", "", None),
            ("balloon.hugetlb_pgfail", "libvirt.balloon.hugetlb_pgfail", "cumulative", "", None),
            ("new.thing", "libvirt.new.thing", "gauge", "", None),
            ("job.data_total", "libvirt.job.data_total", "gauge", "B", None),
            ("job.downtime", "libvirt.job.downtime", "gauge", "ms", None),
            ("job.memory_dirty_rate", "libvirt.job.memory_dirty_rate", "gauge", "page/s", None),
            ("job.memory_iteration", "libvirt.job.memory_iteration", "gauge", "", None),
            (
                "block.1.latency_histogram.read.bin.3.value",
                "libvirt.block.latency_histogram.read.bin.value",
                "cumulative",
                "",
                Some("block.1.latency_histogram.read.bin.3"),
            ),
        ] {
            let meter = meter(key);
            assert_eq!((&*meter.name, meter.kind.as_str(), &*meter.unit), (name, kind, unit));
            assert_eq!(part(key), about, "{key}");
        }
    }

    #[test]
    fn a_part_of_a_device_has_an_index_of_its_own() {
        let bin = "latency_histogram.read.bin.3";
        assert_eq!(device_part("block.1.latency_histogram.read.bin.3.value"), Some(bin));
        assert_eq!(device_part("block.1.latency_histogram.read.bin.count"), None);
        assert_eq!(device_part("block.1.rd.bytes"), None);
        assert_eq!(device_part("block.count"), None);
    }

    #[test]
    fn only_named_groups_are_requested() {
        let of = |entries: &[&str]| groups(&MeterFilter::new(entries.iter().copied()).unwrap());
        assert_eq!(of(&["*"]), Groups::NONE);
        assert_eq!(of(&["cpu", "libvirt.vcpu.*"]), Groups::RAW.union(Groups::VCPU));
        assert_eq!(of(&["libvirt.*"]), Groups::ALL);
        assert_eq!(of(&["!libvirt.vcpu.*"]), Groups::NONE);
    }
}
