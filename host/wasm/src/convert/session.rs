//! The dictionary that one instance shares with the host, and the columns of the current batch.

use std::sync::Arc;

use super::by_address::ByAddress;
use super::filter::Filter;
use super::metadata::Projection;
use super::numbers::{NumberTable, Numbering};
use super::own::{FIRST_OWN, OwnEntries};
use super::size;
use crate::bindings::exports::nephometer::metering::{dictionary, transform};
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Meter, Resource, Sample, Timestamp};

/// Bound on the cache of excluded meters.
const MAX_EXCLUDED: usize = 1_024;

/// The dictionary of one instance. Dropped with the instance.
pub struct Session {
    projection: Projection,
    meters: NumberTable<Meter>,
    resources: NumberTable<Resource>,
    pub(super) own: OwnEntries,
    excluded: ByAddress<Arc<Meter>>,
    pub(super) columns: Columns,
}

/// The columns of the current batch. Kept to reuse their memory.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) meter: Vec<u32>,
    pub(super) resource: Vec<u32>,
    time: Vec<u64>,
    monotonic: Vec<u64>,
    pub(super) volume: Vec<f64>,
    exact: Vec<types::ExactInteger>,
}

/// The rows of a batch that a component receives.
pub(crate) struct SelectedRows<'a> {
    pub(super) samples: &'a [Sample],
    /// Per row: the index of its sample. Ascending. `None` if every sample is a row.
    pub(super) rows: Option<Vec<u32>>,
    pub(super) count: usize,
    /// The newest time of a row; the time of the polling cycle if there are no rows.
    pub(super) newest: Timestamp,
    removed: Vec<&'a str>,
}

impl SelectedRows<'_> {
    /// Number of rows that the component receives.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is nothing to send to the component.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.removed.is_empty()
    }

    /// The index of a row's sample in the batch.
    #[inline]
    pub(super) fn sample_index(&self, row: u32) -> u32 {
        self.rows.as_ref().map_or(row, |rows| rows[row as usize])
    }
}

/// Dictionary changes as parameters of the guest call.
pub(crate) struct DictionaryChanges<'a> {
    meters: Vec<dictionary::NumberedMeterParam<'a>>,
    resources: Vec<dictionary::NumberedResourceParam<'a>>,
    forgotten: (&'a [u32], &'a [u32]),
}

impl DictionaryChanges<'_> {
    /// The changes as one parameter.
    pub(crate) fn argument(&self) -> dictionary::Changes<'_> {
        dictionary::Changes {
            forgotten_meters: self.forgotten.0,
            forgotten_resources: self.forgotten.1,
            meters: &self.meters,
            resources: &self.resources,
        }
    }
}

impl Session {
    /// For `settings.metadata`.
    pub(crate) fn new(metadata: Vec<String>, numbering: Numbering) -> Self {
        Self {
            projection: Projection::new(metadata),
            meters: NumberTable::new(numbering),
            resources: NumberTable::new(numbering),
            own: OwnEntries::default(),
            excluded: ByAddress::default(),
            columns: Columns::default(),
        }
    }

