//! The dictionary that one instance and the host share, and the columns of the batch at hand.

use std::sync::Arc;

use super::by_address::ByAddress;
use super::filter::Filter;
use super::metadata::Projection;
use super::numbers::{Numbering, Numbers};
use super::own::{OWN, Own};
use super::size;
use crate::bindings::exports::nephometer::metering::{dictionary, transform};
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Meter, Resource, Sample, Timestamp};

/// Meters that the component does not want, remembered by address.
const UNWANTED: usize = 1_024;

/// What one instance knows. It lives and ends with the instance.
pub struct Session {
    projection: Projection,
    meters: Numbers<Meter>,
    resources: Numbers<Resource>,
    pub(super) own: Own,
    unwanted: ByAddress<Arc<Meter>>,
    pub(super) columns: Columns,
}

/// The columns of the batch at hand. Kept for their room.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) meter: Vec<u32>,
    pub(super) resource: Vec<u32>,
    time: Vec<u64>,
    monotonic: Vec<u64>,
    pub(super) volume: Vec<f64>,
    exact: Vec<types::ExactInteger>,
}

/// The rows of a batch that a component gets.
pub(crate) struct Picked<'a> {
    pub(super) samples: &'a [Sample],
    /// Per row: which sample it is. Ascending. `None` if every sample is a row.
    pub(super) rows: Option<Vec<u32>>,
    pub(super) count: usize,
    /// The newest time of a row; that of the polling cycle if there is none.
    pub(super) newest: Timestamp,
    removed: Vec<&'a str>,
}

impl Picked<'_> {
    /// Rows that the component gets.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is nothing for the component.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.removed.is_empty()
    }

    /// The position of a row among all samples of the batch.
    #[inline]
    pub(super) fn position(&self, row: u32) -> u32 {
        self.rows.as_ref().map_or(row, |rows| rows[row as usize])
    }
}

/// New entries as the guest gets them.
pub(crate) struct News<'a> {
    meters: Vec<dictionary::NumberedMeterParam<'a>>,
    resources: Vec<dictionary::NumberedResourceParam<'a>>,
    forgotten: (&'a [u32], &'a [u32]),
}

impl News<'_> {
    /// All of it as one argument.
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
            meters: Numbers::new(numbering),
            resources: Numbers::new(numbering),
            own: Own::default(),
            unwanted: ByAddress::default(),
            columns: Columns::default(),
        }
    }

    /// Picks the rows that `filter` wants, and numbers what they refer to.
    pub(crate) fn pick<'b>(
        &mut self,
        batch: &'b Batch,
        filter: &Filter,
    ) -> Result<Picked<'b>, String> {
        let count = batch.samples.len();
        if u32::try_from(count).is_err() {
            return Err(format!("a batch of {count} samples is too large for a component"));
        }
        let Self { meters, resources, columns, unwanted, .. } = self;
        meters.begin();
        resources.begin();
        columns.clear(count);
        let mut rows: Option<Vec<u32>> = None;
        let mut newest = Timestamp::default();
        for (position, sample) in (0u32..).zip(&batch.samples) {
            let wanted = |meter: &Arc<Meter>| wants(unwanted, filter, meter);
            let Some(meter) = meters.number(&sample.meter, wanted) else {
                rows.get_or_insert_with(|| (0..position).collect());
                continue;
            };
            if let Some(rows) = &mut rows {
                rows.push(position);
            }
            let resource = resources.number(&sample.resource, |_| true);
            columns.push(meter, resource.expect("every resource is wanted"), sample);
            newest = newest.max(sample.taken.wall);
        }
        let count = columns.meter.len();
        if count == 0 {
            newest = batch.cycle_start.wall;
        }
        let removed = batch.gone.iter().map(AsRef::as_ref).collect();
        Ok(Picked { samples: &batch.samples, rows, count, newest, removed })
    }

    /// Whether the guest has to learn something before it gets the batch.
    pub(crate) fn has_news(&self) -> bool {
        self.meters.has_news() || self.resources.has_news()
    }

    /// The metadata of new resources, for [`Self::news`].
    pub(crate) fn texts(&self) -> Vec<String> {
        let resources = self.resources.news();
        resources.map(|(_, resource)| self.projection.text(&resource.metadata)).collect()
    }

    /// What the guest has to learn.
    pub(crate) fn news<'s>(&'s self, texts: &'s [String]) -> News<'s> {
        let meters = self.meters.news().map(|(number, meter)| dictionary::NumberedMeterParam {
            number,
            entry: super::meter(meter),
        });
        let resources = self.resources.news().zip(texts).map(|((number, resource), text)| {
            let entry = super::resource(resource, text);
            dictionary::NumberedResourceParam { number, entry }
        });
        News {
            meters: meters.collect(),
            resources: resources.collect(),
            forgotten: (self.meters.forgotten(), self.resources.forgotten()),
        }
    }

    /// The guest has learned the news.
    pub(crate) fn learned(&mut self) {
        self.meters.learned();
        self.resources.learned();
    }

    /// The rows as one argument.
    pub(crate) fn argument<'t>(&'t self, picked: &'t Picked<'_>) -> transform::Batch<'t> {
        let Columns { meter, resource, time, monotonic, volume, exact } = &self.columns;
        let removed = &picked.removed;
        transform::Batch { meter, resource, time, monotonic, volume, exact, removed }
    }

    /// The guest has returned the batch: numbers of resources that were removed with it are forgotten.
    pub(crate) fn forget(&mut self, picked: &Picked<'_>) {
        for id in &picked.removed {
            self.resources.forget_key(id);
        }
    }

    /// The meter of a number, with its bytes in a message.
    pub(super) fn meter(&self, number: u32) -> Option<(&Arc<Meter>, usize)> {
        match number.checked_sub(OWN) {
            None => self.meters.get(number).map(|meter| (meter, size::of_meter(meter))),
            Some(index) => self.own.meters.get(index).map(|(meter, size)| (meter, size.bytes)),
        }
    }

    /// The resource of a number.
    pub(super) fn resource(&self, number: u32) -> Option<&Arc<Resource>> {
        match number.checked_sub(OWN) {
            None => self.resources.get(number),
            Some(index) => self.own.resources.get(index).map(|(resource, _)| resource),
        }
    }
}

/// Whether a meter that the guest does not know is to be sent to it.
fn wants(unwanted: &mut ByAddress<Arc<Meter>>, filter: &Filter, meter: &Arc<Meter>) -> bool {
    if filter.is_empty() {
        return true;
    }
    let address = Arc::as_ptr(meter).addr();
    if unwanted.contains_key(&address) {
        return false;
    }
    let wanted = filter.wants(meter);
    if !wanted {
        if unwanted.len() >= UNWANTED {
            unwanted.clear();
        }
        unwanted.insert(address, Arc::clone(meter));
    }
    wanted
}

impl Columns {
    fn clear(&mut self, room: usize) {
        let Self { meter, resource, time, monotonic, volume, exact } = self;
        for column in [meter, resource] {
            column.clear();
            column.reserve(room);
        }
        for column in [time, monotonic] {
            column.clear();
            column.reserve(room);
        }
        volume.clear();
        volume.reserve(room);
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
