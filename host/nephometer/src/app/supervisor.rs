//! Takes up what changes while the agent runs: components, options, publishers, sources.
//!
//! Everything that takes long happens here, beside the sinks; they only see a generation that is
//! ready. Whatever fails leaves what is at work as it is.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::factory::{Factory, TransformerKey, lines};
use super::plan;
use super::refusals::Refusals;
use super::reload_request::{ReloadRequest, Report};
use super::sources::{sources_of, watched};
use super::swap::{rehearse, swap};
use super::{AppError, Reload};
use crate::watch::Watch;
use nephometer_config::{AgentSpec, PublisherSpec, SinkSpec, SourceSpec};
use nephometer_pipeline::publish::PublisherTask;
use nephometer_pipeline::transform::Identity;
use nephometer_pipeline::{Publishers, SinkEvent, SinkHandle};
use nephometer_store::Journal;
use nephometer_telemetry::{Chain, events::reload as events};

/// Something for the tasks of the agent.
pub(super) enum Change {
    /// Poll these from now on.
    Sources(Vec<SourceSpec>),
    /// Look after this one too.
    Publisher(PublisherTask),
}

/// Why a reload is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Files changed: what was refused before is not tried again unless it differs.
    Files,
    /// Somebody wants it.
    Asked,
    /// Somebody wants to know.
    Plan,
}

/// Looks after a running agent.
pub(super) struct Supervisor {
    factory: Arc<Factory>,
    journal: Journal,
    spec: AgentSpec,
    sinks: Vec<(Arc<str>, SinkHandle)>,
    reload: Reload,
    /// What is at work, by sink.
    running: HashMap<Arc<str>, Vec<TransformerKey>>,
    refusals: Refusals,
    inbox: Option<Inbox>,
}

struct Inbox {
    changes: mpsc::Sender<Change>,
    sink_events: mpsc::Receiver<SinkEvent>,
    reload_requests: mpsc::Receiver<ReloadRequest>,
    last: watch::Sender<Report>,
}

impl Supervisor {
    /// For these sinks.
    pub(super) fn new(
        factory: Arc<Factory>,
        journal: Journal,
        spec: AgentSpec,
        sinks: Vec<(Arc<str>, SinkHandle)>,
        reload: Reload,
    ) -> Self {
        let (running, refusals) = (HashMap::new(), Refusals::default());
        Self { factory, journal, spec, sinks, reload, running, refusals, inbox: None }
    }

    /// With these to tell and to listen to.
    pub(super) fn listening(
        mut self,
        changes: mpsc::Sender<Change>,
        sink_events: mpsc::Receiver<SinkEvent>,
        reload_requests: mpsc::Receiver<ReloadRequest>,
        last: watch::Sender<Report>,
    ) -> Self {
        self.inbox = Some(Inbox { changes, sink_events, reload_requests, last });
        self
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        let mut files = Watch::new(watched(&self.spec, &self.reload.files));
        self.begin().await;
        loop {
            let cause = tokio::select! {
                Some(sink_event) = inbox.sink_events.recv() => {
                    self.rolled_back(sink_event);
                    continue;
                }
                Some(reload_request) = inbox.reload_requests.recv() => {
                    let cause = if reload_request.plan { Cause::Plan } else { Cause::Asked };
                    let report = self.turn(cause, &inbox).await;
                    // Whoever asked has gone; the log has it all the same.
                    drop(reload_request.reply.send(report));
                    continue;
                }
                () = files.changed() => Cause::Files,
                () = self.refusals.again() => Cause::Files,
                Some(()) = self.reload.hangups.recv() => Cause::Asked,
            };
            self.turn(cause, &inbox).await;
        }
    }

    /// Notes what is at work, and makes what the start has left for now.
    async fn begin(&mut self) {
        let spec = self.spec.clone();
        for sink in &spec.pipeline.sinks {
            let Some(handle) = self.handle(&sink.name) else { continue };
            let keys = match self.factory.keys(&spec, sink).await {
                Ok(keys) => keys,
                Err(problems) => {
                    handle.hold(lines(&problems)).await;
                    continue;
                }
            };
            if handle.status().reloads == 0 && !handle.has_transformers() {
                self.prepare(&spec, sink, &handle, keys).await;
            } else {
                self.running.insert(Arc::clone(&sink.name), keys);
            }
        }
    }

