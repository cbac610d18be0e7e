//! Arguments that several commands share: configuration and logging.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rustix::fs::{Access, access};

use super::{compile, output};
use nephometer_config::{self as config, AgentSpec, Folders, Inputs, Origin, Proxies};
use nephometer_telemetry::{self as telemetry, LogFormat};

/// Variables that are arguments of the command line, not keys of the configuration.
const LOG_VARIABLES: [&str; 2] = ["NEPHOMETER_LOG", "NEPHOMETER_LOG_FORMAT"];

/// Selects the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Common {
    /// The host's settings [default: /etc/nephometer/nephometer.yaml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sources and sinks [default: /etc/nephometer/pipeline.yaml]
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// What to poll, for sites with a polling.yaml [default: /etc/nephometer/polling.yaml if it exists
    /// and --pipeline is not given]
    #[arg(long, value_name = "FILE")]
    pub polling: Option<PathBuf>,
    /// A ceilometer.conf, for settings that no other file has; the files beside it are read too
    #[arg(long, value_name = "FILE")]
    pub ceilometer_conf: Option<PathBuf>,
    /// Where to read domains from: a libvirt URI, sim://?domains=N&seed=S, or replay:///DIR
    #[arg(long, value_name = "URI")]
    pub libvirt: Option<String>,
    /// Folder with components, searched before those of the configuration; may be repeated
    #[arg(long, value_name = "DIR")]
    pub components: Vec<PathBuf>,
}

impl Common {
    /// Collects the arguments, the environment and the facts of this machine.
    pub(super) fn inputs(&self) -> Inputs {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("NEPHOMETER_"))
            .filter(|(name, _)| !LOG_VARIABLES.contains(&name.as_str()))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        Inputs {
            config: origin(self.config.as_ref()),
            pipeline: origin(self.pipeline.as_ref()),
            polling: origin(self.polling.as_ref()),
            ceilometer: self.ceilometer_conf.clone(),
            libvirt: self.libvirt.clone(),
            amqp_url: None,
            components: self.components.clone(),
            environment,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            folders: folders(),
            proxies: Proxies::from_variables(|name| std::env::var_os(name)?.into_string().ok()),
            meters: Some(nephometer_libvirt::poll::meters::known_meters),
        }
    }

    /// Loads and checks the configuration. Prints warnings to standard error.
    pub(super) fn load(&self) -> Result<AgentSpec> {
        let mut loaded = config::load(&self.inputs())?;
        loaded.spec.components.compiler = compile::program();
        for warning in &loaded.warnings {
            output::print_error(&format!("warning: {warning}"));
        }
        Ok(loaded.spec)
    }
}

fn origin(file: Option<&PathBuf>) -> Origin {
    file.map_or(Origin::Installed, |file| Origin::File(file.clone()))
}

/// The folders of the XDG base directory specification, for users without write access to the
/// system's.
fn folders() -> Folders {
    let home = |variable: &str, fallback: &str| {
        let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(fallback)))
    };
    Folders {
        system: writable("/var/lib/nephometer") || writable("/var/lib"),
        state_home: home("XDG_STATE_HOME", ".local/state"),
        cache_home: home("XDG_CACHE_HOME", ".cache"),
        system_runtime: writable("/run/nephometer") || writable("/run"),
        runtime: std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()),
    }
}

/// A service may write its own folders only, which the service manager has created.
fn writable(folder: &str) -> bool {
    access(folder, Access::WRITE_OK).is_ok()
}

/// Options of the log.
#[derive(Debug, Clone, Args)]
pub(super) struct Logging {
    /// Format of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormatArg::Text, env = "NEPHOMETER_LOG_FORMAT")]
    log_format: LogFormatArg,
    /// What to log: a level, or directives such as `info,nephometer=debug`
    #[arg(long, default_value = "info", env = "NEPHOMETER_LOG")]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

impl Logging {
    /// Starts logging to standard error.
    pub(super) fn start(&self) -> Result<()> {
        let format = match self.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        };
        telemetry::start(format, &self.log)
            .map_err(|reason| anyhow::anyhow!(reason).context(super::Failure::Usage))
    }
}
