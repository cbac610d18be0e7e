//! Pairs of key and value, as bulk statistics give them, to readings.

use thiserror::Error;

use nephometer_model::{
    DiskReading, DomainState, NicReading, RawNumber, Reading, VcpuReading, Volume,
};

/// One value of a statistics record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// A counter.
    Unsigned(u64),
    /// Below 0 it means that libvirt has no number.
    Signed(i64),
    /// A name; in recordings also a number.
    Text(&'a str),
    /// A measure.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// A kind of value that did not exist when this was written.
    Other,
}

/// A value that is not what its key says.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} is {value}, which is no whole number")]
pub(crate) struct StatError {
    key: String,
    value: String,
}

/// Collects the pairs of one domain. Keys that no reading has are passed over, unless all are
/// wanted raw.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    reading: Reading,
    disks: Vec<(u64, DiskReading)>,
    nics: Vec<(u64, NicReading)>,
    raw: bool,
}

impl Builder {
    /// Empty. With `raw` it keeps every number as libvirt calls it, too.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, ..Self::default() }
    }

    /// Takes one pair.
    pub(crate) fn add(&mut self, key: &str, value: Value<'_>) -> Result<(), StatError> {
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
        } else if let Some(place) = self.place(group, rest) {
            *place = number(key, value)?;
        }
        Ok(())
    }

    /// Where a number of the domain as a whole belongs.
    fn place(&mut self, group: &str, field: &str) -> Option<&mut Option<u64>> {
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
        value: Value<'_>,
    ) -> Result<(), StatError> {
        let place = match group {
            "vcpu" => {
                let vcpu = vcpu(&mut self.reading.vcpus, index);
                match field {
                    "time" => &mut vcpu.time,
                    "wait" => &mut vcpu.wait,
                    _ => return Ok(()),
                }
            }
            "block" => {
                let disk = entry(&mut self.disks, index);
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
                let nic = entry(&mut self.nics, index);
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
        *place = number(key, value)?;
        Ok(())
    }

    /// What came together. The domain and the time are the caller's to fill in. Devices without a
    /// name are left out.
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
        let disks =
            self.disks.into_iter().map(|(_, disk)| if running { sized(disk) } else { disk });
        self.reading.disks = disks.filter(|disk| !disk.name.is_empty()).collect();
        let nics = self.nics.into_iter().map(|(_, nic)| nic);
        self.reading.nics = nics.filter(|nic| !nic.name.is_empty()).collect();
        self.reading
    }
}

fn number(key: &str, value: Value<'_>) -> Result<Option<u64>, StatError> {
    match value {
        Value::Unsigned(number) => Ok(Some(number)),
        Value::Signed(number) => Ok(u64::try_from(number).ok()),
        Value::Text(text) => match text.parse::<i128>() {
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(_) => Err(StatError { key: key.to_owned(), value: format!("{text:?}") }),
        },
        Value::Float(_) | Value::Bool(_) | Value::Other => Ok(None),
    }
}

/// Any number. In recordings, what is true is `yes`.
fn raw(value: Value<'_>) -> Option<Volume> {
    let float = |value: f64| value.is_finite().then_some(Volume::Float(value));
    match value {
        Value::Unsigned(number) => Some(Volume::Integer(number.into())),
        Value::Signed(number) => Some(Volume::Integer(number.into())),
        Value::Float(number) => float(number),
        Value::Bool(truth) => Some(Volume::Integer(truth.into())),
        Value::Text("yes") => Some(Volume::Integer(1)),
        Value::Text("no") => Some(Volume::Integer(0)),
        Value::Text(text) => {
            let whole = text.parse().ok().map(Volume::Integer);
            whole.or_else(|| text.parse().ok().and_then(float))
        }
        Value::Other => None,
    }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

/// Of a domain that runs, `allocation` is the highest byte that QEMU has written since it started,
/// and `physical` what the file takes. `virDomainGetBlockInfo` says what the file takes and where
/// it ends, as all numbers of a domain that is shut off do; this comes as near to that as can be.
fn sized(disk: DiskReading) -> DiskReading {
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

fn entry<T: Default>(entries: &mut Vec<(u64, T)>, index: u64) -> &mut T {
    // Keys come device by device, so the last one is nearly always the one.
    let at = entries.iter().rposition(|(known, _)| *known == index).unwrap_or_else(|| {
        entries.push((index, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pairs: &[(&str, Value<'_>)]) -> Result<Reading, StatError> {
        let mut builder = Builder::new(true);
        for (key, value) in pairs {
            builder.add(key, *value)?;
        }
        Ok(builder.finish())
    }

    #[test]
    fn collects_sparse_and_unordered_keys() {
        let reading = reading(&[
            ("state.state", Value::Signed(3)),
            ("vcpu.2.time", Value::Unsigned(20)),
            ("vcpu.0.time", Value::Unsigned(10)),
            ("vcpu.0.wait", Value::Unsigned(1)),
            ("net.count", Value::Unsigned(3)),
            ("net.1.name", Value::Text("tap1")),
            ("net.1.rx.bytes", Value::Unsigned(7)),
            ("block.0.rd.bytes", Value::Unsigned(9)),
            ("balloon.rss", Value::Text("18446744073709551615")),
            ("dirtyrate.calc_mode", Value::Text("page-sampling")),
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
    fn every_number_is_kept_raw_and_no_text() {
        let reading = reading(&[
            ("vcpu.0.halted", Value::Bool(true)),
            ("vcpu.1.halted", Value::Text("no")),
            ("block.0.name", Value::Text("vda")),
            ("block.0.fl.reqs", Value::Unsigned(u64::MAX)),
            ("dirtyrate.calc_mode", Value::Text("page-sampling")),
            ("some.thing", Value::Float(0.5)),
            ("other.thing", Value::Float(f64::NAN)),
            ("third", Value::Signed(-1)),
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
    fn below_zero_is_absent_and_no_number_is_an_error() {
        let minus = reading(&[
            ("block.0.name", Value::Text("vda")),
            ("block.0.rd.bytes", Value::Signed(-1)),
            ("cpu.time", Value::Text("-1")),
        ])
        .unwrap();
        assert_eq!(minus.disks[0].read_bytes, None);
        assert_eq!(minus.cpu_time, None);
        let error = reading(&[("cpu.time", Value::Text("12x"))]).unwrap_err();
        assert_eq!(error.to_string(), "cpu.time is \"12x\", which is no whole number");
    }
}
