//! Builds readings from the key-value pairs of bulk statistics, live or recorded.

use std::fmt;

use thiserror::Error;

use nephometer_model::{
    DiskReading, DomainState, NicReading, RawNumber, Reading, VcpuReading, Volume,
};

/// One value of a statistics record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum StatValue<'a> {
    /// A counter.
    Unsigned(u64),
    /// A number; negative if libvirt does not know it.
    Signed(i64),
    /// A name; in recordings also a number or a switch.
    Text(&'a str),
    /// A measure.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// An unknown type.
    Other,
}

/// As `virsh domstats --raw` prints it.
impl fmt::Display for StatValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:.6}"),
            Self::Bool(truth) => f.write_str(if *truth { "yes" } else { "no" }),
            Self::Text(text) => f.write_str(text),
            Self::Other => f.write_str("?"),
        }
    }
}

/// A value that its key does not allow.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} is {value}; expected a whole number")]
pub(crate) struct StatError {
    key: String,
    value: String,
}

/// Collects the pairs of one domain. Ignores keys that no reading has, unless raw numbers are
/// requested.
#[derive(Debug, Default)]
pub(crate) struct ReadingBuilder {
    reading: Reading,
    disks: Vec<(u64, DiskReading)>,
    nics: Vec<(u64, NicReading)>,
    raw: bool,
}

impl ReadingBuilder {
    /// An empty builder. With `raw` it also keeps every number under libvirt's key.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, ..Self::default() }
    }

    /// Adds one pair.
    ///
    /// # Errors
    /// The value must be a number and is text.
    pub(crate) fn add(&mut self, key: &str, value: StatValue<'_>) -> Result<(), StatError> {
        if self.raw
            && let Some(value) = raw(value)
        {
            self.reading.raw.push(RawNumber { key: key.to_owned(), device: None, value });
        }
        let Some((group, rest)) = key.split_once('.') else { return Ok(()) };
        if let "vcpu" | "block" | "net" = group
            && let Some((index, field)) = rest.split_once('.')
        {
            let Ok(index) = index.parse::<u64>() else { return Ok(()) };
            return self.add_indexed(group, (index, field), key, value);
        }
        if (group, rest) == ("state", "state") {
            self.reading.state = number(key, value)?
                .and_then(|state| i64::try_from(state).ok())
                .and_then(DomainState::from_number);
        } else if let Some(target) = self.domain_field(group, rest) {
            *target = number(key, value)?;
        }
        Ok(())
    }

    /// The field of a number of the domain as a whole.
    fn domain_field(&mut self, group: &str, field: &str) -> Option<&mut Option<u64>> {
        let Reading { memory, perf, cpu_time, vcpu_current, vcpu_maximum, .. } = &mut self.reading;
        Some(match (group, field) {
            ("cpu", "time") => cpu_time,
            ("vcpu", "current") => vcpu_current,
            ("vcpu", "maximum") => vcpu_maximum,
            ("balloon", "current") => &mut memory.actual,
            ("balloon", "maximum") => &mut memory.maximum,
            ("balloon", "available") => &mut memory.available,
            ("balloon", "unused") => &mut memory.unused,
            ("balloon", "usable") => &mut memory.usable,
            ("balloon", "rss") => &mut memory.rss,
            ("balloon", "swap_in") => &mut memory.swap_in,
            ("balloon", "swap_out") => &mut memory.swap_out,
            ("perf", "cmt") => &mut perf.cmt,
            ("perf", "mbmt") => &mut perf.mbmt,
            ("perf", "mbml") => &mut perf.mbml,
            ("perf", "cpu_cycles") => &mut perf.cpu_cycles,
            ("perf", "instructions") => &mut perf.instructions,
            ("perf", "cache_references") => &mut perf.cache_references,
            ("perf", "cache_misses") => &mut perf.cache_misses,
            _ => return None,
        })
    }

    fn add_indexed(
        &mut self,
        group: &str,
        (index, field): (u64, &str),
        key: &str,
        value: StatValue<'_>,
    ) -> Result<(), StatError> {
        let target = match group {
            "vcpu" => {
                let vcpu = vcpu(&mut self.reading.vcpus, index);
                match field {
                    "time" => &mut vcpu.time,
                    "wait" => &mut vcpu.wait,
                    _ => return Ok(()),
                }
            }
            "block" => {
                let disk = device(&mut self.disks, index);
                match field {
                    "name" => {
                        disk.name = text(value);
                        return Ok(());
                    }
                    "rd.reqs" => &mut disk.read_requests,
                    "rd.bytes" => &mut disk.read_bytes,
                    "rd.times" => &mut disk.read_time,
                    "wr.reqs" => &mut disk.write_requests,
                    "wr.bytes" => &mut disk.write_bytes,
                    "wr.times" => &mut disk.write_time,
                    "capacity" => &mut disk.capacity,
                    "allocation" => &mut disk.allocation,
                    "physical" => &mut disk.physical,
                    _ => return Ok(()),
                }
            }
            _ => {
                let nic = device(&mut self.nics, index);
                match field {
                    "name" => {
                        nic.name = text(value);
                        return Ok(());
                    }
                    "rx.bytes" => &mut nic.rx_bytes,
                    "rx.pkts" => &mut nic.rx_packets,
                    "rx.errs" => &mut nic.rx_errors,
                    "rx.drop" => &mut nic.rx_drops,
                    "tx.bytes" => &mut nic.tx_bytes,
                    "tx.pkts" => &mut nic.tx_packets,
                    "tx.errs" => &mut nic.tx_errors,
                    "tx.drop" => &mut nic.tx_drops,
                    _ => return Ok(()),
                }
            }
        };
        *target = number(key, value)?;
        Ok(())
    }

    /// Completes the reading, without domain and time: the caller sets these. Omits devices without
    /// a name.
    pub(crate) fn finish(mut self) -> Reading {
        for number in &mut self.reading.raw {
            let mut parts = number.key.splitn(3, '.');
            let group = parts.next();
            let Some(index) = parts.next().and_then(|index| index.parse().ok()) else { continue };
            number.device = match group {
                Some("block") => name(&self.disks, index, |disk| &disk.name),
                Some("net") => name(&self.nics, index, |nic| &nic.name),
                _ => None,
            };
        }
        self.reading.vcpus.sort_by_key(|vcpu| vcpu.index);
        let running = !self.reading.is_shut_off();
        let disks = self
            .disks
            .into_iter()
            .map(|(_, disk)| if running { with_block_info_sizes(disk) } else { disk });
        self.reading.disks = disks.filter(|disk| !disk.name.is_empty()).collect();
        let nics = self.nics.into_iter().map(|(_, nic)| nic);
        self.reading.nics = nics.filter(|nic| !nic.name.is_empty()).collect();
        self.reading
    }
}

