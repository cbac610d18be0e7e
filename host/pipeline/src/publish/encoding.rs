//! The output of one batch, encoded for one publisher. Envelopes are encoded on demand, and are the
//! same each time.

use std::borrow::Cow;
use std::iter;

use super::encode::{Encoder, SampleOrigin};
use crate::transform::SampleList;
use nephometer_model::{Glob, Offset, Sample};
use nephometer_store::{Envelope, Envelopes};

/// Samples to be encoded into envelopes.
#[derive(Debug)]
pub struct Encoding<'a> {
    encoder: &'a Encoder,
    /// Origin of the first envelope.
    origin: SampleOrigin<'a>,
    offset: Offset,
    /// Each list starts a new envelope.
    lists: Vec<Cow<'a, [Sample]>>,
}

impl<'a> Encoding<'a> {
    /// An encoding of these lists, in order. Samples of meters in `dropped_last` get envelopes of
    /// their own.
    pub(super) fn new(
        encoder: &'a Encoder,
        origin: SampleOrigin<'a>,
        offset: Offset,
        lists: &'a [SampleList],
        dropped_last: &[Glob],
    ) -> Self {
        let lists = lists.iter().flat_map(|samples| by_class(samples, dropped_last)).collect();
        Self { encoder, origin, offset, lists }
    }
}

impl Envelopes for Encoding<'_> {
    fn iter(&self) -> Box<dyn Iterator<Item = Envelope> + Send + '_> {
        // What was removed follows all samples, also the last ones of the removed resources.
        let last = self.lists.iter().rposition(|samples| !samples.is_empty());
        let mut lists = self.lists.iter().enumerate();
        let mut origin = self.origin;
        let mut list: Box<dyn Iterator<Item = Envelope> + Send + '_> = Box::new(iter::empty());
        Box::new(iter::from_fn(move || {
            loop {
                if let Some(envelope) = list.next() {
                    origin.sequence += 1;
                    return Some(Envelope { offset: self.offset, ..envelope });
                }
                let (at, samples) = lists.next()?;
                origin.removed = if Some(at) == last { self.origin.removed } else { &[] };
                list = self.encoder.envelopes(samples, origin);
            }
        }))
    }
}

/// Samples that a full spool drops last, then the others, each in their order.
fn by_class<'a>(samples: &'a [Sample], dropped_last: &[Glob]) -> Vec<Cow<'a, [Sample]>> {
    if dropped_last.is_empty() {
        return vec![Cow::Borrowed(samples)];
    }
    let is_last =
        |sample: &&Sample| dropped_last.iter().any(|glob| glob.matches(&sample.meter.name));
    let (last, others): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(is_last);
    let owned = |samples: Vec<&Sample>| Cow::Owned(samples.into_iter().cloned().collect());
    vec![owned(last), owned(others)]
}
