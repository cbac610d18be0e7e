//! Taps of clients: selects samples of the batches that pass, and makes lines of them.
//!
//! Runs in the task of the connection, as fast as the client reads. The pipeline never waits for it: what
//! is not shown is counted, and the count is a line of its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::selection::SampleFilter;
use crate::control::{Lines, Request};
use nephometer_model::{Bound, Release, Sample};
use nephometer_pipeline::{PassOutcome, Passage, SinkHandle, Tap, TapPoint, TapTarget, Taps};
use nephometer_wire::{Notation, as_dict};

/// Samples in a second, if the client names no number.
const DEFAULT_RATE: u64 = 1_000;

/// Opens a tap. Returns the answer, which repeats what it shows, and its lines.
///
/// # Errors
/// If the request names something that does not exist, or too many taps are open.
pub(super) fn open(
    taps: &Taps,
    sinks: &[(Arc<str>, SinkHandle)],
    request: &Request,
) -> Result<(Value, Lines), String> {
    let Request::Tap { at, transformer, sink, meter, resource, count, seconds, rate } = request
    else {
        return Err("not a request for a tap".to_owned());
    };
    let sink = sink.as_deref().map(|name| known_sink(sinks, name)).transpose()?;
    let target = target(at.as_deref(), transformer.as_deref())?;
    if target == TapTarget::Source && sink.is_some() {
        return Err("samples as polled belong to no sink; leave `sink` out".to_owned());
    }
    check_transformer(sinks, sink.as_ref(), &target)?;
    let filter = SampleFilter::new(meter.as_deref(), resource.as_deref())?;
    let most = Duration::from_millis(Bound::TapTime.most());
    let time =
        bounded("seconds", seconds.unwrap_or(most.as_secs()), most.as_secs(), Bound::TapTime)?;
    let most = Bound::TapRate.most();
    let rate = bounded("rate", rate.unwrap_or(DEFAULT_RATE), most, Bound::TapRate)?;
    let tap = taps.open(target, sink).map_err(|over| over.to_string())?;
    let answer = json!({ "seconds": time, "rate": rate, "count": count });
    let stream = TapStream {
        tap,
        filter,
        current: None,
        left: *count,
        end: Instant::now() + Duration::from_secs(time),
        rate: TapRateLimit { most: rate, began: Instant::now(), taken: 0 },
        counts: TapCounts::default(),
        state: TapState::Open,
    };
    let lines = futures_util::stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((line, stream))
    });
    Ok((answer, Box::pin(lines)))
}

fn known_sink(sinks: &[(Arc<str>, SinkHandle)], name: &str) -> Result<Arc<str>, String> {
    let found = sinks.iter().find(|(known, _)| **known == *name);
    found.map(|(known, _)| Arc::clone(known)).ok_or_else(|| {
        let known: Vec<&str> = sinks.iter().map(|(known, _)| &**known).collect();
        format!("unknown sink {name:?}; known sinks: {}", known.join(", "))
    })
}

fn target(at: Option<&str>, transformer: Option<&str>) -> Result<TapTarget, String> {
    match (at.unwrap_or("output"), transformer) {
        ("after", Some(name)) => Ok(match name.parse() {
            Ok(index) => TapTarget::AfterIndex(index),
            Err(_) => TapTarget::AfterComponent(name.to_owned()),
        }),
        ("after", None) => Err("`after` needs a transformer".to_owned()),
        (_, Some(_)) => Err("`transformer` is for `after` only".to_owned()),
        ("source", None) => Ok(TapTarget::Source),
        ("before", None) => Ok(TapTarget::Before),
        ("output", None) => Ok(TapTarget::Output),
        (other, None) => {
            Err(format!("unknown point {other:?}; use source, before, after or output"))
        }
    }
}

/// A transformer that no sink has is an error: the tap would stay empty for ever.
fn check_transformer(
    sinks: &[(Arc<str>, SinkHandle)],
    sink: Option<&Arc<str>>,
    target: &TapTarget,
) -> Result<(), String> {
    let mut known = Vec::new();
    let mut prepared = true;
    for (_, handle) in sinks.iter().filter(|(name, _)| sink.is_none_or(|only| only == name)) {
        prepared &= handle.has_transformers();
        let transformers = handle.status().transformers;
        known.extend(transformers.into_iter().map(|one| one.component).enumerate());
    }
    let (exists, what) = match target {
        TapTarget::AfterIndex(index) => {
            (known.iter().any(|(at, _)| at == index), format!("with the index {index}"))
        }
        TapTarget::AfterComponent(name) => {
            (known.iter().any(|(_, one)| **one == **name), format!("{name:?}"))
        }
        TapTarget::Source | TapTarget::Before | TapTarget::Output => return Ok(()),
    };
    // Those of a sink that is being prepared are not known yet.
    if exists || !prepared {
        return Ok(());
    }
    let known: Vec<String> = known.iter().map(|(at, name)| format!("{at} {name}")).collect();
    Err(format!("no transformer {what}; known transformers: {}", known.join(", ")))
}

fn bounded(key: &str, value: u64, most: u64, bound: Bound) -> Result<u64, String> {
    match value {
        0 => Err(format!("{key}: 0; use at least 1")),
        value if value > most => Err(format!("{key}: {value}; {}", bound.refusal())),
        value => Ok(value),
    }
}

