//! Ends the series of removed resources.
//!
//! Without a marker, queries return the last value of a series for five minutes after it ended. The
//! instance remembers the series that it wrote; a new instance knows none, and the series of
//! resources that are removed before it has written them end without a marker.

use nephometer_guest::{FxHashMap, FxHashSet};

use crate::{Series, Written};

/// Series beyond this number are not remembered: some 20 MB.
const MOST: usize = 50_000;

/// What was written: by resource, the labels of its series and the time of the newest sample.
#[derive(Debug, Default)]
pub struct KnownSeries {
    by_resource: FxHashMap<String, FxHashMap<Vec<(String, String)>, i64>>,
    count: usize,
    is_full: bool,
}

impl KnownSeries {
    /// Adds a marker to each series of these resources. Does not forget them: an envelope that is
    /// sent again has to be the same.
    pub fn mark_stale(&self, written: &mut Written, removed: &[String]) {
        let Some(newest) = written.newest() else { return };
        let removed: FxHashSet<&str> = removed.iter().map(String::as_str).collect();
        for series in &mut written.series {
            if removed.contains(series.resource.as_str()) {
                series.end(newest);
            }
        }
        let written_labels: FxHashSet<_> =
            written.series.iter().map(|series| &series.labels).collect();
        let mut others = Vec::new();
        for resource in removed {
            for (labels, time) in self.by_resource.get(resource).into_iter().flatten() {
                if !written_labels.contains(labels) {
                    let (resource, labels) = (resource.to_owned(), labels.clone());
                    let mut series = Series { resource, labels, samples: Vec::new() };
                    series.end(newest.max(time.saturating_add(1)));
                    others.push(series);
                }
            }
        }
        // The order of a map is not that of the next attempt.
        others.sort_unstable_by(|one, other| one.labels.cmp(&other.labels));
        written.series.append(&mut others);
    }

    /// Remembers what was written, and forgets removed resources. Returns false once if there are
    /// too many series.
    pub fn remember(&mut self, written: &Written, removed: &[String]) -> bool {
        for series in written.series.iter().filter(|series| !series.is_ended()) {
            let Some((time, _)) = series.samples.last() else { continue };
            let known = self.by_resource.get_mut(&series.resource);
            if let Some(newest) = known.and_then(|known| known.get_mut(&series.labels)) {
                *newest = *time;
            } else if self.count < MOST {
                let known = self.by_resource.entry(series.resource.clone()).or_default();
                known.insert(series.labels.clone(), *time);
                self.count += 1;
            } else if !std::mem::replace(&mut self.is_full, true) {
                return false;
            }
        }
        for resource in removed {
            let known = self.by_resource.remove(resource);
            self.count -= known.map_or(0, |known| known.len());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(resource: &str, name: &str, time: i64) -> Series {
        let labels =
            vec![("__name__".to_owned(), name.to_owned()), ("r".to_owned(), resource.to_owned())];
        Series { resource: resource.to_owned(), labels, samples: vec![(time, 1.0)] }
    }

    fn written(series: Vec<Series>) -> Written {
        Written { series, ..Written::default() }
    }

    #[test]
    fn the_series_of_a_removed_resource_are_ended_once() {
        let mut known = KnownSeries::default();
        let first = written(vec![
            series("a", "cpu", 10),
            series("a", "memory", 10),
            series("b", "cpu", 10),
        ]);
        assert!(known.remember(&first, &[]));
        let removed = ["a".to_owned()];
        let mut second = written(vec![series("b", "cpu", 20)]);
        known.mark_stale(&mut second, &removed);
        let mut again = written(vec![series("b", "cpu", 20)]);
        known.mark_stale(&mut again, &removed);
        let times = |written: &Written| {
            let each = written.series.iter();
            each.map(|one| (one.labels[0].1.clone(), one.samples[0].0, one.is_ended()))
                .collect::<Vec<_>>()
        };
        let wanted = [("cpu", 20, false), ("cpu", 20, true), ("memory", 20, true)];
        let wanted = wanted.map(|(name, time, ended)| (name.to_owned(), time, ended));
        assert_eq!(times(&second), wanted);
        assert_eq!(times(&again), wanted, "a second attempt differs");
        assert!(known.remember(&second, &removed));
        let mut third = written(vec![series("b", "cpu", 30)]);
        known.mark_stale(&mut third, &removed);
        assert_eq!(third.series.len(), 1);
        assert_eq!(known.count, 1);
    }

    #[test]
    fn a_marker_follows_the_last_sample_of_its_series() {
        let known = KnownSeries::default();
        let mut last = written(vec![series("a", "power_state", 40), series("b", "cpu", 35)]);
        known.mark_stale(&mut last, &["a".to_owned()]);
        assert_eq!(last.series[0].samples[1].0, 41);
        assert!(last.series[0].is_ended() && !last.series[1].is_ended());
        // Without samples there is no time.
        let mut nothing = Written::default();
        known.mark_stale(&mut nothing, &["a".to_owned()]);
        assert!(nothing.series.is_empty());
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut known = KnownSeries { count: MOST, ..KnownSeries::default() };
        let more = written(vec![series("a", "cpu", 1)]);
        assert!(!known.remember(&more, &[]));
        assert!(known.remember(&more, &[]), "it is reported once");
        assert!(known.by_resource.is_empty());
    }
}
