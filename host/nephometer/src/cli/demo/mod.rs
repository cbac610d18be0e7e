//! `nephometer demo`: runs the agent with embedded defaults, and shows machines and pipeline on the
//! terminal.

mod cloud;
mod collector;
mod ground;
mod picture;
mod screen;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::sync::mpsc;

use self::collector::DemoCollector;
use self::ground::Ground;
use self::picture::MessageCounts;
use self::screen::DemoScreen;
use super::args::{Common, Logging};
use super::run::{block_on, check_ledger, hangups, outcome, run_until_signal, runtime};
use super::{Failure, compile, output};
use crate::app::{App, Options, Reload};
use nephometer_config::{self as config, LibvirtSpec, Origin};
use nephometer_libvirt::hypervisor;
use nephometer_libvirt::poll::PollSchedule;
use nephometer_libvirt::schedule::Clock;
use nephometer_model::{DomainState, Groups};
use nephometer_telemetry::Ledger;

/// The pipeline of the demo. `@FILE@` stands for its publishers.
const PIPELINE: &str = include_str!("../../../../../config/demo-pipeline.yaml");
/// How long to wait for the local hypervisor before a simulation is used.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Capacity of the channel to the terminal; the agent waits while it is full.
const OUTPUT_CAPACITY: usize = 64;
const LOCAL: &str = "qemu:///system";
/// A machine of every simulation with this many domains.
const STOPPED: &str = "mail-05";
const SIMULATED: &str = "sim://?domains=10&seed=1";

/// Show machines and their meters on the terminal, without any configuration
///
/// Runs the agent with embedded defaults; `make run` uses it. It meters qemu:///system if that has a
/// running domain, otherwise a simulation, and prints which. If nephometer-collector stands beside this
/// program, it runs as well and gets all samples by tcp:// on loopback; at the end its statistics are
/// printed. Without a terminal it prints the picture after the second polling cycle, every 15 cycles,
/// and at the end.
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
    /// Folder for the control socket, copies of the components, the list of simulated machines that do not
    /// answer, and the collector with its store, which is emptied at the start
    #[arg(long, value_name = "DIR", default_value = "nephometer-demo")]
    folder: PathBuf,
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
            None => runtime.block_on(choose_hypervisor()),
        };
        let ground = Ground::prepare(&self.folder, &self.components)?;
        let mut collector = DemoCollector::start(&self.folder)?;
        let inputs = self.inputs(&uri, &ground, collector.as_ref())?;
        let load = move || {
            let mut spec = config::load(&inputs).map_err(|error| error.to_string())?.spec;
            spec.components.compiler = compile::program();
            Ok(spec)
        };
        let spec = load().map_err(anyhow::Error::msg).context(Failure::Configuration)?;
        let (observer, outputs) = mpsc::channel(OUTPUT_CAPACITY);
        let interval = spec.pipeline.sources.first().map(|source| source.interval);
        let count = self.seconds.zip(interval).map(|(seconds, interval)| {
            // The first cycle starts at once.
            seconds / interval.as_secs().max(1) + 1
        });
        let schedule = PollSchedule { max_cycles: count, interval: None };
        let work = async {
            let reload = Reload { load: Arc::new(load), files: Vec::new(), hangups: hangups()? };
            let (observer, reload) = (Some(observer), Some(reload));
            let options =
                Options { observer, schedule, store: false, reload, ..Options::default() };
            let app = App::build(spec, options).await?;
            let ledger = app.ledger();
            let screen = Arc::new(DemoScreen {
                title: title(&uri),
                collector: collector.as_ref().map(DemoCollector::line),
                next: next(&uri, &ground, collector.as_ref()),
                ledger: Arc::clone(&ledger),
                host: app.component_host(),
                listed: Mutex::default(),
            });
            let view = Arc::clone(&screen);
            let mut view = tokio::spawn(async move { view.show(outputs).await });
            let mut running = pin!(run_until_signal(app));
            // Nobody sees what follows if the output is closed: then the demo ends.
            let (cloud, ended) = tokio::select! {
                ended = &mut running => (view.await??, ended),
                shown = &mut view => (shown??, running.await),
            };
            screen.last(&cloud)?;
            Ok::<_, anyhow::Error>((outcome(ended, check_ledger(&ledger)), ledger))
        };
        let (ended, ledger) = block_on(runtime, work)?;
        let collected = match &mut collector {
            Some(collector) if ended.is_ok() => conclude(collector, &ledger),
            _ => Ok(()),
        };
        report(&ledger);
        ended.and(collected)
    }
}

impl Demo {
    /// The embedded configuration.
    fn inputs(
        &self,
        uri: &str,
        ground: &Ground,
        collector: Option<&DemoCollector>,
    ) -> Result<config::Inputs> {
        let mut inputs = Common::default().inputs();
        // The demo ignores the configuration of this machine.
        let text = ground.configuration(collector.map(DemoCollector::secret));
        inputs.config = Origin::Text { name: "embedded".to_owned(), text };
        inputs.libvirt = Some(metered(uri, ground));
        inputs.amqp_url = self.broker_url()?;
        inputs.components = vec![ground.components()];
        let file = std::path::absolute(&self.file)
            .with_context(|| format!("--file {}", self.file.display()))?;
        let hand_over = collector.map(DemoCollector::publisher);
        inputs.pipeline = pipeline(&file, hand_over.as_deref(), inputs.amqp_url.is_some());
        Ok(inputs)
    }

