//! The meters of guests: the last polled batch of each source.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::histograms::Histograms;
use super::series::SeriesSet;
use super::text::{Exposition, FamilyKind, TextFormat};
use super::{ceilometer, native};
use nephometer_model::{Batch, Bound, Polled, Sample};

/// The form of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the exporter of Ceilometer 27.
    Ceilometer,
    /// In the conventions of Prometheus.
    Native,
}

/// What is known of the guests. Polling offers batches, scrapes read expositions.
#[derive(Debug)]
pub struct GuestMeters {
    form: Form,
    /// Batches that no scrape has seen so far. Locked for a moment only: the data path waits for it.
    offered: Mutex<Offered>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Offered {
    /// Batches, and whether each covers all domains.
    batches: Vec<(Arc<Batch>, bool)>,
    /// The sources of the configuration, if they have changed.
    sources: Option<HashSet<Arc<str>>>,
}

/// The samples of the sources, and the expositions made of them.
#[derive(Debug, Default)]
struct Known {
    sources: HashMap<Arc<str>, Current>,
    rendered: HashMap<TextFormat, Bytes>,
}

/// The current samples of a source.
#[derive(Debug)]
enum Current {
    /// Those of its last polling cycle.
    Cycle(Arc<Batch>),
    /// Those, and what has happened since.
    Changed(Vec<Sample>),
}

impl Current {
    fn samples(&self) -> &[Sample] {
        match self {
            Self::Cycle(batch) => &batch.samples,
            Self::Changed(samples) => samples,
        }
    }
}

impl GuestMeters {
    /// No meters so far.
    pub fn new(form: Form) -> Self {
        Self { form, offered: Mutex::default(), known: Mutex::default() }
    }

    /// Takes a reference to a batch. Never waits for a scrape, and what nobody scrapes is replaced by
    /// the next cycle of its source.
    pub fn offer(&self, polled: &Polled) {
        let Polled { batch, whole, .. } = polled;
        let mut offered = lock(&self.offered);
        if *whole {
            offered.batches.retain(|(known, _)| known.source != batch.source);
        } else if Bound::ScrapePending.check(offered.batches.len() + 1).is_err() {
            // Only after very many events within one cycle, which replaces them all.
            return;
        }
        offered.batches.push((Arc::clone(batch), *whole));
    }

    /// Forgets all sources but these.
    pub fn retain<'a>(&self, sources: impl Iterator<Item = &'a Arc<str>>) {
        lock(&self.offered).sources = Some(sources.cloned().collect());
    }

    /// The exposition. Made at the first scrape after a change, which takes about 1 ms for 1,000
    /// samples; the next ones get the same.
    pub fn exposition(&self, format: TextFormat) -> Bytes {
        let mut known = lock(&self.known);
        let Offered { batches, sources } = std::mem::take(&mut *lock(&self.offered));
        if !batches.is_empty() || sources.is_some() {
            known.rendered.clear();
        }
        for (batch, whole) in batches {
            known.apply(batch, whole);
        }
        if let Some(sources) = sources {
            known.sources.retain(|source, _| sources.contains(source));
        }
        if let Some(rendered) = known.rendered.get(&format) {
            return rendered.clone();
        }
        let rendered = self.render(&known, format);
        known.rendered.insert(format, rendered.clone());
        rendered
    }

    fn render(&self, known: &Known, format: TextFormat) -> Bytes {
        let (mut set, mut histograms) = (SeriesSet::default(), Histograms::default());
        let add = match self.form {
            Form::Ceilometer => ceilometer::add,
            Form::Native => native::add,
        };
        // In a fixed order, so that the same series are left out if there are too many.
        let mut sources: Vec<_> = known.sources.iter().collect();
        sources.sort_by_key(|(name, _)| Arc::clone(name));
        for (_, current) in sources {
            for sample in current.samples() {
                if self.form == Form::Ceilometer || !histograms.add(sample) {
                    add(&mut set, sample);
                }
            }
        }
        let mut exposition = Exposition::new(format);
        set.write(&mut exposition, self.form == Form::Native);
        histograms.write(&mut exposition);
        let left_out = set.left_out + histograms.left_out;
        if self.form == Form::Native || left_out > 0 {
            let help = "Series beyond the bound scrape_series, which this exposition lacks.";
            exposition.family("nephometer_guest_series_left_out", FamilyKind::Gauge, "", help);
            exposition.sample(&[], &left_out.to_string());
        }
        exposition.finish()
    }
}

impl Known {
    fn apply(&mut self, batch: Arc<Batch>, whole: bool) {
        let source = Arc::clone(&batch.source);
        if whole {
            self.sources.insert(source, Current::Cycle(batch));
            return;
        }
        let current = self.sources.entry(source).or_insert_with(|| Current::Changed(Vec::new()));
        let mut samples = current.samples().to_vec();
        let stopped: HashSet<&str> = batch.samples.iter().filter_map(stopped).collect();
        let replaced: HashSet<(&str, &str)> = batch.samples.iter().map(key).collect();
        samples.retain(|sample| {
            !replaced.contains(&key(sample))
                && !batch.removed.contains(&sample.resource.id)
                && !instance(sample).is_some_and(|instance| stopped.contains(instance))
        });
        samples.extend(batch.samples.iter().cloned());
        *current = Current::Changed(samples);
    }
}

fn key(sample: &Sample) -> (&str, &str) {
    (&sample.resource.id, &sample.meter.name)
}

fn instance(sample: &Sample) -> Option<&str> {
    sample.resource.metadata.get("instance_id")?.as_str()
}

/// The instance whose last sample this is: its other series end.
fn stopped(sample: &Sample) -> Option<&str> {
    let boundary = sample.resource.metadata.get("boundary")?;
    if boundary.get("event")?.as_str()? == "stopped" { instance(sample) } else { None }
}

/// No code under these locks panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
