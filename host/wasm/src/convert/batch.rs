//! Self-contained batches for publishers: each envelope may reach another instance.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_address::ByAddress;
use super::filter::Filter;
use super::metadata::MetadataTexts;
use super::numbers::DictionaryEntry;
use crate::bindings::exports::nephometer::metering::publish;
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Meter, Resource, Sample};

/// The rows of a batch that a publisher receives, and the entries that they refer to.
pub(crate) struct SelfContainedBatch<'a> {
    /// Per row: the index of its sample in the batch. Ascending.
    rows: Vec<u32>,
    meters: EntryIndex<'a, Meter>,
    resources: EntryIndex<'a, Resource>,
    meter: Vec<u32>,
    resource: Vec<u32>,
    time: Vec<u64>,
    monotonic: Vec<u64>,
    volume: Vec<f64>,
    exact: Vec<types::ExactInteger>,
    removed: Vec<&'a str>,
}

/// The entries as parameters of the guest call.
pub(crate) struct BatchEntries<'a> {
    meters: Vec<types::MeterParam<'a>>,
    resources: Vec<types::ResourceParam<'a>>,
}

impl<'a> SelfContainedBatch<'a> {
    /// Selects the rows with meters that match `filter`.
    pub(crate) fn new(batch: &'a Batch, filter: &Filter) -> Result<Self, String> {
        let count = batch.samples.len();
        if u32::try_from(count).is_err() {
            return Err(format!("a batch of {count} samples is too large for a component"));
        }
        let mut selected = Self {
            rows: Vec::with_capacity(count),
            meters: EntryIndex::default(),
            resources: EntryIndex::default(),
            meter: Vec::with_capacity(count),
            resource: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            monotonic: Vec::with_capacity(count),
            volume: Vec::with_capacity(count),
            exact: Vec::new(),
            removed: batch.removed.iter().map(AsRef::as_ref).collect(),
        };
        let mut excluded: ByAddress<()> = ByAddress::default();
        for (index, sample) in (0..).zip(&batch.samples) {
            let address = Arc::as_ptr(&sample.meter).addr();
            if !filter.is_empty() {
                if excluded.contains_key(&address) {
                    continue;
                }
                if !selected.meters.contains(&sample.meter) && !filter.matches(&sample.meter) {
                    excluded.insert(address, ());
                    continue;
                }
            }
            selected.push(index, sample);
        }
        Ok(selected)
    }

    fn push(&mut self, index: u32, sample: &'a Sample) {
        if let Some(value) = super::exact(sample.volume) {
            let row = u32::try_from(self.rows.len()).expect("the batch was checked");
            self.exact.push(types::ExactInteger { row, value });
        }
        self.rows.push(index);
        self.meter.push(self.meters.index(&sample.meter));
        self.resource.push(self.resources.index(&sample.resource));
        self.time.push(sample.taken.wall.as_nanos());
        self.monotonic.push(sample.taken.continuous.unwrap_or(0));
        self.volume.push(sample.volume.as_f64());
    }

    /// Number of rows that the component receives.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to send to the component.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.removed.is_empty()
    }

    /// Per row: the index of its sample in the batch.
    pub(crate) fn sample_indexes(&self) -> &[u32] {
        &self.rows
    }

    /// The entries as parameters of the guest call.
    pub(crate) fn entries<'t>(&self, texts: &'t mut MetadataTexts) -> BatchEntries<'t>
    where
        'a: 't,
    {
        texts.prepare(&self.resources.entries);
        let texts: &'t MetadataTexts = texts;
        let meters = self.meters.entries.iter().map(|meter| super::meter(meter));
        let resources = self.resources.entries.iter();
        let resources = resources.map(|resource| super::resource(resource, texts.get(resource)));
        BatchEntries { meters: meters.collect(), resources: resources.collect() }
    }

    /// The batch as a parameter of the guest call.
    pub(crate) fn argument<'t>(&'t self, entries: &'t BatchEntries<'t>) -> publish::Batch<'t> {
        publish::Batch {
            meters: &entries.meters,
            resources: &entries.resources,
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

/// Assigns indexes to entries: by address, as nearly all are shared, and by content for new
/// addresses.
struct EntryIndex<'a, T> {
    entries: Vec<&'a Arc<T>>,
    by_address: ByAddress<u32>,
    /// The last entry of each key, and per entry the previous one with the same key.
    by_key: HashMap<&'a str, u32>,
    previous: Vec<Option<u32>>,
    last: Option<(usize, u32)>,
}

impl<T> Default for EntryIndex<'_, T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            by_address: ByAddress::default(),
            by_key: HashMap::new(),
            previous: Vec::new(),
            last: None,
        }
    }
}

impl<'a, T: DictionaryEntry> EntryIndex<'a, T> {
    fn contains(&self, entry: &Arc<T>) -> bool {
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

    fn find(&self, content: &T) -> Option<u32> {
        let mut candidate = self.by_key.get(content.key()).copied();
        while let Some(index) = candidate {
            if *self.entries[index as usize].as_ref() == *content {
                return Some(index);
            }
            candidate = self.previous[index as usize];
        }
        None
    }

    fn add(&mut self, entry: &'a Arc<T>) -> u32 {
        let index = u32::try_from(self.entries.len()).expect("no more entries than rows, as u32");
        self.entries.push(entry);
        self.previous.push(self.by_key.insert(entry.key(), index));
        index
    }
}