fn number(key: &str, value: StatValue<'_>) -> Result<Option<u64>, StatError> {
    match value {
        StatValue::Unsigned(number) => Ok(Some(number)),
        StatValue::Signed(number) => Ok(u64::try_from(number).ok()),
        StatValue::Text(text) => match text.parse::<i128>() {
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(_) => Err(StatError { key: key.to_owned(), value: format!("{text:?}") }),
        },
        StatValue::Float(_) | StatValue::Bool(_) | StatValue::Other => Ok(None),
    }
}

/// Any value as a number. In recordings switches are `yes` and `no`.
fn raw(value: StatValue<'_>) -> Option<Volume> {
    let float = |value: f64| value.is_finite().then_some(Volume::Float(value));
    match value {
        StatValue::Unsigned(number) => Some(Volume::Integer(number.into())),
        StatValue::Signed(number) => Some(Volume::Integer(number.into())),
        StatValue::Float(number) => float(number),
        StatValue::Bool(truth) => Some(Volume::Integer(truth.into())),
        StatValue::Text("yes") => Some(Volume::Integer(1)),
        StatValue::Text("no") => Some(Volume::Integer(0)),
        StatValue::Text(text) => {
            let whole = text.parse().ok().map(Volume::Integer);
            whole.or_else(|| text.parse().ok().and_then(float))
        }
        StatValue::Other => None,
    }
}

