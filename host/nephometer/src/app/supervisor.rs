//! The supervisor: applies changed components, options, publishers and sources while the agent runs.
//!
//! Does the slow work, such as compiling, beside the sinks; they get a chain revision that is ready.
//! A change that fails leaves the running parts in place.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::factory::{Factory, TransformerKey, join_lines};
use super::guards::Guards;
use super::inspections::Inspections;
use super::plan;
use super::refusals::Refusals;
use super::reload_history::ReloadHistory;
use super::reload_request::{ReloadReport, ReloadRequest};
use super::rotation;
use super::shadows::{Promotions, Shadows};
use super::sources::{sources_of, watched_paths};
use super::supply::{Supply, provisions};
use super::swap::{dry_run, swap};
use super::{AppError, Reload};
use crate::watch::FileWatcher;
use nephometer_config::{AgentSpec, ComponentsSpec, PublisherSpec, SinkSpec, SourceSpec};
use nephometer_pipeline::publish::PublisherTask;
use nephometer_pipeline::{Publishers, SinkEvent, SinkHandle};
use nephometer_store::Journal;
use nephometer_telemetry::{Chain, Service, events::reload as events};

/// A change of the running tasks.
pub(super) enum Change {
    /// Poll these sources from now on.
    Sources(Vec<SourceSpec>),
    /// Run this task of a new publisher.
    Publisher(PublisherTask),
    /// Use the tokens of listeners and the credentials of the cloud of this configuration.
    Secrets(Arc<AgentSpec>),
}

/// Why a reload is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Files changed. Refused transformers are tried again only if they differ.
    Files,
    /// A user requested it.
    Requested,
    /// A user requested a plan: nothing is changed.
    Plan,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Requested => "requested",
            Self::Plan => "plan",
        }
    }
}

/// Reloads a running agent.
pub(super) struct Supervisor {
    pub(super) factory: Arc<Factory>,
    journal: Journal,
    pub(super) spec: AgentSpec,
    pub(super) sinks: Vec<(Arc<str>, SinkHandle)>,
    reload: Reload,
    /// The running transformers, by sink.
    pub(super) running: HashMap<Arc<str>, Vec<TransformerKey>>,
    pub(super) promotions: Promotions,
    shadows: Shadows,
    pub(super) refusals: Refusals,
    pub(super) guards: Guards,
    supply: Supply,
    inspections: Inspections,
}

/// The channels of the supervisor.
pub(super) struct SupervisorChannels {
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) sink_events: mpsc::Receiver<SinkEvent>,
    pub(super) reload_requests: mpsc::Receiver<ReloadRequest>,
    /// Learns what each reload did.
    pub(super) history: Arc<ReloadHistory>,
    /// The configuration that is in effect.
    pub(super) in_effect: watch::Sender<Arc<AgentSpec>>,
    /// Learns when a reload begins and ends.
    pub(super) service: Service,
}