    /// Selects the rows with meters that match `filter`, and numbers the entries they refer to.
    ///
    /// # Errors
    /// If the batch has more than 2^32 samples.
    pub(crate) fn select<'b>(
        &mut self,
        batch: &'b Batch,
        filter: &Filter,
    ) -> Result<SelectedRows<'b>, String> {
        let count = batch.samples.len();
        if u32::try_from(count).is_err() {
            return Err(format!("a batch of {count} samples is too large for a component"));
        }
        let Self { meters, resources, columns, excluded, .. } = self;
        meters.begin_batch();
        resources.begin_batch();
        columns.clear(count);
        let mut rows: Option<Vec<u32>> = None;
        let mut newest = Timestamp::default();
        for (index, sample) in (0u32..).zip(&batch.samples) {
            let selected = |meter: &Arc<Meter>| is_selected(excluded, filter, meter);
            let Some(meter) = meters.number(&sample.meter, selected) else {
                rows.get_or_insert_with(|| (0..index).collect());
                continue;
            };
            if let Some(rows) = &mut rows {
                rows.push(index);
            }
            let resource = resources.number(&sample.resource, |_| true);
            columns.push(meter, resource.expect("every resource is selected"), sample);
            newest = newest.max(sample.taken.wall);
        }
        let count = columns.meter.len();
        if count == 0 {
            newest = batch.cycle_start.wall;
        }
        let removed = batch.removed.iter().map(AsRef::as_ref).collect();
        Ok(SelectedRows { samples: &batch.samples, rows, count, newest, removed })
    }

    /// Whether the guest must learn changes before it receives the batch.
    pub(crate) fn has_new_entries(&self) -> bool {
        self.meters.has_new_entries() || self.resources.has_new_entries()
    }

    /// The metadata of new resources, for [`Self::changes`].
    pub(crate) fn texts(&self) -> Vec<String> {
        let resources = self.resources.new_entries();
        resources.map(|(_, resource)| self.projection.text(&resource.metadata)).collect()
    }

    /// The changes that the guest must learn.
    pub(crate) fn changes<'s>(&'s self, texts: &'s [String]) -> DictionaryChanges<'s> {
        let meters = self.meters.new_entries().map(|(number, meter)| {
            dictionary::NumberedMeterParam { number, entry: super::meter(meter) }
        });
        let resources =
            self.resources.new_entries().zip(texts).map(|((number, resource), text)| {
                let entry = super::resource(resource, text);
                dictionary::NumberedResourceParam { number, entry }
            });
        DictionaryChanges {
            meters: meters.collect(),
            resources: resources.collect(),
            forgotten: (self.meters.forgotten(), self.resources.forgotten()),
        }
    }

    /// Called when the guest has learned the changes.
    pub(crate) fn mark_learned(&mut self) {
        self.meters.mark_learned();
        self.resources.mark_learned();
    }

    /// The rows as a parameter of the guest call.
    pub(crate) fn argument<'t>(&'t self, selected: &'t SelectedRows<'_>) -> transform::Batch<'t> {
        let Columns { meter, resource, time, monotonic, volume, exact } = &self.columns;
        let removed = &selected.removed;
        transform::Batch { meter, resource, time, monotonic, volume, exact, removed }
    }

    /// Called when the guest has returned the batch: forgets the resources removed with it.
    pub(crate) fn forget_removed(&mut self, selected: &SelectedRows<'_>) {
        for id in &selected.removed {
            self.resources.forget_key(id);
        }
    }

    /// The meter of a number, and its bytes in a message.
    pub(super) fn meter(&self, number: u32) -> Option<(&Arc<Meter>, usize)> {
        match number.checked_sub(FIRST_OWN) {
            None => self.meters.get(number).map(|meter| (meter, size::meter_bytes(meter))),
            Some(index) => self.own.meters.get(index).map(|(meter, size)| (meter, size.bytes)),
        }
    }

    /// The resource of a number.
    pub(super) fn resource(&self, number: u32) -> Option<&Arc<Resource>> {
        match number.checked_sub(FIRST_OWN) {
            None => self.resources.get(number),
            Some(index) => self.own.resources.get(index).map(|(resource, _)| resource),
        }
    }
}

/// Whether the component receives a meter that it does not know yet.
fn is_selected(excluded: &mut ByAddress<Arc<Meter>>, filter: &Filter, meter: &Arc<Meter>) -> bool {
    if filter.is_empty() {
        return true;
    }
    let address = Arc::as_ptr(meter).addr();
    if excluded.contains_key(&address) {
        return false;
    }
    let selected = filter.matches(meter);
    if !selected {
        if excluded.len() >= MAX_EXCLUDED {
            excluded.clear();
        }
        excluded.insert(address, Arc::clone(meter));
    }
    selected
}

impl Columns {
    fn clear(&mut self, capacity: usize) {
        let Self { meter, resource, time, monotonic, volume, exact } = self;
        for column in [meter, resource] {
            column.clear();
            column.reserve(capacity);
        }
        for column in [time, monotonic] {
            column.clear();
            column.reserve(capacity);
        }
        volume.clear();
        volume.reserve(capacity);
        exact.clear();
    }

    #[inline]
    fn push(&mut self, meter: u32, resource: u32, sample: &Sample) {
        if let Some(value) = super::exact(sample.volume) {
            let row = u32::try_from(self.meter.len()).expect("the batch was checked");
            self.exact.push(types::ExactInteger { row, value });
        }
        self.meter.push(meter);
        self.resource.push(resource);
        self.time.push(sample.taken.wall.as_nanos());
        self.monotonic.push(sample.taken.continuous.unwrap_or(0));
        self.volume.push(sample.volume.as_f64());
    }
}
