//! The HTTP listeners of a running agent: the scrape endpoint for the guests' meters, and the endpoint
//! for the agent's own state.
//!
//! They are off the data path: the router hands a reference of each batch over and goes on. A listener
//! that cannot listen costs itself only.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::admin::AdminService;
use super::agent_metrics::RecentExpositions;
use super::health::Health;
use super::page::with_page;
use super::tasks::TaskSet;
use nephometer_config::{
    AgentSpec, ListenAddress, ListenSpec, ListenTls, PrometheusForm, Secret, SourceSpec,
};
use nephometer_http::{
    Access, AccessRules, Address, HostCheck, ListenerSpec, Method, Reply, Request, Router,
    StatusCode, TlsFiles, Token,
};
use nephometer_metrics::{Form, GuestMeters, TextFormat};
use nephometer_model::Polled;
use nephometer_pipeline::{PolledObserver, Taps};
use nephometer_telemetry::{PollingStats, TaskCpu};
use nephometer_view::{View, ViewFeed};

/// The names of the two kinds of listeners, as the sections of the configuration.
const TELEMETRY: &str = "telemetry";
const PROMETHEUS: &str = "prometheus";

/// How long requests that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(2);

/// The listeners of an agent, before and while it runs.
pub(super) struct Listeners {
    guests: Option<Arc<GuestMeters>>,
    polling: Option<Arc<PollingStats>>,
    view: Option<(Arc<View>, Arc<ViewFeed>)>,
    /// What `tap` and `explain` look at.
    taps: Option<Taps>,
    listeners: Vec<(ListenerSpec, Router)>,
    /// The token of the page that this agent serves, besides those of the configuration.
    page: Option<Token>,
    stop: watch::Sender<bool>,
}

impl Listeners {
    /// Those of the configuration; none without an admin service.
    pub(super) fn new(spec: &AgentSpec, admin: Option<&Arc<AdminService>>) -> Self {
        let mut listeners = Vec::new();
        let (mut guests, mut page) = (None, None);
        let view = admin.and_then(|admin| admin.resources.view.clone());
        if let Some(admin) = admin
            && let Some((shown, _)) = &view
        {
            let router = with_page(telemetry_routes(admin), admin, shown);
            page = Some(Token::new(&admin.resources.page.token));
            let found = listener_specs(TELEMETRY, &spec.host, &spec.telemetry, page.as_ref());
            listeners.extend(found.map(|one| (one, router.clone())));
        }
        let prometheus = &spec.prometheus;
        if admin.is_some() && !prometheus.listen.addresses.is_empty() {
            let form = match prometheus.form {
                PrometheusForm::Ceilometer => Form::Ceilometer,
                PrometheusForm::Native => Form::Native,
            };
            let meters = Arc::new(GuestMeters::new(form));
            let router = scrape_routes(&meters);
            let found = listener_specs(PROMETHEUS, &spec.host, &prometheus.listen, None);
            listeners.extend(found.map(|one| (one, router.clone())));
            guests = Some(meters);
        }
        let polling = admin.map(|admin| Arc::clone(&admin.ledger.polling));
        let taps = admin.map(|admin| admin.resources.taps.clone());
        Self { guests, polling, taps, view, listeners, page, stop: watch::channel(false).0 }
    }

    /// What the router shows every batch to.
    pub(super) fn observer(&self) -> Option<PolledObserver> {
        let (guests, polling) = (self.guests.clone(), self.polling.clone()?);
        let view = self.view.as_ref().map(|(_, feed)| Arc::clone(feed));
        let taps = self.taps.clone();
        Some(Box::new(move |polled| {
            let Polled { batch, gaps, .. } = polled;
            let reasons = gaps.iter().map(|gap| gap.reason.as_str());
            polling.add_batch(&batch.source, batch.samples.len() as u64, reasons);
            if let Some(guests) = &guests {
                guests.offer(polled);
            }
            if let Some(view) = &view {
                view.offer(polled);
            }
            if let Some(taps) = &taps {
                taps.offer_polled(polled);
            }
        }))
    }

    /// The series of other sources and intervals end.
    pub(super) fn set_sources(&self, sources: &[SourceSpec]) {
        if let Some(polling) = &self.polling {
            polling.retain(&sources.iter().map(|source| source.interval).collect::<Vec<_>>());
        }
        if let Some(taps) = &self.taps {
            taps.retain_sources(|name| sources.iter().any(|source| *source.name == *name));
        }
        if let Some(guests) = &self.guests {
            guests.retain(sources.iter().map(|source| &source.name));
        }
        if let Some((view, _)) = &self.view {
            view.retain_sources(&sources.iter().map(|source| &*source.name).collect::<Vec<_>>());
        }
    }