impl Supervisor {
    /// Supervises these sinks.
    pub(super) fn new(
        factory: Arc<Factory>,
        journal: Journal,
        spec: AgentSpec,
        sinks: Vec<(Arc<str>, SinkHandle)>,
        reload: Reload,
    ) -> Self {
        let (running, refusals) = (HashMap::new(), Refusals::default());
        let (supply, inspections) = (Supply::default(), Inspections::default());
        let store = factory.streams.as_ref().map(|_| &*spec.store.path);
        let promotions = Promotions::open(store, &factory.shadows);
        let (shadows, guards) = (Shadows::default(), Guards::default());
        Self {
            factory,
            journal,
            spec,
            sinks,
            reload,
            running,
            promotions,
            shadows,
            refusals,
            guards,
            supply,
            inspections,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, mut channels: SupervisorChannels) {
        let mut files = FileWatcher::new(watched_paths(&self.spec, &self.reload.files));
        self.build_pending_sinks().await;
        self.inspect_running().await;
        self.sync_shadows().await;
        self.supply.start(&self.spec, false);
        loop {
            // A reload may have named other files with secrets.
            files.set_paths(watched_paths(&self.spec, &self.reload.files));
            let cause = tokio::select! {
                Some(sink_event) = channels.sink_events.recv() => {
                    self.handle_sink_event(sink_event, &channels.history).await;
                    self.sync_shadows().await;
                    continue;
                }
                Some(request) = channels.reload_requests.recv() => {
                    let report = self.handle_request(request.kind, &channels).await;
                    // The client may have disconnected; the log has the report.
                    drop(request.reply.send(report));
                    continue;
                }
                () = files.changed() => Cause::Files,
                () = self.refusals.retry_due() => Cause::Files,
                () = self.supply.arrived() => Cause::Files,
                Some(()) = self.reload.hangups.recv() => Cause::Requested,
            };
            self.reload_and_log(cause, &channels).await;
        }
    }

    /// Keeps what a later plan compares with.
    async fn inspect_running(&mut self) {
        let running = self.running.values().flatten();
        self.inspections.remember(&self.factory.components, running).await;
        self.keep_guarded().await;
    }

    async fn sync_shadows(&mut self) {
        let (sinks, running) = (&self.sinks, &self.running);
        self.shadows.sync(&self.factory, &self.spec, sinks, running).await;
    }

    /// Records the running transformers, and builds those that the start has left out.
    async fn build_pending_sinks(&mut self) {
        let spec = self.spec.clone();
        for sink in &spec.pipeline.sinks {
            let Some(handle) = self.handle(&sink.name) else { continue };
            let keys = match self.factory.keys(&spec, sink).await {
                Ok(keys) => keys,
                Err(problems) => {
                    handle.hold(join_lines(&problems)).await;
                    continue;
                }
            };
            if handle.status().reloads == 0 && !handle.has_transformers() {
                self.swap_transformers(&spec, sink, &handle, keys).await;
            } else {
                self.running.insert(Arc::clone(&sink.name), keys);
            }
        }
    }

    /// Replaces the transformers of a sink. Returns the reason if that failed; a sink without
    /// transformers shows it in its status.
    async fn swap_transformers(
        &mut self,
        spec: &AgentSpec,
        sink: &SinkSpec,
        handle: &SinkHandle,
        keys: Vec<TransformerKey>,
    ) -> Option<String> {
        events::step(&sink.name, "preparing");
        let guard = self.guards.plan(spec, sink, self.running.get(&sink.name), &keys);
        match swap(&self.factory, spec, sink, handle, guard.as_ref()).await {
            Ok(_) => {
                self.refusals.clear(&sink.name);
                let replaced = self.running.get(&sink.name);
                self.guards.begin(guard, (&sink.name, replaced, &keys), &self.factory.shadows);
                self.running.insert(Arc::clone(&sink.name), keys);
                None
            }
            Err(error) => {
                self.refusals.record_failure(&sink.name, keys, &error);
                let reason = error.to_string();
                handle.hold(reason.clone()).await;
                Some(reason)
            }
        }
    }

    fn handle(&self, sink: &str) -> Option<SinkHandle> {
        let found = self.sinks.iter().find(|(name, _)| **name == *sink);
        found.map(|(_, handle)| handle.clone())
    }

    pub(super) async fn reload_and_log(
        &mut self,
        cause: Cause,
        channels: &SupervisorChannels,
    ) -> ReloadReport {
        if cause != Cause::Plan {
            channels.service.reloading();
        }
        let report = self.reload(cause, &channels.changes).await;
        for problem in &report.problems {
            if cause != Cause::Plan {
                events::refused(problem);
            }
        }
        if cause != Cause::Plan {
            if !report.changes.is_empty() {
                events::applied(&report.changes.join("; "));
            }
            self.sync_shadows().await;
            channels.history.add(cause.as_str(), report.clone());
            channels.in_effect.send_replace(Arc::new(self.spec.clone()));
            channels.service.reloaded();
        }
        report
    }

    async fn reload(&mut self, cause: Cause, changes: &mpsc::Sender<Change>) -> ReloadReport {
        let mut report = ReloadReport::default();
        // Files on a network file system may block.
        let load = Arc::clone(&self.reload.load);
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let mut new = match loaded.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => new,
            Err(reason) => {
                report.problems.push(reason);
                return report;
            }
        };
        self.supply.start(&new, cause == Cause::Files);
        self.supply.first_attempt().await;
        new.components.provided = provisions(&new);
        let over = self.promotions.apply(&self.factory.components, &mut new).await;
        if cause != Cause::Plan {
            self.promotions.end(&over);
        }
        self.compare(&new, &mut report);
        if cause != Cause::Plan {
            // First, because a sink may wait for a broker that refuses the old credentials.
            rotation::apply(&self.factory, &self.sinks, &self.spec, &new).await;
            self.factory.components.set_spec(&new.components).await;
            self.factory.set_bounds(&self.spec.store, &new.components);
        }
        // Sinks that keep their publishers because the new ones failed.
        let mut unchanged = Vec::new();
        for sink in &new.pipeline.sinks {
            if self.handle(&sink.name).is_some() {
                self.reload_transformers(cause, &new, sink, &mut report).await;
                let Some((added, lines)) = self.publisher_changes(sink) else { continue };
                let specs: Vec<PublisherSpec> =
                    added.iter().map(|at| sink.publishers[*at].clone()).collect();
                let problems = self.factory.check_publishers(&specs, true).await;
                if !problems.is_empty() {
                    report.problems.push(join_lines(&problems));
                    unchanged.push(Arc::clone(&sink.name));
                    continue;
                }
                if cause != Cause::Plan
                    && let Err(error) = self.replace_publishers(&new, sink, &added, changes).await
                {
                    // Not applied: the next reload tries again.
                    report.problems.push(Chain(&error).to_string());
                    unchanged.push(Arc::clone(&sink.name));
                    continue;
                }
                report.changes.extend(lines);
            }
        }
        self.reload_sources(cause, &new, changes, &mut report).await;
        if cause != Cause::Plan {
            let has_secrets = rotation::changes_listeners_or_cloud(&self.spec, &new);
            self.commit(new, &unchanged);
            if has_secrets {
                // An agent that is shutting down applies no change.
                drop(changes.send(Change::Secrets(Arc::new(self.spec.clone()))).await);
            }
            self.inspect_running().await;
        }
        report
    }

