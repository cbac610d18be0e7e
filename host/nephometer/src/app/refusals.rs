//! Remembers which transformers failed in a reload, and when to retry one that only the load prevented.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::factory::TransformerKey;
use super::swap::SwapError;

/// The delay before a reload is retried that could not catch up with its sink.
const RETRY_DELAY: Duration = Duration::from_secs(15);

/// Failed reloads.
#[derive(Default)]
pub(super) struct Refusals {
    /// By sink: transformers that are not tried again until they change.
    refused: HashMap<Arc<str>, Vec<TransformerKey>>,
    retry_at: Option<Instant>,
}

impl Refusals {
    /// Records a failed reload: it is refused, or retried later if only the load prevented it.
    pub(super) fn record_failure(
        &mut self,
        sink: &Arc<str>,
        keys: Vec<TransformerKey>,
        error: &SwapError,
    ) {
        match error {
            SwapError::Refused(_) => self.refuse(sink, keys),
            SwapError::Overtaken => self.retry_at = Some(Instant::now() + RETRY_DELAY),
        }
    }

    /// Refuses these transformers until they change.
    pub(super) fn refuse(&mut self, sink: &Arc<str>, keys: Vec<TransformerKey>) {
        self.refused.insert(Arc::clone(sink), keys);
    }

    /// Forgets the refusal of a sink whose reload succeeded.
    pub(super) fn clear(&mut self, sink: &Arc<str>) {
        self.refused.remove(sink);
    }

    /// Whether these transformers have been refused.
    pub(super) fn contains(&self, sink: &str, keys: &[TransformerKey]) -> bool {
        self.refused.get(sink).is_some_and(|refused| refused == keys)
    }

    /// Waits until a reload is due for a retry; for ever if none is.
    pub(super) async fn retry_due(&mut self) {
        match self.retry_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.retry_at = None;
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

    // A reload during a backlog was refused like a broken file: the agent never applied the new
    // component by itself.
    #[tokio::test(start_paused = true)]
    async fn a_reload_that_could_not_catch_up_is_retried_once() {
        let mut refusals = Refusals::default();
        let sink: Arc<str> = "meter".into();
        refusals.record_failure(&sink, keys(), &SwapError::Overtaken);
        assert!(!refusals.contains(&sink, &keys()));
        let begun = Instant::now();
        refusals.retry_due().await;
        assert_eq!(begun.elapsed(), RETRY_DELAY);
        let second = tokio::time::timeout(10 * RETRY_DELAY, refusals.retry_due()).await;
        assert!(second.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_transformers_are_not_retried_until_they_change() {
        let mut refusals = Refusals::default();
        let sink: Arc<str> = "meter".into();
        refusals.record_failure(&sink, keys(), &SwapError::Refused("it traps".to_owned()));
        assert!(refusals.contains(&sink, &keys()));
        assert!(!refusals.contains(&sink, &[]) && !refusals.contains("other", &keys()));
        assert!(tokio::time::timeout(10 * RETRY_DELAY, refusals.retry_due()).await.is_err());
        refusals.clear(&sink);
        assert!(!refusals.contains(&sink, &keys()));
    }
}