    /// Requests from now on need the tokens of this configuration.
    pub(super) fn set_tokens(&self, spec: &AgentSpec) {
        for (listener, _) in &self.listeners {
            let (listen, page) = match listener.name {
                PROMETHEUS => (&spec.prometheus.listen, None),
                _ => (&spec.telemetry, self.page.as_ref()),
            };
            let hosts = listener.access.now().hosts.clone();
            listener.access.replace(access(hosts, listen.token.as_ref(), page));
        }
    }

    /// Starts them.
    pub(super) fn spawn(&self, tasks: &mut TaskSet<()>) {
        if let Some((view, _)) = &self.view {
            tasks.spawn("view", Arc::clone(view).run());
        }
        for (spec, router) in &self.listeners {
            let name = format!("http listener {}", spec.address);
            let spec = ListenerSpec { cpu: tasks.cpu(), ..spec.clone() };
            let serving = nephometer_http::serve(spec, router.clone(), self.stop.subscribe());
            tasks.spawn(name, serving);
        }
    }

    /// Lets requests finish, and ends them.
    pub(super) async fn stop(&self, tasks: &mut TaskSet<()>) {
        self.stop.send_replace(true);
        let ended = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(GRACE, ended).await);
        tasks.shutdown().await;
    }
}

/// The rules of a listener. A token of the configuration is required for every request; the token of the
/// page is accepted as well, and alone protects private routes only.
fn access(hosts: HostCheck, token: Option<&Secret>, page: Option<&Token>) -> Access {
    let required = token.is_some();
    let tokens = token.map(|token| Token::new(token.reveal())).into_iter().chain(page.cloned());
    Access { hosts, tokens: tokens.collect(), required }
}

/// The listeners of one section of the configuration.
fn listener_specs<'a>(
    name: &'static str,
    host: &'a str,
    listen: &'a ListenSpec,
    page: Option<&'a Token>,
) -> impl Iterator<Item = ListenerSpec> + 'a {
    let tls = listen.tls.as_ref().map(|ListenTls { certificate, key, client_ca }| TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: client_ca.clone(),
    });
    listen.addresses.iter().map(move |address| ListenerSpec {
        name,
        address: match address {
            ListenAddress::Tcp { host, port } => Address::Tcp(host.clone(), *port),
            ListenAddress::Unix(path) => Address::Unix(path.clone()),
        },
        // A UNIX socket is for this user only.
        tls: tls.clone().filter(|_| !matches!(address, ListenAddress::Unix(_))),
        access: {
            // Beyond loopback any name may be this host's, and Ceilometer's exporter takes any.
            let hosts = match address {
                ListenAddress::Tcp { .. } if address.is_local() => {
                    HostCheck::Names([&listen.hosts[..], &[host.to_owned()]].concat())
                }
                _ => HostCheck::Any,
            };
            AccessRules::new(access(hosts, listen.token.as_ref(), page))
        },
        cpu: TaskCpu::default(),
    })
}

/// The routes of the agent's own endpoint.
fn telemetry_routes(admin: &Arc<AdminService>) -> Router {
    let (metrics, alive, ready) = (Arc::clone(admin), Arc::clone(admin), Arc::clone(admin));
    let recent = Arc::new(RecentExpositions::default());
    Router::default()
        .route(Method::GET, "/metrics", move |request| {
            let (admin, recent) = (Arc::clone(&metrics), Arc::clone(&recent));
            async move {
                let format = TextFormat::accepted(request.header("accept"));
                Reply::new(format.content_type(), recent.get(&admin, format).await)
            }
        })
        .route(Method::GET, "/healthz", move |_| {
            let admin = Arc::clone(&alive);
            async move { Reply::json(&Health::of(&admin).json()) }
        })
        .route(Method::GET, "/readyz", move |_| {
            let admin = Arc::clone(&ready);
            async move {
                let health = Health::of(&admin);
                let status = match health.is_ready() {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                Reply::json(&health.json()).status(status)
            }
        })
}

/// The routes of the scrape endpoint. Ceilometer's exporter has its meters at every path.
fn scrape_routes(meters: &Arc<GuestMeters>) -> Router {
    let scrape = |meters: &Arc<GuestMeters>| {
        let meters = Arc::clone(meters);
        move |request: Request| scrape(Arc::clone(&meters), request)
    };
    Router::default().route(Method::GET, "/metrics", scrape(meters)).route(
        Method::GET,
        "/",
        scrape(meters),
    )
}

async fn scrape(meters: Arc<GuestMeters>, request: Request) -> Reply {
    let format = TextFormat::accepted(request.header("accept"));
    // The first scrape after a cycle makes the text, which takes a while with very many domains.
    match tokio::task::spawn_blocking(move || meters.exposition(format)).await {
        Ok(text) => Reply::new(format.content_type(), text),
        // The agent is shutting down, or the exposition panicked, which the log has.
        Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