    /// Reports what requires a restart, and what is new for running publishers.
    fn compare(&self, new: &AgentSpec, report: &mut ReloadReport) {
        for (key, reason) in plan::needs_restart(&self.spec, new) {
            report.problems.push(format!("{key} has changed; this requires a restart: {reason}"));
        }
        for sink in plan::added_or_removed_sinks(&self.spec, new) {
            report.problems.push(format!("{sink}; adding or removing a sink requires a restart"));
        }
        let (changes, problems) = rotation::plan(&self.factory, &self.spec, new);
        report.changes.extend(changes);
        report.problems.extend(problems);
    }

    /// Stores the applied parts of a configuration, with which the next reload is compared.
    /// `unchanged` names the sinks that keep their publishers.
    fn commit(&mut self, new: AgentSpec, unchanged: &[Arc<str>]) {
        let known: Vec<Arc<str>> = self.sinks.iter().map(|(name, _)| Arc::clone(name)).collect();
        rotation::commit(&mut self.spec, &new);
        let (path, compiler) =
            (self.spec.components.path.clone(), self.spec.components.compiler.take());
        self.spec.components = ComponentsSpec { path, compiler, ..new.components };
        if self.spec.pipeline.sources != new.pipeline.sources {
            // The deadline follows from the shortest interval.
            self.spec.libvirt.deadline = new.libvirt.deadline;
        }
        self.spec.pipeline.sources = new.pipeline.sources;
        for mut sink in new.pipeline.sinks {
            if !known.contains(&sink.name) {
                continue;
            }
            if let Some(old) = self.spec.pipeline.sinks.iter_mut().find(|old| old.name == sink.name)
            {
                if unchanged.contains(&sink.name) {
                    sink.publishers = std::mem::take(&mut old.publishers);
                }
                *old = sink;
            }
        }
    }

    async fn reload_transformers(
        &mut self,
        cause: Cause,
        new: &AgentSpec,
        sink: &SinkSpec,
        report: &mut ReloadReport,
    ) {
        let Some(handle) = self.handle(&sink.name) else { return };
        let keys = match self.factory.keys(new, sink).await {
            Ok(keys) => keys,
            Err(problems) => return report.problems.push(join_lines(&problems)),
        };
        let running = self.running.get(&sink.name);
        let refused = cause == Cause::Files && self.refusals.contains(&sink.name, &keys);
        if running == Some(&keys) || refused {
            return;
        }
        let mut lines = plan::transformer_changes(&sink.name, &handle.status().transformers, &keys);
        if cause == Cause::Plan {
            lines.extend(self.differences(new, &sink.name, &keys).await);
        }
        let failed = if cause == Cause::Plan {
            dry_run(&self.factory, new, sink, &handle).await.err()
        } else {
            self.swap_transformers(new, sink, &handle, keys).await
        };
        match failed {
            Some(reason) => report.problems.push(format!("sink {}: {reason}", sink.name)),
            None => report.changes.extend(lines),
        }
    }

