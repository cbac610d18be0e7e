//! What follows from the end of a guard: a rolled-back version is kept out of later reloads and starts, and
//! what was published meanwhile is written down.

use std::path::PathBuf;
use std::sync::Arc;

use super::factory::{TransformerKey, component};
use super::guards;
use super::plan::short_digest;
use super::reload_history::ReloadHistory;
use super::reload_request::ReloadReport;
use super::supervisor::Supervisor;
use nephometer_pipeline::transform::Identity;
use nephometer_pipeline::{GuardReport, SinkEvent};
use nephometer_store::write_correction;
use nephometer_telemetry::events::reload as events;

impl Supervisor {
    /// Does what follows from an event of a sink.
    pub(super) async fn handle_sink_event(&mut self, event: SinkEvent, history: &ReloadHistory) {
        match event {
            SinkEvent::GuardEnded { sink } => {
                self.guards.ended(&sink, &self.factory.shadows);
                self.keep_guarded().await;
            }
            SinkEvent::RolledBack { sink, restored, reason, guard, .. } => {
                let known = self.guards.restored(&sink, &restored);
                let Some(failed) = self.running.remove(&sink) else { return };
                let key = |identity: Identity| TransformerKey {
                    spec: component(&self.spec, &identity.component),
                    identity,
                };
                let restored = known.unwrap_or_else(|| restored.into_iter().map(key).collect());
                if let Some(report) = guard {
                    let report = self.hold((&sink, &reason), &report, &failed, &restored).await;
                    history.add("guard", report);
                } else {
                    self.forget_promotions(&failed);
                }
                self.running.insert(Arc::clone(&sink), restored);
                self.refusals.refuse(&sink, failed);
                self.keep_guarded().await;
            }
        }
        self.promotions.tidy();
    }

    /// Keeps the versions before in the place of rolled-back ones, writes the correction, and rolls other
    /// sinks back that guard the same change.
    async fn hold(
        &mut self,
        (sink, reason): (&Arc<str>, &str),
        guard: &GuardReport,
        failed: &[TransformerKey],
        restored: &[TransformerKey],
    ) -> ReloadReport {
        let mut report = ReloadReport::default();
        let pairs = failed.iter().zip(restored);
        for (failed, restored) in
            pairs.filter(|(new, old)| new.identity.digest != old.identity.digest)
        {
            let name = &failed.identity.component;
            let (new, old) =
                (short_digest(&failed.identity.digest), short_digest(&restored.identity.digest));
            report
                .problems
                .push(format!("sink {sink}: {name}: {new} was rolled back to {old}: {reason}"));
            if let Err(missing) = self.promotions.hold(failed, restored, reason) {
                let problem = format!("{name}: {old} is not kept over a restart: {missing}");
                events::refused(&problem);
                report.problems.push(problem);
            }
            for (other, handle) in self.sinks.iter().filter(|(other, _)| other != sink) {
                let runs_it = |key: &TransformerKey| key.identity.digest == failed.identity.digest;
                if self.running.get(other).is_some_and(|keys| keys.iter().any(runs_it)) {
                    handle.roll_back(format!("{name} was rolled back in sink {sink}")).await;
                }
            }
        }
        let written = self.write_correction(sink, reason, guard);
        if let Ok(path) = &written {
            report.changes.push(format!("sink {sink}: correction: {}", path.display()));
        }
        let guards = self.factory.shadows.guards();
        if let Some(entry) = guards.iter().find(|entry| entry.sink == *sink) {
            // A guard rolls back once.
            drop(entry.correction.set(written));
        }
        report
    }

    fn write_correction(
        &self,
        sink: &str,
        reason: &str,
        guard: &GuardReport,
    ) -> Result<PathBuf, String> {
        let document = guards::correction((&self.spec.host, sink), reason, guard);
        let written = match &self.factory.streams {
            Some(_) => write_correction(&self.spec.store.path, &document.to_string())
                .map_err(|error| error.to_string()),
            None => Err("this agent has no store on disk".to_owned()),
        };
        match &written {
            Ok(path) => {
                let samples = guard.progress().comparison.differing;
                events::correction_written(sink, path, samples);
            }
            Err(error) => events::correction_failed(sink, error),
        }
        written
    }

    /// Keeps copies of all guarded versions that a rollback may need.
    pub(super) async fn keep_guarded(&mut self) {
        let keys = self.running.values().flatten().chain(self.guards.before());
        let is_guarded = |key: &&TransformerKey| {
            self.spec.components.settings(&key.identity.component).guard.enabled
        };
        let keys: Vec<TransformerKey> = keys.filter(is_guarded).cloned().collect();
        self.promotions.keep_guarded(&self.factory.components, keys.iter()).await;
    }
}