fn text(value: StatValue<'_>) -> String {
    match value {
        StatValue::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

/// Converts sizes to those of `virDomainGetBlockInfo`: the allocated bytes of the file and its
/// length. Statistics of a stopped domain have these already. Those of a running one have the
/// highest offset written since QEMU started, and the allocated bytes: this is the closest
/// approximation.
fn with_block_info_sizes(disk: DiskReading) -> DiskReading {
    let (written, taken) = (disk.allocation, disk.physical);
    DiskReading { allocation: taken, physical: taken.max(written), ..disk }
}

fn name<T>(entries: &[(u64, T)], index: u64, of: fn(&T) -> &String) -> Option<String> {
    let found = entries.iter().find(|(known, _)| *known == index);
    found.map(|(_, one)| of(one)).filter(|name| !name.is_empty()).cloned()
}

fn vcpu(vcpus: &mut Vec<VcpuReading>, index: u64) -> &mut VcpuReading {
    let at = vcpus.iter().rposition(|vcpu| vcpu.index == index).unwrap_or_else(|| {
        vcpus.push(VcpuReading { index, ..VcpuReading::default() });
        vcpus.len() - 1
    });
    &mut vcpus[at]
}

fn device<T: Default>(entries: &mut Vec<(u64, T)>, index: u64) -> &mut T {
    // Keys are grouped by device, so the last device nearly always matches.
    let at = entries.iter().rposition(|(known, _)| *known == index).unwrap_or_else(|| {
        entries.push((index, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pairs: &[(&str, StatValue<'_>)]) -> Result<Reading, StatError> {
        let mut builder = ReadingBuilder::new(true);
        for (key, value) in pairs {
            builder.add(key, *value)?;
        }
        Ok(builder.finish())
    }

    #[test]
    fn collects_sparse_and_unordered_keys() {
        let reading = reading(&[
            ("state.state", StatValue::Signed(3)),
            ("vcpu.2.time", StatValue::Unsigned(20)),
            ("vcpu.0.time", StatValue::Unsigned(10)),
            ("vcpu.0.wait", StatValue::Unsigned(1)),
            ("net.count", StatValue::Unsigned(3)),
            ("net.1.name", StatValue::Text("tap1")),
            ("net.1.rx.bytes", StatValue::Unsigned(7)),
            ("block.0.rd.bytes", StatValue::Unsigned(9)),
            ("balloon.rss", StatValue::Text("18446744073709551615")),
            ("dirtyrate.calc_mode", StatValue::Text("page-sampling")),
        ])
        .unwrap();
        assert_eq!(reading.state, Some(DomainState::Paused));
        let times: Vec<_> = reading.vcpus.iter().map(|v| (v.index, v.time, v.wait)).collect();
        assert_eq!(times, [(0, Some(10), Some(1)), (2, Some(20), None)]);
        assert_eq!(reading.nics.len(), 1);
        assert_eq!((reading.nics[0].rx_bytes, reading.nics[0].tx_bytes), (Some(7), None));
        assert_eq!(reading.disks, []);
        assert_eq!(reading.memory.rss, Some(u64::MAX));
    }

    #[test]
    fn raw_numbers_are_kept_and_texts_are_not() {
        let reading = reading(&[
            ("vcpu.0.halted", StatValue::Bool(true)),
            ("vcpu.1.halted", StatValue::Text("no")),
            ("block.0.name", StatValue::Text("vda")),
            ("block.0.fl.reqs", StatValue::Unsigned(u64::MAX)),
            ("dirtyrate.calc_mode", StatValue::Text("page-sampling")),
            ("some.thing", StatValue::Float(0.5)),
            ("other.thing", StatValue::Float(f64::NAN)),
            ("third", StatValue::Signed(-1)),
        ])
        .unwrap();
        let expected = [
            ("vcpu.0.halted", None, Volume::Integer(1)),
            ("vcpu.1.halted", None, Volume::Integer(0)),
            ("block.0.fl.reqs", Some("vda"), Volume::Integer(u64::MAX.into())),
            ("some.thing", None, Volume::Float(0.5)),
            ("third", None, Volume::Integer(-1)),
        ];
        let expected = expected.map(|(key, device, value)| RawNumber {
            key: key.to_owned(),
            device: device.map(str::to_owned),
            value,
        });
        assert_eq!(reading.raw, expected);
    }

    #[test]
    fn negative_numbers_are_absent_and_texts_are_errors() {
        let minus = reading(&[
            ("block.0.name", StatValue::Text("vda")),
            ("block.0.rd.bytes", StatValue::Signed(-1)),
            ("cpu.time", StatValue::Text("-1")),
        ])
        .unwrap();
        assert_eq!(minus.disks[0].read_bytes, None);
        assert_eq!(minus.cpu_time, None);
        let error = reading(&[("cpu.time", StatValue::Text("12x"))]).unwrap_err();
        assert_eq!(error.to_string(), "cpu.time is \"12x\"; expected a whole number");
    }
}
