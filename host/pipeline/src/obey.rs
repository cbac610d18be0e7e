//! What a sink does when it is asked to.

use std::sync::Arc;

use tokio::time::Instant;

use super::generation::{Base, Generation, Retired};
use super::handle::{Command, SinkState, TakeOver};
use super::sink::Sink;
use crate::transform::{SampleList, Window};
use nephometer_model::{Batch, Moment, Sample};
use nephometer_telemetry::events;

impl Sink {
    /// Between two batches, or while one is held.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Base { follow, reply } => {
                if follow {
                    self.trail = Some(Window::default());
                }
                let base = match &self.generation {
                    Some(generation) => Base::running(&generation.chain),
                    None => self.base.clone(),
                };
                // Whoever asked has gone: nothing was changed for it that matters.
                drop(reply.send(base));
            }
            Command::TakeOver { generation, finish, reply } => {
                let answer = self.take_over(generation, finish).await;
                drop(reply.send(answer));
            }
            Command::Abandon => self.trail = None,
            Command::Publishers(change) => self.outlet.change(change),
            Command::Inject { stage, samples, reply } => {
                drop(reply.send(self.inject(stage, samples).await));
            }
            Command::Hold { reason } => {
                if self.generation.is_none() {
                    self.wait_for_transformers(&reason);
                }
            }
            Command::End => {
                self.ending = true;
                self.ended = self.generation.is_none();
            }
        }
    }

    fn is_failing(&self) -> bool {
        self.ears.status.borrow().state != SinkState::Running
    }

    /// At the head of what was worked on, a generation that is there too takes over.
    async fn take_over(&mut self, mut generation: Box<Generation>, finish: bool) -> TakeOver {
        let begun = Instant::now();
        // Without it, something has happened that the base did not know, or too much.
        let Some(trail) = &self.trail else { return TakeOver::Stale(generation) };
        if generation.chain.position() < self.position {
            let at = generation.chain.position();
            let since =
                trail.events().iter().filter(|event| event.position() > at).cloned().collect();
            if !finish {
                return TakeOver::Behind(generation, since);
            }
            if let Err(error) = generation.follow(since).await {
                return TakeOver::Failed(error.to_string());
            }
        }
        let over = (self.trail.take(), self.retired.take());
        // One that fails is nothing to come back to.
        let comes_back = !self.is_failing();
        let mut generation = *generation;
        let mut before = self.generation.take();
        if let Some(before) = &mut before {
            generation.chain.inherit_names(&mut before.chain);
        }
        self.adopt(generation);
        self.ears.status.send_modify(|status| status.reloads += 1);
        let pause = begun.elapsed();
        events::reload::took_over(&self.name, self.position, pause);
        if comes_back {
            self.retired = before.take().map(Retired::new);
        }
        // Many batches and a state hang on these: freeing them would be a pause of its own.
        tokio::spawn(async move { drop((over, before)) });
        TakeOver::Done(pause)
    }

    /// Rows that were set aside go on where they stopped. What they leave in the transformers is
    /// saved at once, because the journal does not know them.
    async fn inject(&mut self, stage: usize, samples: Vec<Sample>) -> Result<usize, String> {
        let Some(generation) = &mut self.generation else {
            return Err("the sink waits for its transformers".to_owned());
        };
        let tick = samples.iter().map(|sample| sample.taken.wall).max().unwrap_or_default();
        let tick = Moment { wall: tick, ..Moment::default() };
        let batch = Batch { source: "dead-letters".into(), tick, samples, gone: Vec::new() };
        let batch = Arc::new(batch);
        let made = generation.chain.inject(stage, &batch).await.map_err(|e| e.to_string())?;
        // To the disk as well, as soon as what it made is there: no journal can bring it back.
        self.pending = Some(generation.to_save());
        let count = made.len();
        self.emit(self.position, &batch, vec![SampleList::Own(made)]).await;
        // The generation before has not seen them, nor has one that is on its way.
        self.retired = None;
        self.trail = None;
        Ok(count)
    }
}
