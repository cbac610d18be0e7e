use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::OnError;
use crate::model::{Batch, Sample};
use crate::publish::{Backoff, PublisherHandle};
use crate::store::JournalReader;
use crate::telemetry::{SinkCount, events};
use crate::transform::{Chain, Decision, Verdict};

/// What one sink published at once.
#[derive(Debug)]
pub struct Emission {
    /// The sink.
    pub sink: Arc<str>,
    /// In the order in which publishers got them; never empty.
    pub samples: Vec<Sample>,
}

/// Somebody who looks on: gets everything that a sink emits, beside its publishers.
pub type Tap = mpsc::Sender<Emission>;

/// How long a held batch waits before it is tried again.
const HOLD: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// One sink: a cursor on its journal, its transformers, its publishers.
pub struct Sink {
    /// As in `pipeline.yaml`.
    pub name: Arc<str>,
    /// What it has to do.
    pub journal: JournalReader,
    /// Its transformers.
    pub chain: Chain,
    /// Per transformer: what becomes of a batch that it failed on twice.
    pub on_error: Vec<OnError>,
    /// Whom it tells, in this order.
    pub publishers: Vec<PublisherHandle>,
    /// Who looks on.
    pub tap: Option<Tap>,
    /// Its counters.
    pub count: Arc<SinkCount>,
    /// Whether a component failed on the last batch: said once, and once more when it is over.
    pub failing: bool,
}

impl Sink {
    /// Works off the journal until no more can come. A batch leaves the journal only after
    /// everything that it made is in the publishers' spools.
    pub async fn run(mut self) {
        while let Some(batch) = self.journal.next().await {
            self.event(&batch).await;
            self.count.processed.fetch_add(batch.samples.len() as u64, Relaxed);
            self.journal.advance();
        }
    }

    async fn event(&mut self, batch: &Arc<Batch>) {
        let mut waits = 0;
        let mut verdicts: Vec<Verdict> = Vec::new();
        loop {
            let error = match self.chain.process(batch, &verdicts).await {
                Ok(lists) => {
                    if verdicts.is_empty() && std::mem::take(&mut self.failing) {
                        events::pipeline::component_works(&self.name);
                    }
                    return self.emit(batch, lists).await;
                }
                Err(error) => error,
            };
            let stage = error.stage;
            let on_error = self.on_error.get(stage).copied().unwrap_or_default();
            if !std::mem::replace(&mut self.failing, true) {
                let word = on_error.as_str();
                events::pipeline::component_failed(&self.name, batch.samples.len(), word, &error);
            }
            let decided = verdicts.iter().any(|verdict| verdict.stage == stage);
            match on_error {
                OnError::Drop if !decided => {
                    verdicts.push(Verdict { stage, decision: Decision::Drop });
                }
                OnError::Keep if !decided => {
                    verdicts.push(Verdict { stage, decision: Decision::Keep });
                }
                _ => {
                    waits += 1;
                    tokio::time::sleep(HOLD.delay(waits, spread(batch))).await;
                }
            }
        }
    }

    async fn emit(&mut self, batch: &Batch, lists: Vec<Vec<Sample>>) {
        for samples in lists.into_iter().filter(|samples| !samples.is_empty()) {
            for publisher in &mut self.publishers {
                publisher.accept(&self.name, &samples, &batch.source, batch.tick).await;
            }
            if let Some(tap) = &self.tap {
                let emission = Emission { sink: Arc::clone(&self.name), samples };
                if tap.send(emission).await.is_err() {
                    events::pipeline::onlooker_gone(&self.name);
                }
            }
        }
    }
}

/// Differs between batches, so that sinks that fail together do not come back together.
fn spread(batch: &Batch) -> u16 {
    let id = batch.samples.first().map_or([0; 16], |sample| sample.id.into_bytes());
    u16::from_be_bytes([id[0], id[1]])
}
