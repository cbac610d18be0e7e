//! Batches that stand alone: an envelope may reach another instance than the one before.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_address::ByAddress;
use super::filter::Filter;
use super::metadata::Texts;
use super::numbers::Entry;
use crate::bindings::exports::nephometer::metering::publish;
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Meter, Resource, Sample};

/// The rows of a batch that a publisher gets, with the entries that they refer to.
pub(crate) struct StandaloneBatch<'a> {
    /// Per row: which sample it is. Ascending.
    rows: Vec<u32>,
    meters: Index<'a, Meter>,
    resources: Index<'a, Resource>,
    meter: Vec<u32>,
    resource: Vec<u32>,
    time: Vec<u64>,
    monotonic: Vec<u64>,
    volume: Vec<f64>,
    exact: Vec<types::ExactInteger>,
    removed: Vec<&'a str>,
}

/// The entries as the guest gets them.
pub(crate) struct Parts<'a> {
    meters: Vec<types::MeterParam<'a>>,
    resources: Vec<types::ResourceParam<'a>>,
}

impl<'a> StandaloneBatch<'a> {
    /// Picks the rows that `filter` wants.
    pub(crate) fn new(batch: &'a Batch, filter: &Filter) -> Result<Self, String> {
        let count = batch.samples.len();
        if u32::try_from(count).is_err() {
            return Err(format!("a batch of {count} samples is too large for a component"));
        }
        let mut picked = Self {
            rows: Vec::with_capacity(count),
            meters: Index::default(),
            resources: Index::default(),
            meter: Vec::with_capacity(count),
            resource: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            monotonic: Vec::with_capacity(count),
            volume: Vec::with_capacity(count),
            exact: Vec::new(),
            removed: batch.gone.iter().map(AsRef::as_ref).collect(),
        };
        let mut unwanted: ByAddress<()> = ByAddress::default();
        for (position, sample) in (0..).zip(&batch.samples) {
            let address = Arc::as_ptr(&sample.meter).addr();
            if !filter.is_empty() {
                if unwanted.contains_key(&address) {
                    continue;
                }
                if !picked.meters.knows(&sample.meter) && !filter.wants(&sample.meter) {
                    unwanted.insert(address, ());
                    continue;
                }
            }
            picked.push(position, sample);
        }
        Ok(picked)
    }

    fn push(&mut self, position: u32, sample: &'a Sample) {
        if let Some(value) = super::exact(sample.volume) {
            let row = u32::try_from(self.rows.len()).expect("the batch was checked");
            self.exact.push(types::ExactInteger { row, value });
        }
        self.rows.push(position);
        self.meter.push(self.meters.index(&sample.meter));
        self.resource.push(self.resources.index(&sample.resource));
        self.time.push(sample.taken.wall.as_nanos());
        self.monotonic.push(sample.taken.continuous.unwrap_or(0));
        self.volume.push(sample.volume.as_f64());
    }

    /// Rows that the component gets.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing for the component.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.removed.is_empty()
    }

    /// Which samples of the batch the rows are.
    pub(crate) fn picked(&self) -> &[u32] {
        &self.rows
    }

    /// The entries as the guest gets them.
    pub(crate) fn parts<'t>(&self, texts: &'t mut Texts) -> Parts<'t>
    where
        'a: 't,
    {
        texts.prepare(&self.resources.entries);
        let texts: &'t Texts = texts;
        let meters = self.meters.entries.iter().map(|meter| super::meter(meter));
        let resources = self.resources.entries.iter();
        let resources = resources.map(|resource| super::resource(resource, texts.get(resource)));
        Parts { meters: meters.collect(), resources: resources.collect() }
    }

    /// All of it as one argument.
    pub(crate) fn argument<'t>(&'t self, parts: &'t Parts<'t>) -> publish::Batch<'t> {
        publish::Batch {
            meters: &parts.meters,
            resources: &parts.resources,
            meter: &self.meter,
            resource: &self.resource,
            time: &self.time,
            monotonic: &self.monotonic,
            volume: &self.volume,
            exact: &self.exact,
            removed: &self.removed,
        }
    }
}

/// Entries by address first, as nearly all are shared, and by content where that is new.
struct Index<'a, T> {
    entries: Vec<&'a Arc<T>>,
    by_address: ByAddress<u32>,
    /// The last entry of a key, and for each entry the one before with the same key.
    by_key: HashMap<&'a str, u32>,
    before: Vec<Option<u32>>,
    last: Option<(usize, u32)>,
}

impl<T> Default for Index<'_, T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            by_address: ByAddress::default(),
            by_key: HashMap::new(),
            before: Vec::new(),
            last: None,
        }
    }
}

impl<'a, T: Entry> Index<'a, T> {
    fn knows(&self, entry: &Arc<T>) -> bool {
        self.by_address.contains_key(&Arc::as_ptr(entry).addr())
    }

    fn index(&mut self, entry: &'a Arc<T>) -> u32 {
        let address = Arc::as_ptr(entry).addr();
        if let Some((last, index)) = self.last
            && last == address
        {
            return index;
        }
        let index = match self.by_address.get(&address) {
            Some(index) => *index,
            None => {
                let index = self.find(entry).unwrap_or_else(|| self.add(entry));
                self.by_address.insert(address, index);
                index
            }
        };
        self.last = Some((address, index));
        index
    }

    fn find(&self, wanted: &T) -> Option<u32> {
        let mut candidate = self.by_key.get(wanted.key()).copied();
        while let Some(index) = candidate {
            if *self.entries[index as usize].as_ref() == *wanted {
                return Some(index);
            }
            candidate = self.before[index as usize];
        }
        None
    }

    fn add(&mut self, entry: &'a Arc<T>) -> u32 {
        let index = u32::try_from(self.entries.len()).expect("no more entries than rows, as u32");
        self.entries.push(entry);
        self.before.push(self.by_key.insert(entry.key(), index));
        index
    }
}
