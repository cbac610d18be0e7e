//! Answers what people ask a running agent over its socket.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::plan::short;
use super::queries;
use super::reload_request::{ReloadRequest, Report};
use crate::control::{Request, Response};
use nephometer_libvirt::hypervisor::Hypervisor;
use nephometer_pipeline::SinkHandle;
use nephometer_store::{DeadLetters, Gaps, Spools};
use nephometer_telemetry::Ledger;
use nephometer_wasm::ComponentHost;

/// What is read from, and what the store keeps for people.
pub(super) struct AgentViews {
    pub(super) hypervisor: Arc<dyn Hypervisor>,
    pub(super) dead_letters: DeadLetters,
    pub(super) spools: Spools,
    pub(super) gaps: Gaps,
}

/// What can be seen of the agent, and who can be asked to do something.
pub(super) struct AdminService {
    ledger: Arc<Ledger>,
    components: ComponentHost,
    sinks: Vec<(Arc<str>, SinkHandle)>,
    reload_requests: mpsc::Sender<ReloadRequest>,
    last: watch::Receiver<Report>,
    reloads: watch::Sender<Report>,
    views: AgentViews,
    started: Instant,
}

impl AdminService {
    pub(super) fn new(
        ledger: &Arc<Ledger>,
        components: &ComponentHost,
        sinks: &[(Arc<str>, SinkHandle)],
        reload_requests: mpsc::Sender<ReloadRequest>,
        views: AgentViews,
    ) -> Self {
        let started = Instant::now();
        let (reloads, last) = watch::channel(Report::default());
        let (ledger, components, sinks) = (Arc::clone(ledger), components.clone(), sinks.to_vec());
        Self { ledger, components, sinks, reload_requests, last, reloads, views, started }
    }

    /// Where the supervisor notes what its last reload did.
    pub(super) fn reloads(&self) -> watch::Sender<Report> {
        self.reloads.clone()
    }

    /// One answer to one question.
    pub(super) async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Status => Response::well(self.status()),
            Request::ComponentStatus => Response::well(self.component_status()),
            Request::Reload { plan } => self.reload(plan).await,
            request @ (Request::Spools
            | Request::SpoolPage { .. }
            | Request::SpoolCheck
            | Request::SpoolRequeue { .. }
            | Request::Gaps) => {
                queries::answer(&self.views.spools, &self.views.gaps, request).await
            }
            Request::RetryDeadLetter { number } => match self.retry(number).await {
                Ok(made) => Response::well(json!({ "published": made })),
                Err(reason) => Response::failed(reason),
            },
        }
    }

    fn status(&self) -> Value {
        let sinks: Vec<Value> = self
            .sinks
            .iter()
            .map(|(name, handle)| {
                let status = handle.status();
                let transformers = status.transformers.iter().map(
                    |one| json!({ "component": *one.component, "digest": short(&one.digest) }),
                );
                json!({
                    "sink": **name,
                    "state": status.state.as_str(),
                    "reason": status.state.reason(),
                    "transformers": transformers.collect::<Vec<_>>(),
                    "position": status.offset,
                    "emitted": status.emitted,
                    "saved": status.saved,
                    "reloads": status.reloads,
                    "rollbacks": status.rollbacks,
                    "can_roll_back": status.can_roll_back,
                })
            })
            .collect();
        let last = self.last.borrow();
        json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "sinks": sinks,
            "last_reload": { "changes": last.changes, "problems": last.problems },
            "libvirt": self.load(),
            "ledger": self.ledger.to_string(),
        })
    }

    fn load(&self) -> Option<Value> {
        let load = self.views.hypervisor.call_stats()?;
        Some(json!({
            "calls": load.calls,
            "busy_seconds": load.busy.as_secs_f64(),
            "seconds": self.started.elapsed().as_secs_f64(),
            "hanging": load.abandoned,
        }))
    }

    fn component_status(&self) -> Value {
        let of = |place: &str| {
            let sink = place.rsplit_once('/').map_or(place, |(sink, _)| sink);
            let found = self.sinks.iter().find(|(name, _)| **name == *sink);
            found.map(|(_, handle)| handle.status())
        };
        let rows = self.components.counts().into_iter().map(|counted| {
            let numbers = counted.count.numbers();
            let status = of(&counted.place);
            json!({
                "place": *counted.place,
                "component": *counted.component,
                "digest": short(numbers.digest.as_bytes()),
                "state": status.as_ref().map(|one| one.state.as_str()),
                "calls": numbers.calls,
                "cpu_seconds": Duration::from_nanos(numbers.cpu_nanos).as_secs_f64(),
                "memory_bytes": numbers.memory,
                "memory_peak_bytes": numbers.memory_peak,
                "rows_in": numbers.rows_in,
                "rows_out": numbers.rows_out,
                "failures": numbers.failed,
                "limits_hit": numbers.limits,
                "restarts": numbers.restarts,
                "lines_dropped": numbers.log_dropped,
                "refused": numbers.refused,
                "reloads": status.as_ref().map(|one| one.reloads),
                "rollbacks": status.as_ref().map(|one| one.rollbacks),
                "last_failure": numbers.last_failure.as_deref(),
            })
        });
        Value::Array(rows.collect())
    }

    async fn reload(&self, plan: bool) -> Response {
        let (reply, answer) = oneshot::channel();
        let ending = || Response::failed("the agent is shutting down".to_owned());
        if self.reload_requests.send(ReloadRequest { plan, reply }).await.is_err() {
            return ending();
        }
        match answer.await {
            Ok(Report { changes, problems }) => {
                Response::well(json!({ "changes": changes, "problems": problems }))
            }
            Err(_) => ending(),
        }
    }

    async fn retry(&self, number: u64) -> Result<usize, String> {
        let letter =
            self.views.dead_letters.get(number).await.map_err(|error| error.to_string())?;
        let letter = letter.ok_or_else(|| format!("there is no dead letter {number}"))?;
        let sink = self.sinks.iter().find(|(name, _)| **name == *letter.sink);
        let (_, handle) =
            sink.ok_or_else(|| format!("sink {} is not configured any more", letter.sink))?;
        let samples = letter.samples()?;
        let made = handle.inject(letter.transformer, samples).await?;
        self.views.dead_letters.remove(number).await.map_err(|error| error.to_string())?;
        Ok(made)
    }
}