/// How far a tap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TapState {
    Open,
    /// The last line has this reason.
    Ending(&'static str),
    Ended,
}

#[derive(Debug, Default)]
struct TapCounts {
    shown: u64,
    /// Not shown in all.
    not_shown: u64,
    /// Not shown because of the rate, and not reported so far.
    over_rate: u64,
}

/// Allows a number of samples in each second.
struct TapRateLimit {
    most: u64,
    began: Instant,
    taken: u64,
}

impl TapRateLimit {
    fn takes(&mut self, now: Instant) -> bool {
        if now.duration_since(self.began) >= Duration::from_secs(1) {
            (self.began, self.taken) = (now, 0);
        }
        self.taken += 1;
        self.taken <= self.most
    }
}

/// The lines of one tap.
struct TapStream {
    tap: Tap,
    filter: SampleFilter,
    /// A batch, and its samples that were looked at.
    current: Option<(Passage, usize)>,
    left: Option<u64>,
    end: Instant,
    rate: TapRateLimit,
    counts: TapCounts,
    state: TapState,
}

impl TapStream {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let TapState::Ending(reason) = self.state {
                if let Some(line) = self.not_shown() {
                    return Some(line);
                }
                self.state = TapState::Ended;
                let TapCounts { shown, not_shown, .. } = self.counts;
                let end = json!({ "end": reason, "shown": shown, "not_shown": not_shown });
                return Some(end.to_string());
            }
            if self.state == TapState::Ended {
                return None;
            }
            if self.left == Some(0) {
                self.state = TapState::Ending("count");
                continue;
            }
            if Instant::now() >= self.end {
                self.state = TapState::Ending("seconds");
                continue;
            }
            if let Some(line) = self.of_current().or_else(|| self.not_shown()) {
                return Some(line);
            }
            tokio::select! {
                passage = self.tap.next() => match passage {
                    Some(passage) => self.current = Some((passage, 0)),
                    None => self.state = TapState::Ending("stopped"),
                },
                () = sleep_until(self.end) => {}
            }
        }
    }

    /// The next selected sample of the current batch.
    fn of_current(&mut self) -> Option<String> {
        let (passage, at) = self.current.as_mut()?;
        let now = Instant::now();
        while let Some(sample) = passage.batch.samples.get(*at) {
            *at += 1;
            if !self.filter.matches(sample) {
                continue;
            }
            if !self.rate.takes(now) {
                self.counts.over_rate += 1;
                continue;
            }
            self.counts.shown += 1;
            self.left = self.left.map(|left| left - 1);
            return Some(line(passage, sample));
        }
        self.current = None;
        None
    }

    /// How many samples were not shown, if that was not reported yet.
    fn not_shown(&mut self) -> Option<String> {
        let over_rate = std::mem::take(&mut self.counts.over_rate);
        let (count, reason) = match over_rate {
            // Whether the filter selects them is not known: nobody has looked at them.
            0 => (self.tap.take_missed(), "busy"),
            count => (count, "rate"),
        };
        self.counts.not_shown += count;
        (count > 0).then(|| json!({ "not_shown": count, "reason": reason }).to_string())
    }
}

fn line(passage: &Passage, sample: &Sample) -> String {
    let (at, index) = match passage.point {
        TapPoint::Source => ("source", None),
        TapPoint::Before => ("before", None),
        TapPoint::After(index) => ("after", Some(index)),
    };
    let head = json!({
        "at": at,
        "source": *passage.batch.source,
        "sink": passage.sink.as_deref(),
        "transformer": passage.component.as_deref(),
        "index": index,
        "bypassed": passage.outcome == PassOutcome::Kept,
        "output": passage.is_output,
    });
    let mut dict = Vec::with_capacity(1_024);
    as_dict(&mut dict, Notation::Json, Release::Current, sample);
    let head = head.to_string();
    format!("{},\"sample\":{}}}", head.trim_end_matches('}'), String::from_utf8_lossy(&dict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_per_second() {
        let mut rate = TapRateLimit { most: 2, began: Instant::now(), taken: 0 };
        let mut takes = || (0..3).map(|_| rate.takes(Instant::now())).collect::<Vec<_>>();
        assert_eq!(takes(), [true, true, false]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(takes(), [false, false, false]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(takes(), [true, true, false]);
    }

    #[test]
    fn a_point_is_one_of_four() {
        assert_eq!(target(None, None), Ok(TapTarget::Output));
        assert_eq!(target(Some("after"), Some("1")), Ok(TapTarget::AfterIndex(1)));
        let named = TapTarget::AfterComponent("rate_of_change".to_owned());
        assert_eq!(target(Some("after"), Some("rate_of_change")), Ok(named));
        for (at, transformer) in [("after", None), ("before", Some("1")), ("behind", None)] {
            assert!(target(Some(at), transformer).is_err(), "{at}");
        }
        assert!(bounded("rate", 0, 10, Bound::TapRate).is_err());
        let error = bounded("seconds", 3_601, 3_600, Bound::TapTime).unwrap_err();
        assert!(error.contains("tap_time"), "{error}");
    }
}
