use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use nephometer_config::CollectorSpec;
use nephometer_telemetry::events::{collector as events, reload as reloads};
use nephometer_telemetry::{Heartbeats, Service};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output::print_error;
use super::reload::Reload;
use super::{ConfigOption, log};
use crate::api::{Access, AccessRules, Api, AuditSettings, Server};
use crate::ingest::amqp::{Source, SourceSettings};
use crate::ingest::{Handover, Health, Receiver, Writer};
use crate::signature::{SharedVerifier, Verifier};
use crate::store::{DEFAULT_BUDGET, open_reader, open_store};

/// Run the collector until SIGTERM or Ctrl-C
///
/// On SIGHUP it reads its configuration again: other secrets, brokers and rules of access are used
/// without a restart; whatever else has changed is logged, and requires one.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigOption,
    /// The log level, or tracing directives
    #[arg(long, default_value = "info", env = "NEPHOMETER_LOG")]
    log: String,
    /// Log JSON, one object per line
    #[arg(long)]
    log_json: bool,
    /// End when the program that has started this one ends
    #[arg(long)]
    with_parent: bool,
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        if self.with_parent {
            set_parent_process_death_signal(Some(Signal::TERM))?;
        }
        let spec = self.config.load()?;
        log(&self.log, self.log_json)?;
        let supervised = std::env::var_os("NOTIFY_SOCKET").is_some();
        let (service, thread) = Service::start(supervised)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(run(spec, self.config, service));
        thread.end();
        ended
    }
}

async fn run(spec: CollectorSpec, config: ConfigOption, service: Service) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let budget = spec.api.as_ref().map_or(DEFAULT_BUDGET, |api| api.rows);
    let keep = spec.keep.clone();
    // Requests to servers wait on their threads.
    let store = tokio::task::spawn_blocking(move || open_store(&keep, budget)).await??;
    let verifier = SharedVerifier::new(Verifier::new(&spec.secrets, spec.unsigned));
    let health = Arc::new(Health::default());
    let (writer, handover) =
        Writer::start(store, spec.commit, verifier.clone(), Arc::clone(&health))?;
    let (end, ending) = watch::channel(false);
    let mut tasks = Tasks::default();
    let (address, access) = serve(&spec, &handover, (&health, &ending), &mut tasks).await?;
    let mut brokers = Vec::new();
    for broker in &spec.brokers {
        let settings = SourceSettings::new(broker.clone());
        let settings = settings.with_context(|| format!("broker {}", broker.label))?;
        let sender = watch::Sender::new(settings);
        let (handover, health) = (handover.clone(), Arc::clone(&health));
        let settings = sender.subscribe();
        let source = Source { settings, handover, health, ending: ending.clone() };
        tasks.spawn("broker", source.run());
        brokers.push(sender);
    }
    for spec in &spec.receivers {
        let receiver = Receiver::bind(spec).await.map_err(|error| {
            anyhow::Error::new(error)
                .context(format!("cannot listen on {spec}; choose another address in receivers"))
        })?;
        events::receiver_listening(receiver.url());
        let health = Arc::clone(&health);
        tasks.spawn("receiver", receiver.run(handover.clone(), health, ending.clone()));
    }
    events::started(&spec.keep.shown(), &address);
    let state = Arc::clone(&health);
    service.ready(&tasks.heartbeats, Box::new(move || state.line()));
    let mut reload = Reload { spec, verifier, access, brokers, health };
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            Some(()) = hangups.recv() => reload = reloaded(reload, config.clone(), &service).await?,
        }
    }
    events::ending();
    service.stopping();
    end.send_replace(true);
    while let Some(ended) = tasks.running.join_next().await {
        if let Err(error) = ended {
            print_error(&format!("a task ended: {error}"));
        }
    }
    // The last one: the writer ends when everything is committed.
    drop(handover);
    tokio::task::spawn_blocking(|| writer.end()).await?;
    Ok(())
}

/// Reads the configuration again, and applies what can be applied.
async fn reloaded(
    mut reload: Reload,
    config: ConfigOption,
    service: &Service,
) -> anyhow::Result<Reload> {
    service.reloading();
    // Files on a network file system may block.
    let applying = tokio::task::spawn_blocking(move || {
        let report = reload.apply(config.load());
        (reload, report)
    });
    let (reload, report) = applying.await?;
    report.problems.iter().for_each(|problem| reloads::refused(problem));
    if !report.changes.is_empty() {
        reloads::applied(&report.changes.join("; "));
    }
    service.reloaded();
    Ok(reload)
}

/// The tasks of the collector, and their heartbeats.
#[derive(Default)]
struct Tasks {
    running: tokio::task::JoinSet<()>,
    heartbeats: Heartbeats,
}

impl Tasks {
    fn spawn(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(self.heartbeats.watch(name, task));
    }
}

/// Starts the API. Returns its address for the log, and who may query.
async fn serve(
    spec: &CollectorSpec,
    handover: &Handover,
    (health, ending): (&Arc<Health>, &watch::Receiver<bool>),
    tasks: &mut Tasks,
) -> anyhow::Result<(String, Option<AccessRules>)> {
    let Some(api) = &spec.api else { return Ok(("off".to_owned(), None)) };
    let access = AccessRules::new(Access::open(&api.access)?);
    let server = Server::bind(api.listen).await;
    let server = server.map_err(|error| {
        anyhow::Error::new(error)
            .context(format!("cannot listen on {}; choose another api.listen", api.listen))
    })?;
    let address = server.address()?;
    let (keep, budget) = (spec.keep.clone(), api.rows);
    let open = Box::new(move || open_reader(&keep, budget));
    let answers = Api::new(access.clone(), api.limit, Arc::clone(health), open)
        .with_handover(handover.for_posts());
    let answers = answers.with_audits(AuditSettings {
        keys: spec.trusted_keys.clone(),
        window: spec.keep.window,
        folder: spec.keep.path.clone(),
        ..AuditSettings::default()
    });
    tasks.spawn("query API", server.run(Arc::new(answers), ending.clone()));
    Ok((address.to_string(), Some(access)))
}