    /// Gives a sink its transformers. What went wrong is the sink's reason to be held, if it is.
    async fn prepare(
        &mut self,
        spec: &AgentSpec,
        sink: &SinkSpec,
        handle: &SinkHandle,
        keys: Vec<TransformerKey>,
    ) -> Option<String> {
        events::step(&sink.name, "preparing");
        match swap(&self.factory, spec, sink, handle).await {
            Ok(_) => {
                self.refusals.worked(&sink.name);
                self.running.insert(Arc::clone(&sink.name), keys);
                None
            }
            Err(error) => {
                self.refusals.failed(&sink.name, keys, &error);
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

    /// What failed is not tried again until it changes.
    fn rolled_back(&mut self, sink_event: SinkEvent) {
        let SinkEvent::RolledBack { sink, restored, .. } = sink_event;
        let Some(failed) = self.running.remove(&sink) else { return };
        let keys = restored.into_iter().map(|identity: Identity| {
            let spec = self.spec.components.by_name.get(&*identity.component);
            TransformerKey { spec: spec.cloned().unwrap_or_default(), identity }
        });
        self.running.insert(Arc::clone(&sink), keys.collect());
        self.refusals.refuse(&sink, failed);
    }

    async fn turn(&mut self, cause: Cause, inbox: &Inbox) -> Report {
        let report = self.reload(cause, &inbox.changes).await;
        for problem in &report.problems {
            if cause != Cause::Plan {
                events::refused(problem);
            }
        }
        if cause != Cause::Plan {
            if !report.changes.is_empty() {
                events::applied(&report.changes.join("; "));
            }
            inbox.last.send_replace(report.clone());
        }
        report
    }

    async fn reload(&mut self, cause: Cause, changes: &mpsc::Sender<Change>) -> Report {
        let mut report = Report::default();
        // It reads files, which a network may hold up.
        let load = Arc::clone(&self.reload.load);
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let new = match loaded.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => new,
            Err(reason) => {
                report.problems.push(reason);
                return report;
            }
        };
        for key in plan::needs_restart(&self.spec, &new) {
            report.problems.push(format!("{key} has changed; this requires a restart"));
        }
        for sink in plan::other_sinks(&self.spec, &new) {
            report.problems.push(format!("{sink}; adding or removing a sink requires a restart"));
        }
        if cause != Cause::Plan {
            self.factory.components.set_spec(&new.components).await;
            self.factory.bound(&self.spec.store, &new.components);
        }
        // Sinks whose publishers stay as they are because the new ones are of no use.
        let mut kept = Vec::new();
        for sink in &new.pipeline.sinks {
            if self.handle(&sink.name).is_some() {
                self.transformers(cause, &new, sink, &mut report).await;
                let Some((added, changed)) = self.publisher_changes(sink) else { continue };
                let tried: Vec<PublisherSpec> =
                    added.iter().map(|at| sink.publishers[*at].clone()).collect();
                let problems = self.factory.try_publishers(&tried, true).await;
                if !problems.is_empty() {
                    report.problems.push(lines(&problems));
                    kept.push(Arc::clone(&sink.name));
                    continue;
                }
                if cause != Cause::Plan
                    && let Err(error) = self.publishers(&new, sink, &added, changes).await
                {
                    // Not taken up: the next reload tries again.
                    report.problems.push(Chain(&error).to_string());
                    kept.push(Arc::clone(&sink.name));
                    continue;
                }
                report.changes.extend(changed);
            }
        }
        self.sources(cause, &new, changes, &mut report).await;
        if cause != Cause::Plan {
            self.take_up(new, &kept);
        }
        report
    }

    /// What was taken up is what the next reload is compared with; the rest stays as it was.
    fn take_up(&mut self, new: AgentSpec, kept: &[Arc<str>]) {
        let known: Vec<Arc<str>> = self.sinks.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.spec.components.by_name = new.components.by_name;
        if self.spec.pipeline.sources != new.pipeline.sources {
            // It follows the shortest interval.
            self.spec.libvirt.deadline = new.libvirt.deadline;
        }
        self.spec.pipeline.sources = new.pipeline.sources;
        for mut sink in new.pipeline.sinks {
            if !known.contains(&sink.name) {
                continue;
            }
            if let Some(old) = self.spec.pipeline.sinks.iter_mut().find(|old| old.name == sink.name)
            {
                if kept.contains(&sink.name) {
                    sink.publishers = std::mem::take(&mut old.publishers);
                }
                *old = sink;
            }
        }
    }

    async fn transformers(
        &mut self,
        cause: Cause,
        new: &AgentSpec,
        sink: &SinkSpec,
        report: &mut Report,
    ) {
        let Some(handle) = self.handle(&sink.name) else { return };
        let keys = match self.factory.keys(new, sink).await {
            Ok(keys) => keys,
            Err(problems) => return report.problems.push(lines(&problems)),
        };
        let running = self.running.get(&sink.name);
        let refused = cause == Cause::Files && self.refusals.has(&sink.name, &keys);
        if running == Some(&keys) || refused {
            return;
        }
        let lines = plan::slots(&sink.name, &handle.status().transformers, &keys);
        let failed = if cause == Cause::Plan {
            rehearse(&self.factory, new, sink, &handle).await.err()
        } else {
            self.prepare(new, sink, &handle, keys).await
        };
        match failed {
            Some(reason) => report.problems.push(format!("sink {}: {reason}", sink.name)),
            None => report.changes.extend(lines),
        }
    }

    /// Where in its list the new publishers of a sink are, and what changes, a line each; `None` if
    /// nothing does.
    fn publisher_changes(&self, sink: &SinkSpec) -> Option<(Vec<usize>, Vec<String>)> {
        let old = self.spec.pipeline.sinks.iter().find(|old| old.name == sink.name);
        let old = old.map_or(&[][..], |old| &old.publishers);
        let new = &sink.publishers;
        if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.url == b.url) {
            return None;
        }
        // A URL may be there twice: each of them stands for one of the other list.
        let count = |list: &[PublisherSpec], like: &PublisherSpec| {
            list.iter().filter(|one| one.url == like.url).count()
        };
        let beyond = |ours: &[PublisherSpec], theirs: &[PublisherSpec]| -> Vec<usize> {
            let none = |at: &usize| count(&ours[..*at], &ours[*at]) >= count(theirs, &ours[*at]);
            (0..ours.len()).filter(none).collect()
        };
        let (added, gone) = (beyond(new, old), beyond(old, new));
        let of = |one: &PublisherSpec| format!("sink {}: publisher {}", sink.name, one.label);
        let gone = gone.iter().map(|at| &old[*at]);
        let gone = gone.map(|one| format!("{}: removed when its spool is empty", of(one)));
        let lines =
            added.iter().map(|at| format!("{}: added", of(&new[*at]))).chain(gone).collect();
        Some((added, lines))
    }

    /// Gives a sink these publishers besides those that it keeps, in the order of the file.
    async fn publishers(
        &self,
        new: &AgentSpec,
        sink: &SinkSpec,
        added: &[usize],
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), AppError> {
        let Some(handle) = self.handle(&sink.name) else { return Ok(()) };
        let mut made = Publishers::new();
        for at in added {
            let (publisher, task) = self.factory.publisher(new, sink, *at).await?;
            // An agent that is ending takes nothing up.
            drop(changes.send(Change::Publisher(task)).await);
            made.push((sink.publishers[*at].clone(), publisher));
        }
        let reload_request = sink.publishers.clone();
        let change = move |publishers: &mut Publishers| {
            // Those that stay are found first.
            publishers.append(&mut made);
            let mut made = std::mem::take(publishers);
            let taken = reload_request.iter().filter_map(|spec| {
                let at = made.iter().position(|(one, _)| one.url == spec.url)?;
                Some(made.remove(at))
            });
            *publishers = taken.collect();
        };
        handle.change_publishers(change).await;
        Ok(())
    }

    async fn sources(
        &self,
        cause: Cause,
        new: &AgentSpec,
        changes: &mpsc::Sender<Change>,
        report: &mut Report,
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
        // An agent that is ending takes nothing up.
        drop(changes.send(Change::Sources(sources.clone())).await);
    }
}
