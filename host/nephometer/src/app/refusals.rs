//! What does not work as it is, and what is worth another attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::factory::TransformerKey;
use super::swap::SwapError;

/// When a reload is tried again that only the load of its sink was in the way of.
const AGAIN: Duration = Duration::from_secs(15);

/// What was tried in vain.
#[derive(Default)]
pub(super) struct Refusals {
    /// By sink: of no use until it differs.
    refused: HashMap<Arc<str>, Vec<TransformerKey>>,
    again: Option<Instant>,
}

impl Refusals {
    /// These failed with this error.
    pub(super) fn failed(&mut self, sink: &Arc<str>, keys: Vec<TransformerKey>, error: &SwapError) {
        match error {
            SwapError::Refused(_) => self.refuse(sink, keys),
            SwapError::Overtaken => self.again = Some(Instant::now() + AGAIN),
        }
    }

    /// These are of no use.
    pub(super) fn refuse(&mut self, sink: &Arc<str>, keys: Vec<TransformerKey>) {
        self.refused.insert(Arc::clone(sink), keys);
    }

    /// Something is at work in this sink.
    pub(super) fn worked(&mut self, sink: &Arc<str>) {
        self.refused.remove(sink);
    }

    /// Whether these are known to be of no use.
    pub(super) fn has(&self, sink: &str, keys: &[TransformerKey]) -> bool {
        self.refused.get(sink).is_some_and(|refused| refused == keys)
    }

    /// Waits until something is worth another attempt: for ever, if nothing is.
    pub(super) async fn again(&mut self) {
        match self.again {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.again = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::ComponentSpec;
    use nephometer_pipeline::transform::Identity;

    fn keys() -> Vec<TransformerKey> {
        let identity =
            Identity { component: "x".into(), digest: [1; 32], options: "{}".to_owned() };
        vec![TransformerKey { identity, spec: ComponentSpec::default() }]
    }

    // A reload during a backlog was refused with "batches come faster than it can work on them",
    // and remembered like a broken file: the agent never took the new code up by itself.
    #[tokio::test(start_paused = true)]
    async fn what_the_load_was_in_the_way_of_is_tried_again() {
        let mut refusals = Refusals::default();
        let sink: Arc<str> = "meter".into();
        refusals.failed(&sink, keys(), &SwapError::Overtaken);
        assert!(!refusals.has(&sink, &keys()));
        let begun = Instant::now();
        refusals.again().await;
        assert_eq!(begun.elapsed(), AGAIN);
        // Once.
        let more = tokio::time::timeout(10 * AGAIN, refusals.again()).await;
        assert!(more.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_of_no_use_is_left_until_it_differs() {
        let mut refusals = Refusals::default();
        let sink: Arc<str> = "meter".into();
        refusals.failed(&sink, keys(), &SwapError::Refused("it traps".to_owned()));
        assert!(refusals.has(&sink, &keys()));
        assert!(!refusals.has(&sink, &[]) && !refusals.has("other", &keys()));
        assert!(tokio::time::timeout(10 * AGAIN, refusals.again()).await.is_err());
        refusals.worked(&sink);
        assert!(!refusals.has(&sink, &keys()));
    }
}
