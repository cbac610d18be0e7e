//! `nephometer demo`: the agent on embedded defaults, with what it publishes on the terminal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::sync::mpsc;

use super::args::{Common, Logging};
use super::run::{complete, outcome, runtime, settle, until_signalled};
use super::{compile, live, output};
use crate::app::{App, Options};
use nephometer_config::{self as config, LibvirtSpec, Origin};
use nephometer_libvirt::hypervisor;
use nephometer_libvirt::poll::PollSchedule;
use nephometer_libvirt::schedule::Clock;
use nephometer_model::{DomainState, Groups};

/// The pipeline that the demo runs: the shipped file, with its place for a publisher filled in.
const PIPELINE: &str = include_str!("../../../../config/demo-pipeline.yaml");
/// How long the local hypervisor may take to answer before the demo makes do without it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Emissions on their way to the terminal; the agent waits when it is full.
const TAP: usize = 64;
const LOCAL: &str = "qemu:///system";
const SIMULATED: &str = "sim://?domains=10&seed=1";

/// Show meters on the terminal, without any configuration
///
/// Runs the agent with embedded defaults; `make run` uses it. It meters qemu:///system if that has a
/// running domain, otherwise a simulation, and prints which.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Stop after this many seconds [default: on SIGINT or SIGTERM]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where to read domains from [default: qemu:///system or a simulation]
    #[arg(long, value_name = "URI")]
    libvirt: Option<String>,
    /// A file with the URL of a broker to publish to, such as amqp://guest:guest@127.0.0.1:5672/%2f. The
    /// variable AMQP_URL may hold the URL instead. No argument does: other users can read the command
    /// line
    #[arg(long, value_name = "FILE")]
    amqp_file: Option<PathBuf>,
    /// File to write samples to
    #[arg(long, value_name = "FILE", default_value = "nephometer-demo.ndjson")]
    file: PathBuf,
    /// Folder with components
    #[arg(long, value_name = "DIR", default_value = "target/components")]
    components: PathBuf,
    #[command(flatten)]
    logging: Logging,
}

impl Demo {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let runtime = runtime()?;
        let uri = match &self.libvirt {
            Some(uri) => {
                output::print_error(&format!("metering {}", config::without_user(uri)));
                uri.clone()
            }
            None => runtime.block_on(choose()),
        };
        let file = std::path::absolute(&self.file)
            .with_context(|| format!("--file {}", self.file.display()))?;
        let mut inputs = Common::default().inputs();
        // Nothing that is installed on this machine has a say.
        inputs.config = Origin::Text { name: "embedded".to_owned(), text: String::new() };
        inputs.libvirt = Some(uri);
        inputs.amqp_url = self.broker()?;
        inputs.components = vec![self.components.clone()];
        inputs.pipeline = pipeline(&file, inputs.amqp_url.is_some());
        let mut spec = config::load(&inputs)?.spec;
        spec.components.compiler = compile::program();
        output::print_error(&format!("publishing to {} and to this terminal", file.display()));
        let (observer, emissions) = mpsc::channel(TAP);
        let interval = spec.pipeline.sources.first().map(|source| source.interval);
        let count = self.seconds.zip(interval).map(|(seconds, interval)| {
            // The first tick comes at once.
            seconds / interval.as_secs().max(1) + 1
        });
        let schedule = PollSchedule { max_cycles: count, interval: None };
        let options =
            Options { observer: Some(observer), schedule, store: false, ..Options::default() };
        complete(runtime, async {
            let app = App::build(spec, options).await?;
            let ledger = app.ledger();
            let shown = tokio::spawn(live::show(emissions));
            let ended = until_signalled(app).await;
            shown.await??;
            outcome(ended, settle(&ledger))
        })
    }
}

impl Demo {
    /// The URL of a broker, if there is one.
    fn broker(&self) -> Result<Option<String>> {
        if let Some(file) = &self.amqp_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("--amqp-file {}", file.display()))?;
            return Ok(Some(text.trim_end().to_owned()));
        }
        let url = std::env::var_os("AMQP_URL").filter(|url| !url.is_empty());
        match url.map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(url)) => Ok(Some(url)),
            Some(Err(_)) => anyhow::bail!("AMQP_URL is not UTF-8 text"),
        }
    }
}

/// The embedded pipeline with its publishers.
fn pipeline(file: &Path, amqp: bool) -> Origin {
    let broker = if amqp { ", \"notifier://\"" } else { "" };
    let publishers = format!("\"file://{}?json\"{broker}", file.display());
    Origin::Text {
        name: "demo-pipeline.yaml".to_owned(),
        text: PIPELINE.replace("\"@FILE@\"", &publishers),
    }
}

/// The local hypervisor if it answers and runs something, else the simulation.
async fn choose() -> String {
    let reason = match tokio::time::timeout(PATIENCE, running(LOCAL)).await {
        Ok(Ok(0)) => "has no running domain".to_owned(),
        Ok(Ok(running)) => {
            output::print_error(&format!("metering {LOCAL}: {running} running domains"));
            return LOCAL.to_owned();
        }
        Ok(Err(error)) => format!("cannot be used ({error:#})"),
        Err(_) => format!("did not answer within {} s", PATIENCE.as_secs()),
    };
    output::print_error(&format!(
        "{LOCAL} {reason}: metering a SIMULATION ({SIMULATED}), these numbers are not real"
    ));
    SIMULATED.to_owned()
}

async fn running(uri: &str) -> Result<usize> {
    let spec = LibvirtSpec {
        uri: uri.to_owned(),
        deadline: PATIENCE,
        parallel: 1,
        unowned: true,
        events: false,
    };
    let hypervisor = hypervisor::open(uri, &spec, Clock::start())?;
    let domains = hypervisor.domains().await?;
    let readings = hypervisor.read(&domains, Groups::default()).await;
    let is_running =
        |reading: &&nephometer_model::Reading| reading.state == Some(DomainState::Running);
    Ok(readings.iter().flatten().filter(is_running).count())
}
