//! The admin service: handles the requests that a running agent gets over its control socket.
//!
//! Reads counters, statuses and the store. Leaves reloads to the supervisor and dead letters to their
//! sinks; changes nothing by itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::cpu::ThreadTimes;
use super::ledger_json::ledger_json;
use super::plan::short_digest;
use super::queries;
use super::reload_history::ReloadHistory;
use super::reload_request::{ReloadKind, ReloadReport, ReloadRequest};
use super::shadow_list::ShadowList;
use super::{explain, guards, shadows, tap};
use crate::control::{ControlReply, Request, Response};
use nephometer_config::AgentSpec;
use nephometer_libvirt::hypervisor::Hypervisor;
use nephometer_libvirt::schedule::Clock;
use nephometer_pipeline::{SinkHandle, Taps};
use nephometer_store::{DeadLetters, Gaps, Identity, Spools};
use nephometer_telemetry::{Ledger, PollingStats};
use nephometer_view::{View, ViewFeed};
use nephometer_wasm::ComponentHost;

/// Domains in an answer.
const DOMAINS: usize = 200;

/// The parts of the agent that requests read from.
pub(super) struct AdminResources {
    pub(super) hypervisor: Arc<dyn Hypervisor>,
    pub(super) dead_letters: DeadLetters,
    pub(super) spools: Spools,
    pub(super) gaps: Gaps,
    /// `None` without a store on disk.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) page: PageAccess,
    /// What is remembered of guests, and where batches are offered to it; `None` without a listener for the
    /// agent's own state.
    pub(super) view: Option<(Arc<View>, Arc<ViewFeed>)>,
    pub(super) taps: Taps,
    pub(super) shadows: ShadowList,
    /// The configuration that is in effect.
    pub(super) spec: watch::Sender<Arc<AgentSpec>>,
}

/// How the page is opened.
pub(super) struct PageAccess {
    /// Whoever sends it may see the page.
    pub(super) token: String,
    /// Its addresses without the token.
    pub(super) addresses: Vec<String>,
}

/// Handles control requests.
pub(super) struct AdminService {
    pub(super) ledger: Arc<Ledger>,
    pub(super) components: ComponentHost,
    pub(super) sinks: Vec<(Arc<str>, SinkHandle)>,
    pub(super) reload_requests: mpsc::Sender<ReloadRequest>,
    pub(super) reloads: Arc<ReloadHistory>,
    pub(super) threads: ThreadTimes,
    pub(super) host: String,
    pub(super) clock: Clock,
    pub(super) resources: AdminResources,
    pub(super) started: Instant,
}

impl AdminService {
    pub(super) fn new(
        (host, clock, ledger): (&str, Clock, &Arc<Ledger>),
        components: &ComponentHost,
        sinks: &[(Arc<str>, SinkHandle)],
        reload_requests: mpsc::Sender<ReloadRequest>,
        resources: AdminResources,
    ) -> Self {
        let started = Instant::now();
        Self {
            ledger: Arc::clone(ledger),
            components: components.clone(),
            sinks: sinks.to_vec(),
            reload_requests,
            reloads: Arc::new(ReloadHistory::new(clock)),
            clock,
            threads: ThreadTimes::default(),
            host: host.to_owned(),
            resources,
            started,
        }
    }

    /// Handles one request.
    pub(super) async fn handle(&self, request: Request) -> ControlReply {
        match &request {
            Request::Tap { .. } => match tap::open(&self.resources.taps, &self.sinks, &request) {
                Ok((answer, lines)) => ControlReply::Stream(Response::ok(answer), lines),
                Err(reason) => Response::failed(reason).into(),
            },
            _ => self.respond(request).await.into(),
        }
    }

    async fn respond(&self, request: Request) -> Response {
        match request {
            Request::Status => Response::ok(self.status()),
            Request::ComponentStatus => Response::ok(self.component_status()),
            Request::Reload { plan } => {
                self.reload(if plan { ReloadKind::Plan } else { ReloadKind::Apply }).await
            }
            Request::ComponentShadow { component } => {
                Response::ok(self.shadows(component.as_deref()))
            }
            Request::ComponentGuard => {
                let all = self.resources.shadows.guards();
                Response::ok(all.iter().map(|one| guards::full(one)).collect())
            }
            Request::ComponentPromote { component, undo } => {
                let change = if undo { ReloadKind::Demote } else { ReloadKind::Promote };
                self.reload(change(component)).await
            }
            Request::Page => {
                let PageAccess { token, addresses } = &self.resources.page;
                Response::ok(json!({ "addresses": addresses, "token": token }))
            }
            Request::Domains => {
                let view = self.resources.view.as_ref();
                let none = || json!({ "domains": [], "count": 0, "all": null });
                Response::ok(view.map_or_else(none, |(view, _)| view.domains("", DOMAINS)))
            }
            request @ (Request::Spools
            | Request::SpoolPage { .. }
            | Request::SpoolCheck
            | Request::SpoolRequeue { .. }
            | Request::Gaps
            | Request::Keys
            | Request::RotateKey
            | Request::RevokeKey { .. }) => {
                let AdminResources { spools, gaps, identity, .. } = &self.resources;
                queries::handle_store_request(spools, gaps, identity.as_deref(), request).await
            }
            Request::RetryDeadLetter { number } => match self.retry(number).await {
                Ok(published) => Response::ok(json!({ "published": published })),
                Err(reason) => Response::failed(reason),
            },
            Request::Explain { meter, resource, wait } => {
                self.explain(&meter, &resource, wait).await
            }
            Request::Tap { .. } => Response::failed("a tap is a stream".to_owned()),
        }
    }

