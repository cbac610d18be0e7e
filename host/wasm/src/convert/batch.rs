//! Samples as columns over a dictionary.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_address::ByAddress;
use super::metadata::Texts;
use crate::bindings::nephometer::metering::types;
use nephometer_model::{Batch, Glob, Meter, MeterType, Resource, Sample, Timestamp};

/// Which meters a component wants: `settings.meters`.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Glob>);

impl Filter {
    /// Reads the globs. Exclusions, which sources in `pipeline.yaml` know, are refused rather
    /// than taken for names.
    pub(crate) fn new(globs: &[String]) -> Result<Self, String> {
        let read = |glob: &String| {
            let read = Glob::new(glob).map_err(|error| error.to_string())?;
            if glob.starts_with('!') {
                return Err(format!("{glob:?} is no pattern of meters that are wanted"));
            }
            Ok(read)
        };
        globs.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn wants(&self, meter: &Meter) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(&meter.name))
    }
}

/// The rows of a batch that a component gets, with their dictionary.
pub(crate) struct Columns<'a> {
    pub(super) samples: &'a [Sample],
    /// Per row: which sample it is. Ascending.
    pub(super) rows: Vec<u32>,
    /// The newest time of a row; that of the tick if there is none.
    pub(super) newest: Timestamp,
    pub(super) meters: Dictionary<'a, Meter>,
    pub(super) resources: Dictionary<'a, Resource>,
    pub(super) meter: Vec<u32>,
    pub(super) resource: Vec<u32>,
    time: Vec<u64>,
    monotonic: Vec<u64>,
    volume: Vec<f64>,
    gone: Vec<&'a str>,
}

/// The columns as the guest gets them.
pub(crate) struct Parts<'a> {
    meters: Vec<types::MeterParam<'a>>,
    resources: Vec<types::ResourceParam<'a>>,
}

impl<'a> Columns<'a> {
    /// Picks the rows that `filter` wants.
    pub(crate) fn new(batch: &'a Batch, filter: &Filter) -> Result<Self, String> {
        let count = batch.samples.len();
        if u32::try_from(count).is_err() {
            return Err(format!("a batch of {count} samples is too large for a component"));
        }
        let mut columns = Self {
            samples: &batch.samples,
            rows: Vec::with_capacity(count),
            newest: Timestamp::default(),
            meters: Dictionary::default(),
            resources: Dictionary::default(),
            meter: Vec::with_capacity(count),
            resource: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            monotonic: Vec::with_capacity(count),
            volume: Vec::with_capacity(count),
            gone: batch.gone.iter().map(AsRef::as_ref).collect(),
        };
        let mut unwanted: ByAddress<()> = ByAddress::default();
        for (row, sample) in (0..).zip(&batch.samples) {
            let address = Arc::as_ptr(&sample.meter).addr();
            if !filter.0.is_empty() {
                if unwanted.contains_key(&address) {
                    continue;
                }
                if !columns.meters.knows(&sample.meter) && !filter.wants(&sample.meter) {
                    unwanted.insert(address, ());
                    continue;
                }
            }
            columns.push(row, sample);
        }
        if columns.rows.is_empty() {
            columns.newest = batch.tick.wall;
        }
        Ok(columns)
    }

    fn push(&mut self, row: u32, sample: &'a Sample) {
        self.rows.push(row);
        self.meter.push(self.meters.index(&sample.meter));
        self.resource.push(self.resources.index(&sample.resource));
        self.time.push(sample.taken.wall.as_nanos());
        self.monotonic.push(sample.taken.continuous.unwrap_or(0));
        self.volume.push(sample.volume.as_f64());
        self.newest = self.newest.max(sample.taken.wall);
    }

    /// Rows that the component gets.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to tell the component.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.gone.is_empty()
    }

    /// Which samples of the batch the rows are.
    pub(crate) fn picked(&self) -> &[u32] {
        &self.rows
    }

    /// The dictionary as the guest gets it.
    pub(crate) fn parts<'t>(&self, texts: &'t mut Texts) -> Parts<'t>
    where
        'a: 't,
    {
        texts.prepare(&self.resources.entries);
        let texts: &'t Texts = texts;
        let meters = self.meters.entries.iter().map(|meter| types::MeterParam {
            name: &meter.name,
            unit: &meter.unit,
            type_: match meter.kind {
                MeterType::Gauge => types::MeterType::Gauge,
                MeterType::Delta => types::MeterType::Delta,
                MeterType::Cumulative => types::MeterType::Cumulative,
            },
        });
        let resources = self.resources.entries.iter().map(|resource| types::ResourceParam {
            id: &resource.id,
            source: &resource.source,
            project_id: resource.project_id.as_deref(),
            user_id: resource.user_id.as_deref(),
            metadata: texts.get(resource),
        });
        Parts { meters: meters.collect(), resources: resources.collect() }
    }

    /// All of it as one argument.
    pub(crate) fn argument<'t>(&'t self, parts: &'t Parts<'t>) -> types::Batch<'t> {
        types::Batch {
            meters: &parts.meters,
            resources: &parts.resources,
            meter: &self.meter,
            resource: &self.resource,
            time: &self.time,
            monotonic: &self.monotonic,
            volume: &self.volume,
            gone: &self.gone,
        }
    }

    /// The sample behind a row, with the indexes of its meter and resource.
    pub(super) fn row(&self, row: usize) -> (&'a Sample, u32, u32) {
        (&self.samples[self.rows[row] as usize], self.meter[row], self.resource[row])
    }
}

/// What can stand in a dictionary: equal content, equal entry.
pub(super) trait Entry: PartialEq {
    /// What equal entries have in common, and few others have.
    fn key(&self) -> &str;
}

impl Entry for Meter {
    fn key(&self) -> &str {
        &self.name
    }
}

impl Entry for Resource {
    fn key(&self) -> &str {
        &self.id
    }
}

/// Entries by address first, as nearly all are shared, and by content where that is new.
pub(super) struct Dictionary<'a, T> {
    pub(super) entries: Vec<&'a Arc<T>>,
    by_address: ByAddress<u32>,
    /// The last entry of a key, and for each entry the one before with the same key.
    by_key: HashMap<&'a str, u32>,
    before: Vec<Option<u32>>,
    last: Option<(usize, u32)>,
}

impl<T> Default for Dictionary<'_, T> {
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

impl<'a, T: Entry> Dictionary<'a, T> {
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

    /// The entry with the same content.
    pub(super) fn find(&self, wanted: &T) -> Option<u32> {
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
