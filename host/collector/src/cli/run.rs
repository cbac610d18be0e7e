use std::sync::Arc;

use clap::Args;
use nephometer_config::CollectorSpec;
use nephometer_telemetry::events::collector as events;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output::print_error;
use super::{ConfigOption, log};
use crate::api::{Access, Api, Server};
use crate::ingest::amqp::Source;
use crate::ingest::{Handover, Health, Writer};
use crate::signature::Verifier;
use crate::store::{DEFAULT_BUDGET, SqliteStore};

/// Run the collector until SIGTERM or Ctrl-C
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
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        log(&self.log, self.log_json)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(spec))
    }
}

async fn run(spec: CollectorSpec) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let budget = spec.api.as_ref().map_or(DEFAULT_BUDGET, |api| api.rows);
    let store = SqliteStore::open(&spec.keep, budget)?;
    let verifier = Arc::new(Verifier::new(&spec.secrets, spec.unsigned));
    let health = Arc::new(Health::default());
    let (writer, handover) =
        Writer::start(Box::new(store), spec.commit, verifier, Arc::clone(&health))?;
    let (end, ending) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    let address = serve(&spec, &handover, &health, &ending, &mut tasks).await?;
    for broker in spec.brokers {
        let (handover, health) = (handover.clone(), Arc::clone(&health));
        let source = Source { spec: broker, handover, health, ending: ending.clone() };
        tasks.spawn(source.run());
    }
    events::started(&spec.keep.path.display().to_string(), &address);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    events::ending();
    end.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            print_error(&format!("a task ended: {error}"));
        }
    }
    // The last one: the writer ends when everything is committed.
    drop(handover);
    tokio::task::spawn_blocking(|| writer.end()).await?;
    Ok(())
}

/// Starts the API. Returns its address for the log.
async fn serve(
    spec: &CollectorSpec,
    handover: &Handover,
    health: &Arc<Health>,
    ending: &watch::Receiver<bool>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> anyhow::Result<String> {
    let Some(api) = &spec.api else { return Ok("off".to_owned()) };
    let access = Access::open(&api.access)?;
    let server = Server::bind(api.listen).await;
    let server = server.map_err(|error| {
        anyhow::Error::new(error)
            .context(format!("cannot listen on {}; choose another api.listen", api.listen))
    })?;
    let address = server.address()?;
    let (folder, budget) = (spec.keep.path.clone(), api.rows);
    let open = Box::new(move || SqliteStore::read_only(&folder, budget));
    let answers =
        Api::new(access, api.limit, Arc::clone(health), open).with_handover(handover.for_posts());
    tasks.spawn(server.run(Arc::new(answers), ending.clone()));
    Ok(address.to_string())
}
