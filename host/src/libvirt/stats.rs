//! Pairs of key and value, as bulk statistics give them, to readings.

use thiserror::Error;

use crate::model::{DiskReading, DomainState, NicReading, Reading, VcpuReading};

/// One value of a statistics record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A counter.
    Unsigned(u64),
    /// Below 0 it means that libvirt has no number.
    Signed(i64),
    /// A name; in recordings also a number.
    Text(&'a str),
    /// A kind of value that no reading has: double or boolean.
    Other,
}

/// A value that is not what its key says.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} is {value}, which is no whole number")]
pub struct StatError {
    key: String,
    value: String,
}

/// Collects the pairs of one domain. Keys that no reading has are passed over.
#[derive(Debug, Default)]
pub struct Builder {
    reading: Reading,
    disks: Vec<(u64, DiskReading)>,
    nics: Vec<(u64, NicReading)>,
}

impl Builder {
    /// Takes one pair.
    pub fn add(&mut self, key: &str, value: Value<'_>) -> Result<(), StatError> {
        let Some((group, rest)) = key.split_once('.') else { return Ok(()) };
        let memory = &mut self.reading.memory;
        match (group, rest) {
            ("state", "state") => {
                self.reading.state = number(key, value)?
                    .and_then(|state| i64::try_from(state).ok())
                    .and_then(DomainState::from_number);
            }
            ("cpu", "time") => self.reading.cpu_time = number(key, value)?,
            ("vcpu", "current") => self.reading.vcpu_current = number(key, value)?,
            ("vcpu", "maximum") => self.reading.vcpu_maximum = number(key, value)?,
            ("balloon", "current") => memory.actual = number(key, value)?,
            ("balloon", "available") => memory.available = number(key, value)?,
            ("balloon", "unused") => memory.unused = number(key, value)?,
            ("balloon", "usable") => memory.usable = number(key, value)?,
            ("balloon", "rss") => memory.rss = number(key, value)?,
            ("vcpu" | "block" | "net", _) => self.add_indexed(group, rest, key, value)?,
            _ => {}
        }
        Ok(())
    }

    fn add_indexed(
        &mut self,
        group: &str,
        rest: &str,
        key: &str,
        value: Value<'_>,
    ) -> Result<(), StatError> {
        let Some((index, field)) = rest.split_once('.') else { return Ok(()) };
        let Ok(index) = index.parse::<u64>() else { return Ok(()) };
        match group {
            "vcpu" => {
                let vcpu = vcpu(&mut self.reading.vcpus, index);
                match field {
                    "time" => vcpu.time = number(key, value)?,
                    "wait" => vcpu.wait = number(key, value)?,
                    _ => {}
                }
            }
            "block" => {
                let disk = entry(&mut self.disks, index);
                match field {
                    "name" => disk.name = text(value),
                    "rd.reqs" => disk.read_requests = number(key, value)?,
                    "rd.bytes" => disk.read_bytes = number(key, value)?,
                    "wr.reqs" => disk.write_requests = number(key, value)?,
                    "wr.bytes" => disk.write_bytes = number(key, value)?,
                    _ => {}
                }
            }
            _ => {
                let nic = entry(&mut self.nics, index);
                match field {
                    "name" => nic.name = text(value),
                    "rx.bytes" => nic.rx_bytes = number(key, value)?,
                    "rx.pkts" => nic.rx_packets = number(key, value)?,
                    "tx.bytes" => nic.tx_bytes = number(key, value)?,
                    "tx.pkts" => nic.tx_packets = number(key, value)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What came together. The domain and the time are the caller's to fill in. Devices without a
    /// name are left out.
    pub fn finish(mut self) -> Reading {
        self.reading.vcpus.sort_by_key(|vcpu| vcpu.index);
        let disks = self.disks.into_iter().map(|(_, disk)| disk);
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
        Value::Other => Ok(None),
    }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_owned(),
        _ => String::new(),
    }
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
        let mut builder = Builder::default();
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
