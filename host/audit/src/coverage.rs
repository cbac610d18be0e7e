//! The times of a series at which there are samples, from every host that has sent some.

use nephometer_model::Glob;
use nephometer_proof::Statement;

use super::stream::{ReasonSpan, TOLERANCE};

/// A time with samples of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    from: i64,
    to: i64,
    stream: usize,
}

/// The samples of one series.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pieces: Vec<Piece>,
    /// Seconds between its samples, as the statement has it; `None` for meters that a transformer
    /// makes.
    pub(crate) interval: Option<f64>,
}

/// A time without samples, between two of the series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reason: String,
}

impl Presence {
    /// Adds a sample that a stream has sent.
    pub(crate) fn add(&mut self, time: i64, stream: usize, interval: Option<f64>) {
        self.interval = interval.or(self.interval);
        let most = self.tolerance();
        let last = self.pieces.iter_mut().rev().find(|piece| piece.stream == stream);
        match last {
            Some(last) if time >= last.from && time.saturating_sub(last.to) <= most => {
                last.to = last.to.max(time);
            }
            _ => self.pieces.push(Piece { from: time, to: time, stream }),
        }
    }

    /// Microseconds between two samples that are no gap.
    #[expect(clippy::cast_possible_truncation, reason = "times beyond i64 are no gap either")]
    fn tolerance(&self) -> i64 {
        self.interval.map_or(i64::MAX, |interval| (interval * TOLERANCE * 1e6) as i64)
    }

    /// The first and the last time.
    pub(crate) fn ends(&self) -> Option<[i64; 2]> {
        let first = self.pieces.iter().map(|piece| piece.from).min()?;
        Some([first, self.pieces.iter().map(|piece| piece.to).max()?])
    }

    /// The streams, in the order of their first samples.
    pub(crate) fn streams(&self) -> Vec<usize> {
        let mut sorted = self.pieces.clone();
        sorted.sort_unstable();
        let mut streams = Vec::new();
        for piece in sorted {
            if !streams.contains(&piece.stream) {
                streams.push(piece.stream);
            }
        }
        streams
    }

    /// The times without samples of any stream, each with the reason that its stream has for it.
    pub(crate) fn missing(&self, spans: &[&[ReasonSpan]]) -> Vec<Missing> {
        let mut sorted = self.pieces.clone();
        sorted.sort_unstable();
        let (mut missing, mut last): (Vec<Missing>, Option<Piece>) = (Vec::new(), None);
        for piece in sorted {
            if let Some(before) = last
                && piece.from.saturating_sub(before.to) > self.tolerance()
            {
                let (from, to) = (before.to, piece.from);
                let reason = reason(spans[before.stream], from, to)
                    .unwrap_or(if before.stream == piece.stream { "not_sampled" } else { "moved" });
                missing.push(Missing { from, to, reason: reason.to_owned() });
            }
            if last.is_none_or(|before| piece.to >= before.to) {
                last = Some(piece);
            }
        }
        missing
    }
}

/// The reason of a stream for a time: that of the first of its spans within it.
fn reason(spans: &[ReasonSpan], from: i64, to: i64) -> Option<&str> {
    let found = spans.iter().find(|span| span.from < to && span.to > from);
    found.map(|span| &*span.reason)
}

/// Seconds between samples of a meter: the longest interval of the sources that select it. `None` if
/// none does.
pub(crate) fn interval(statement: &Statement, meter: &str) -> Option<f64> {
    let fits = statement.sources.iter().filter(|source| {
        selects(&source.meters, meter)
            && (source.only.is_empty() || source.only.iter().any(|list| selects(list, meter)))
            && !source.without.iter().any(|list| selects(list, meter))
    });
    fits.map(|source| source.interval).reduce(f64::max)
}

/// Whether a list of patterns selects a meter: no pattern behind `!` matches, and another one does, if
/// there are others.
fn selects(patterns: &[String], meter: &str) -> bool {
    let matches = |pattern: &str| Glob::new(pattern).is_ok_and(|glob| glob.matches(meter));
    let (excluded, included): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| pattern.starts_with('!'));
    !excluded.iter().any(|pattern| matches(&pattern[1..]))
        && (included.is_empty() || included.iter().any(|pattern| matches(pattern)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn presence(times: &[(i64, usize)]) -> Presence {
        let mut presence = Presence::default();
        for (time, stream) in times {
            presence.add(time * SECOND, *stream, Some(10.0));
        }
        presence
    }

    fn span(from: i64, to: i64, reason: &str) -> ReasonSpan {
        let (from, to, reason) = (from * SECOND, to * SECOND, reason.to_owned());
        ReasonSpan { from, to, reason, numbers: None, samples: None }
    }

    fn missing(times: &[(i64, usize)], spans: &[&[ReasonSpan]]) -> Vec<(i64, i64, String)> {
        let found = presence(times).missing(spans).into_iter();
        found.map(|one| (one.from / SECOND, one.to / SECOND, one.reason)).collect()
    }

    #[test]
    fn each_missing_time_has_a_reason() {
        let times = [(0, 0), (10, 0), (20, 0), (60, 0), (70, 0)];
        assert_eq!(missing(&times, &[&[]]), [(20, 60, "not_sampled".to_owned())]);
        let dropped = [span(30, 40, "spool_full"), span(200, 300, "agent_silent")];
        assert_eq!(missing(&times, &[&dropped]), [(20, 60, "spool_full".to_owned())]);
        // 17 s are within the tolerance of an interval of 10 s.
        assert_eq!(missing(&[(0, 0), (17, 0), (34, 0)], &[&[]]), []);
    }

    /// While a guest migrates, two hosts have it: what one lacks, the other may have.
    #[test]
    fn samples_of_two_hosts_are_one_coverage() {
        let both = [(0, 0), (10, 0), (20, 0), (15, 1), (25, 1), (35, 1)];
        assert_eq!(missing(&both, &[&[], &[]]), []);
        let moved = [(0, 0), (10, 0), (50, 1), (60, 1)];
        assert_eq!(missing(&moved, &[&[], &[]]), [(10, 50, "moved".to_owned())]);
        // One host within the times of the other ends nothing.
        let within = [(0, 0), (10, 0), (20, 0), (30, 0), (40, 0), (12, 1), (55, 0)];
        assert_eq!(missing(&within, &[&[], &[]]), []);
        assert_eq!(presence(&moved).streams(), [0, 1]);
    }
}
