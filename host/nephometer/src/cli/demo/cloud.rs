//! What the demo knows of the machines: the last values of each, from the samples that sinks publish.

use std::collections::{BTreeMap, VecDeque};

use nephometer_model::{Sample, Timestamp, Volume};
use nephometer_pipeline::SinkOutput;

/// Values that are kept of each series: more than any terminal has room for.
const VALUES: usize = 64;
/// Cycles without a value after which the newest one is not shown any more.
const MISSED: usize = 2;

/// What is shown of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
    /// Processor time in percent.
    Processor,
    /// Memory in use, bytes.
    Memory,
    /// Read and written, bytes per second, all disks.
    Disk,
    /// Received and sent, bytes per second, all interfaces.
    Network,
}

impl Quantity {
    /// In the order of the columns.
    pub(super) const ALL: [Self; 4] = [Self::Processor, Self::Memory, Self::Disk, Self::Network];

    /// The quantity that a meter of the demo's pipeline is part of.
    fn of(meter: &str) -> Option<Self> {
        match meter {
            "cpu_util" => Some(Self::Processor),
            "memory.usage.bytes" => Some(Self::Memory),
            "disk.device.read.bytes.rate" | "disk.device.write.bytes.rate" => Some(Self::Disk),
            "network.incoming.bytes.rate" | "network.outgoing.bytes.rate" => Some(Self::Network),
            _ => None,
        }
    }
}

/// The sums by time, oldest first.
#[derive(Debug, Default)]
pub(super) struct ValueHistory(VecDeque<(Timestamp, f64)>);

impl ValueHistory {
    /// Values of one time, of several disks or interfaces, are one sum.
    fn add(&mut self, at: Timestamp, value: f64) {
        match self.0.back_mut() {
            Some((newest, sum)) if *newest == at => *sum += value,
            _ => {
                if self.0.len() == VALUES {
                    self.0.pop_front();
                }
                self.0.push_back((at, value));
            }
        }
    }

    /// The newest value, unless it is older than `since`.
    pub(super) fn newest(&self, since: Timestamp) -> Option<f64> {
        self.0.back().filter(|(at, _)| *at >= since).map(|(_, value)| *value)
    }

    /// At most this many of the newest values, oldest first.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = f64> {
        self.0.iter().skip(self.0.len().saturating_sub(count)).map(|(_, value)| *value)
    }
}

/// One machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The name that its owner gave it, else its id.
    pub(super) name: String,
    /// The name of its project, else its id, else empty.
    pub(super) project: String,
    /// Its memory in bytes, if known.
    pub(super) memory: Option<f64>,
    values: [ValueHistory; 4],
}

impl Machine {
    pub(super) fn values(&self, quantity: Quantity) -> &ValueHistory {
        &self.values[quantity as usize]
    }
}

/// All machines by name and id.
#[derive(Debug, Default)]
pub(super) struct Cloud {
    machines: BTreeMap<(String, String), Machine>,
    /// Times of the last cycles, oldest first.
    times: VecDeque<Timestamp>,
    /// Samples so far, of any meter.
    pub(super) samples: usize,
}

impl Cloud {
    pub(super) fn add(&mut self, part: &SinkOutput) {
        self.samples += part.samples.len();
        for sample in &part.samples {
            if let Some(quantity) = Quantity::of(&sample.meter.name) {
                self.add_value(quantity, sample);
            }
        }
    }

    fn add_value(&mut self, quantity: Quantity, sample: &Sample) {
        let at = sample.taken.wall;
        if self.times.back().is_none_or(|newest| *newest < at) {
            self.times.push_back(at);
            if self.times.len() > MISSED + 1 {
                self.times.pop_front();
            }
        }
        let metadata = &sample.resource.metadata;
        let text = |key: &str| metadata.get(key).and_then(|value| value.as_str());
        let id = text("instance_id").unwrap_or(&sample.resource.id).to_owned();
        let name = text("display_name").unwrap_or(&id).to_owned();
        let machine = self.machines.entry((name.clone(), id)).or_default();
        let resource = &sample.resource;
        let project = resource.project_name.as_ref().or(resource.project_id.as_ref());
        machine.project = project.map(ToString::to_string).unwrap_or_default();
        machine.name = name;
        let mebibytes = metadata.get("memory_mb").and_then(|value| value.as_f64());
        machine.memory = mebibytes.map(|size| size * f64::from(1 << 20));
        let value = match sample.volume {
            #[expect(clippy::cast_precision_loss, reason = "for people to look at")]
            Volume::Integer(whole) => whole as f64,
            Volume::Float(float) => float,
        };
        machine.values[quantity as usize].add(at, value);
    }

    /// The machines by name.
    pub(super) fn machines(&self) -> impl ExactSizeIterator<Item = &Machine> {
        self.machines.values()
    }

    /// The time from which on a value counts as current.
    pub(super) fn since(&self) -> Timestamp {
        self.times.front().copied().unwrap_or_default()
    }
}