    /// The URL of a broker from `--amqp-file` or `AMQP_URL`.
    fn broker_url(&self) -> Result<Option<String>> {
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

/// What is metered, so that nobody takes a simulation for real.
fn title(uri: &str) -> String {
    let uri = config::without_user(uri);
    match uri.starts_with("sim:") {
        true => format!("nephometer: a SIMULATION ({uri})"),
        false => format!("nephometer: {uri}"),
    }
}

/// What is metered: in a simulation, machines can be stopped.
fn metered(uri: &str, ground: &Ground) -> String {
    match uri.strip_prefix("sim://") {
        Some(rest) if !rest.contains("stuck=") => {
            let file = std::path::absolute(ground.stuck()).unwrap_or_else(|_| ground.stuck());
            let join = if rest.contains('?') { "&" } else { "?" };
            format!("{uri}{join}stuck={}", file.display())
        }
        _ => uri.to_owned(),
    }
}

/// Commands to try next, each with what it does. They work as they are, in the folder of this run.
fn next(uri: &str, ground: &Ground, collector: Option<&DemoCollector>) -> Vec<(String, String)> {
    let program = std::env::current_exe().map_or("nephometer".into(), |path| shortened(&path));
    let program = quoted(&program);
    let path = |path: PathBuf| quoted(&shortened(&path));
    let new = path(ground.folder.join("new").join(ground::REPLACEABLE));
    let stop = if uri.starts_with("sim://") {
        ("stop a machine; : instead of echo lets it go on", {
            format!("echo {STOPPED} > {}", path(ground.stuck()))
        })
    } else {
        // Other people's machines are not for trying out.
        let uri = quoted(&config::without_user(uri));
        ("every meter that these machines have", format!("{program} meters --libvirt {uri}"))
    };
    let socket = path(ground.socket());
    let query = collector.map(|collector| {
        let query = "query statistics --meter cpu_util --group resource_id";
        ("ask the collector: processor time of each machine", collector.command(query))
    });
    let agent = [
        ("replace a component now: its digest changes, its state stays", {
            format!("cp {new} {}/", path(ground.components()))
        }),
        stop,
        ("open the page: the command prints its address", {
            format!("{program} page --socket {socket}")
        }),
    ];
    agent.into_iter().chain(query).map(|(what, command)| (what.to_owned(), command)).collect()
}

/// A path, relative if it is below the working directory.
fn shortened(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+=@".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Prints what became of the samples.
fn report(ledger: &Ledger) {
    let (polled, missing) = (ledger.polled.load(Relaxed), ledger.missing.load(Relaxed));
    let messages = MessageCounts::of_all(ledger);
    output::print_error(&format!(
        "{polled} samples polled, {missing} readings failed; messages: {messages}"
    ));
}

/// Ends the collector, prints what it has, and compares it with what was sent.
fn conclude(collector: &mut DemoCollector, ledger: &Ledger) -> Result<()> {
    collector.end()?;
    let mut out = output::stdout();
    let collected = collector.write_statistics(&mut out)?;
    out.flush()?;
    let label = collector.publisher();
    let sinks = ledger.sinks();
    let publishers = sinks.iter().flat_map(|sink| &sink.publishers);
    let own = publishers.filter(|(name, _)| **name == *label);
    let sent: u64 = own.map(|(_, count)| count.samples.load(Relaxed)).sum();
    if collected != sent {
        bail!("the collector has {collected} samples of {sent} that were sent to it");
    }
    Ok(())
}

/// The embedded pipeline, with its publishers filled in.
fn pipeline(file: &Path, hand_over: Option<&str>, amqp: bool) -> Origin {
    let mut publishers = format!("\"file://{}?json\"", file.display());
    for url in hand_over.into_iter().chain(amqp.then_some("notifier://")) {
        publishers += &format!(", \"{url}\"");
    }
    Origin::Text {
        name: "demo-pipeline.yaml".to_owned(),
        text: PIPELINE.replace("\"@FILE@\"", &publishers),
    }
}

/// The local hypervisor if it answers and has a running domain, else a simulation.
async fn choose_hypervisor() -> String {
    let reason = match tokio::time::timeout(PROBE_TIMEOUT, count_running(LOCAL)).await {
        Ok(Ok(0)) => "has no running domain".to_owned(),
        Ok(Ok(running)) => {
            output::print_error(&format!("metering {LOCAL}: {running} running domains"));
            return LOCAL.to_owned();
        }
        Ok(Err(error)) => format!("cannot be used ({error:#})"),
        Err(_) => format!("did not answer within {} s", PROBE_TIMEOUT.as_secs()),
    };
    output::print_error(&format!(
        "{LOCAL} {reason}: metering a SIMULATION ({SIMULATED}), these numbers are not real"
    ));
    SIMULATED.to_owned()
}

/// The number of running domains.
async fn count_running(uri: &str) -> Result<usize> {
    let spec = LibvirtSpec {
        uri: uri.to_owned(),
        deadline: PROBE_TIMEOUT,
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