    async fn explain(&self, meter: &str, resource: &str, wait: bool) -> Response {
        let AdminResources { hypervisor, gaps, taps, spec, .. } = &self.resources;
        let spec = Arc::clone(&spec.borrow());
        let agent = explain::ExplainedAgent {
            spec: &spec,
            sinks: &self.sinks,
            ledger: &self.ledger,
            taps,
            hypervisor: &**hypervisor,
            gaps,
        };
        let explained = explain::explain(&agent, (meter, resource), wait).await;
        explained.map_or_else(Response::failed, Response::ok)
    }

    pub(super) fn status(&self) -> Value {
        let sinks: Vec<Value> = self
            .sinks
            .iter()
            .map(|(name, handle)| {
                let status = handle.status();
                let transformers = status.transformers.iter().map(
                    |one| json!({ "component": *one.component, "digest": short_digest(&one.digest) }),
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
        let last_reload = self.reloads.last();
        json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "sinks": sinks,
            "shadows": self.resources.shadows.all().iter().map(|one| shadows::summary(one)).collect::<Value>(),
            "guards": self.resources.shadows.guards().iter().map(|one| guards::summary(one)).collect::<Value>(),
            "promoted": self.resources.shadows.promoted().iter().map(shadows::promoted).collect::<Value>(),
            "last_reload": {
                "changes": last_reload.changes,
                "problems": last_reload.problems,
            },
            "libvirt": self.libvirt_load(),
            "polling": polling(&self.ledger.polling),
            "ledger": ledger_json(&self.ledger),
            "ledger_text": self.ledger.to_string(),
        })
    }

    /// What the shadows have found, of one component or of all.
    fn shadows(&self, component: Option<&str>) -> Value {
        let all = self.resources.shadows.all();
        let asked = all.iter().filter(|one| component.is_none_or(|name| *one.component == *name));
        asked.map(|one| shadows::full(one, &self.components)).collect()
    }

    fn libvirt_load(&self) -> Option<Value> {
        let load = self.resources.hypervisor.call_stats()?;
        Some(json!({
            "calls": load.calls,
            "busy_seconds": load.busy.as_secs_f64(),
            "seconds": self.started.elapsed().as_secs_f64(),
            "hanging": load.abandoned,
        }))
    }

    pub(super) fn component_status(&self) -> Value {
        let status_of = |place: &str| {
            let sink = place.rsplit_once('/').map_or(place, |(sink, _)| sink);
            let found = self.sinks.iter().find(|(name, _)| **name == *sink);
            found.map(|(_, handle)| handle.status())
        };
        let entries = self.components.list_components().into_iter().map(|component| {
            let stats = component.counters.stats();
            let status = status_of(&component.location);
            json!({
                "place": *component.location,
                "component": *component.component,
                "digest": short_digest(stats.digest.as_bytes()),
                "state": status.as_ref().map(|one| one.state.as_str()),
                "calls": stats.calls,
                "cpu_seconds": Duration::from_nanos(stats.cpu_nanos).as_secs_f64(),
                "memory_bytes": stats.memory,
                "memory_peak_bytes": stats.memory_peak,
                "rows_in": stats.samples_in,
                "rows_out": stats.samples_out,
                "failures": stats.failed,
                "limits_hit": stats.limits_exceeded,
                "restarts": stats.restarts,
                "lines_dropped": stats.log_dropped,
                "refused": stats.refused,
                "reloads": status.as_ref().map(|one| one.reloads),
                "rollbacks": status.as_ref().map(|one| one.rollbacks),
                "last_failure": stats.last_failure.as_deref(),
            })
        });
        Value::Array(entries.collect())
    }

    async fn reload(&self, kind: ReloadKind) -> Response {
        let (reply, report) = oneshot::channel();
        let shutting_down = || Response::failed("the agent is shutting down".to_owned());
        if self.reload_requests.send(ReloadRequest { kind, reply }).await.is_err() {
            return shutting_down();
        }
        match report.await {
            Ok(ReloadReport { changes, problems }) => {
                Response::ok(json!({ "changes": changes, "problems": problems }))
            }
            Err(_) => shutting_down(),
        }
    }

    async fn retry(&self, number: u64) -> Result<usize, String> {
        let letter =
            self.resources.dead_letters.get(number).await.map_err(|error| error.to_string())?;
        let letter = letter.ok_or_else(|| format!("there is no dead letter {number}"))?;
        let sink = self.sinks.iter().find(|(name, _)| **name == *letter.sink);
        let (_, handle) =
            sink.ok_or_else(|| format!("sink {} is not configured any more", letter.sink))?;
        let published = handle.inject(letter.transformer, letter.samples()?).await?;
        self.resources.dead_letters.remove(number).await.map_err(|error| error.to_string())?;
        Ok(published)
    }
}

/// The last polling cycle of each interval, with the domains by state.
fn polling(stats: &PollingStats) -> Value {
    let intervals = stats.intervals().into_iter().map(|(interval, one)| {
        json!({
            "interval_seconds": interval.as_secs_f64(),
            "cycles": one.cycles,
            "cycle_seconds": one.seconds,
            "age_seconds": one.last.elapsed().as_secs_f64(),
            "domains": one.domains,
        })
    });
    json!({
        "intervals": intervals.collect::<Vec<_>>(),
        "unlistable": stats.unlistable().map(|(reason, _)| reason),
    })
}
