//! The progress of one envelope: which series are written, which are refused, which are left.
//!
//! A receiver refuses a request as a whole if it cannot take one of its samples. The request is then
//! halved until the refused series are alone, so that the others arrive.

use std::ops::Range;

use nephometer_guest::{Failure, later, log};

use crate::Series;

/// After this many refused requests of one envelope, refused requests are not halved any more:
/// everything in them is rejected.
const MOST_REFUSALS: usize = 64;

/// What became of a request that was answered for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The receiver has it.
    Accepted,
    /// It will never be accepted.
    Refused {
        /// Why.
        reason: String,
        /// Whether a smaller one may be.
        may_be_halved: bool,
    },
}

/// The progress of the current envelope. One is enough: the host delivers one envelope at a time,
/// and repeats it until it is acknowledged or rejected.
#[derive(Debug, Default)]
pub struct Progress {
    id: String,
    /// What is left, the next range last.
    left: Vec<Range<usize>>,
    refusals: usize,
    refused: usize,
    first_reason: Option<String>,
}

impl Progress {
    /// Sends the series of an envelope that were not sent yet.
    ///
    /// # Errors
    /// Retryable or broken if a request failed or time ran out: the next call with the same `id`
    /// resumes. Permanent if some series were refused; the others were written.
    pub fn resume(
        &mut self,
        id: &str,
        series: &[Series],
        mut send: impl FnMut(&[Series]) -> Result<Sent, Failure>,
        has_time: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        if self.id != id {
            let all = 0..series.len();
            *self = Self { id: id.to_owned(), left: vec![all], ..Self::default() };
        }
        let mut requests = 0;
        while let Some(range) = self.left.last().cloned() {
            let Some(part) = series.get(range.clone()).filter(|part| !part.is_empty()) else {
                self.left.pop();
                continue;
            };
            if requests > 0 && !has_time() {
                let reason = "a refused request is being halved, more to come".to_owned();
                return Err(later(reason, Some(0)));
            }
            requests += 1;
            let sent = send(part)?;
            self.left.pop();
            if let Sent::Refused { reason, may_be_halved } = sent {
                self.refuse(range, reason, may_be_halved);
            }
        }
        let Self { refused, first_reason, .. } = std::mem::take(self);
        match first_reason {
            None => Ok(()),
            Some(reason) => {
                let all = series.len();
                let reason = format!("{refused} of {all} series were refused, first: {reason}");
                Err(Failure::Permanent(reason))
            }
        }
    }

    fn refuse(&mut self, range: Range<usize>, reason: String, may_be_halved: bool) {
        self.refusals += 1;
        if range.len() > 1 && may_be_halved && self.refusals < MOST_REFUSALS {
            let middle = range.start + range.len() / 2;
            self.left.push(middle..range.end);
            self.left.push(range.start..middle);
            return;
        }
        self.refused += range.len();
        log::warn(&reason);
        self.first_reason.get_or_insert(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    fn series(count: i64) -> Vec<Series> {
        let one = |time| Series {
            resource: String::new(),
            labels: Vec::new(),
            samples: vec![(time, 0.0)],
        };
        (0..count).map(one).collect()
    }

    fn numbers(part: &[Series]) -> Vec<i64> {
        part.iter().map(|one| one.samples[0].0).collect()
    }

    fn refused(may_be_halved: bool) -> Result<Sent, Failure> {
        Ok(Sent::Refused { reason: "out of order".to_owned(), may_be_halved })
    }

    #[test]
    fn one_refused_series_does_not_cost_the_others() {
        let arrived = RefCell::new(Vec::new());
        let send = |part: &[Series]| {
            let part = numbers(part);
            if part.contains(&5) {
                return refused(true);
            }
            arrived.borrow_mut().extend(part);
            Ok(Sent::Accepted)
        };
        let result = Progress::default().resume("1", &series(10), send, || true);
        let reason = "1 of 10 series were refused, first: out of order".to_owned();
        assert_eq!(result, Err(Failure::Permanent(reason)));
        assert_eq!(*arrived.borrow(), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn the_number_of_refused_requests_is_bounded() {
        let requests = Cell::new(0);
        let send = |_: &[Series]| {
            requests.set(requests.get() + 1);
            refused(true)
        };
        let result = Progress::default().resume("1", &series(5_000), send, || true);
        let reason = "5000 of 5000 series were refused, first: out of order".to_owned();
        assert_eq!(result, Err(Failure::Permanent(reason)));
        assert!(requests.get() < 2 * MOST_REFUSALS, "{}", requests.get());
    }

    #[test]
    fn a_refusal_of_everything_is_not_halved() {
        let requests = Cell::new(0);
        let send = |_: &[Series]| {
            requests.set(requests.get() + 1);
            refused(false)
        };
        assert!(Progress::default().resume("1", &series(10), send, || true).is_err());
        assert_eq!(requests.get(), 1);
    }

    #[test]
    fn an_envelope_is_resumed_where_it_failed() {
        let (sent, fails) = (RefCell::new(Vec::new()), Cell::new(true));
        let send = |part: &[Series]| {
            if part.len() == 4 {
                return refused(true);
            }
            if numbers(part) == [2, 3] && fails.replace(false) {
                return Err(later("away", None));
            }
            sent.borrow_mut().push(numbers(part));
            Ok(Sent::Accepted)
        };
        let mut progress = Progress::default();
        assert_eq!(progress.resume("1", &series(4), send, || true), Err(later("away", None)));
        assert_eq!(progress.resume("1", &series(4), send, || true), Ok(()));
        assert_eq!(*sent.borrow(), [[0, 1], [2, 3]]);
        // Each call sends at least one request.
        let mut progress = Progress::default();
        for _ in 0..2 {
            assert!(matches!(
                progress.resume("2", &series(4), send, || false),
                Err(Failure::Retryable(_))
            ));
        }
        assert_eq!(progress.resume("2", &series(4), send, || false), Ok(()));
        assert_eq!(progress.resume("3", &[], send, || false), Ok(()));
    }
}