    /// What differs for each transformer of a sink that a plan would replace.
    async fn differences(
        &self,
        new: &AgentSpec,
        sink: &str,
        keys: &[TransformerKey],
    ) -> Vec<String> {
        let host = self.factory.components.with_spec(&new.components).await;
        let running = self.running.get(sink).map_or(&[][..], Vec::as_slice);
        let mut lines = Vec::new();
        for key in keys {
            let name = &key.identity.component;
            let Some(old) = running.iter().find(|old| old.identity.component == *name) else {
                continue;
            };
            let found = self.inspections.differences(&host, old, key).await;
            lines.extend(found.iter().map(|line| format!("sink {sink}: {name}: {line}")));
        }
        lines
    }

    /// The indexes of the added publishers of a sink, and all changes, one line each. `None` if nothing
    /// changes.
    fn publisher_changes(&self, sink: &SinkSpec) -> Option<(Vec<usize>, Vec<String>)> {
        let old = self.spec.pipeline.sinks.iter().find(|old| old.name == sink.name);
        let old = old.map_or(&[][..], |old| &old.publishers);
        let new = &sink.publishers;
        if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.url == b.url) {
            return None;
        }
        // A URL may occur twice: each occurrence matches one of the other list.
        let count = |list: &[PublisherSpec], like: &PublisherSpec| {
            list.iter().filter(|one| one.url == like.url).count()
        };
        let only_in = |ours: &[PublisherSpec], theirs: &[PublisherSpec]| -> Vec<usize> {
            let unmatched =
                |at: &usize| count(&ours[..*at], &ours[*at]) >= count(theirs, &ours[*at]);
            (0..ours.len()).filter(unmatched).collect()
        };
        let (added, removed) = (only_in(new, old), only_in(old, new));
        let name = |one: &PublisherSpec| format!("sink {}: publisher {}", sink.name, one.label);
        let mut lines: Vec<String> =
            added.iter().map(|at| format!("{}: added", name(&new[*at]))).collect();
        let removed = removed.iter().map(|at| name(&old[*at]));
        lines.extend(removed.map(|name| format!("{name}: removed when its spool is empty")));
        Some((added, lines))
    }

    /// Adds publishers to a sink and removes those that the file no longer has. The order is that of
    /// the file.
    async fn replace_publishers(
        &self,
        new: &AgentSpec,
        sink: &SinkSpec,
        added: &[usize],
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), AppError> {
        let Some(handle) = self.handle(&sink.name) else { return Ok(()) };
        let mut built = Publishers::new();
        for at in added {
            let (publisher, task) = self.factory.publisher(new, sink, *at).await?;
            // An agent that is shutting down applies no change.
            drop(changes.send(Change::Publisher(task)).await);
            built.push((sink.publishers[*at].clone(), publisher));
        }
        let specs = sink.publishers.clone();
        let change = move |publishers: &mut Publishers| {
            // Running publishers come first, so that they are found before new ones with their URL.
            publishers.append(&mut built);
            let mut candidates = std::mem::take(publishers);
            let chosen = specs.iter().filter_map(|spec| {
                let at = candidates.iter().position(|(one, _)| one.url == spec.url)?;
                Some(candidates.remove(at))
            });
            *publishers = chosen.collect();
        };
        handle.change_publishers(change).await;
        Ok(())
    }

    async fn reload_sources(
        &self,
        cause: Cause,
        new: &AgentSpec,
        changes: &mpsc::Sender<Change>,
        report: &mut ReloadReport,
    ) {
        let old = &self.spec.pipeline.sources;
        let sources = &new.pipeline.sources;
        if old == sources {
            return;
        }
        for source in sources.iter().filter(|source| !old.contains(source)) {
            report.changes.push(format!("source {}: restarted", source.name));
        }
        for source in old.iter().filter(|one| !sources.iter().any(|new| new.name == one.name)) {
            report.changes.push(format!("source {}: removed", source.name));
        }
        if cause == Cause::Plan {
            return;
        }
        for (name, _) in &self.sinks {
            if let Some(sink) = new.pipeline.sinks.iter().find(|sink| sink.name == *name) {
                self.journal.set_sources(name, &sources_of(new, sink));
            }
        }
        if let Some(streams) = &self.factory.streams {
            streams.set_sources(&new.pipeline.sources);
        }
        // An agent that is shutting down applies no change.
        drop(changes.send(Change::Sources(sources.clone())).await);
    }
}
