//! Arguments that several commands take.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rustix::fs::{Access, access};

use super::{compile, output};
use nephometer_config::{self as config, AgentSpec, Folders, Inputs, Origin};
use nephometer_telemetry::{self as telemetry, LogFormat};

/// Variables that are arguments of the command line, not keys of the configuration.
const LOG_VARIABLES: [&str; 2] = ["NEPHOMETER_LOG", "NEPHOMETER_LOG_FORMAT"];

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Common {
    /// The host's own settings [default: /etc/nephometer/nephometer.yaml if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sources and sinks [default: /etc/nephometer/pipeline.yaml]
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// What is polled, where pipeline.yaml does not say [default: /etc/nephometer/polling.yaml if it
    /// is there and --pipeline is not given]
    #[arg(long, value_name = "FILE")]
    pub polling: Option<PathBuf>,
    /// A ceilometer.conf to take settings from that nothing else sets, also the files beside it
    #[arg(long, value_name = "FILE")]
    pub ceilometer_conf: Option<PathBuf>,
    /// Where domains are read: a libvirt URI, sim://?domains=N&seed=S, or replay:///DIR
    #[arg(long, value_name = "URI")]
    pub libvirt: Option<String>,
    /// A folder with components, before those of the configuration (may be repeated)
    #[arg(long, value_name = "DIR")]
    pub components: Vec<PathBuf>,
}

impl Common {
    /// What these arguments, the environment and the machine say.
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
        }
    }

    /// The checked configuration; warnings go to standard error.
    pub(super) fn load(&self) -> Result<AgentSpec> {
        let mut loaded = config::load(&self.inputs())?;
        loaded.spec.components.compiler = compile::program();
        for warning in &loaded.warnings {
            output::complain(&format!("warning: {warning}"));
        }
        Ok(loaded.spec)
    }
}

fn origin(file: Option<&PathBuf>) -> Origin {
    file.map_or(Origin::Installed, |file| Origin::File(file.clone()))
}

/// The places that the base directory specification of freedesktop.org names, for users who may
/// not write the system's.
fn folders() -> Folders {
    let home = |variable: &str, fallback: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(fallback)))
    };
    Folders {
        system: access("/var/lib", Access::WRITE_OK).is_ok(),
        state_home: home("XDG_STATE_HOME", ".local/state"),
        cache_home: home("XDG_CACHE_HOME", ".cache"),
        system_runtime: access("/run", Access::WRITE_OK).is_ok(),
        runtime: std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()),
    }
}

/// How and what is logged.
#[derive(Debug, Clone, Args)]
pub(super) struct Logging {
    /// How log lines on standard error look
    #[arg(long, value_enum, default_value_t = LogFormatArg::Text, env = "NEPHOMETER_LOG_FORMAT")]
    log_format: LogFormatArg,
    /// What is logged: a level, or directives as in `info,nephometer=debug`
    #[arg(long, default_value = "info", env = "NEPHOMETER_LOG")]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Logging {
    /// Starts logging.
    pub(super) fn start(&self) -> Result<()> {
        let format = match self.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        };
        telemetry::start(format, &self.log)
            .map_err(|reason| anyhow::anyhow!(reason).context(super::Failure::Usage))
    }
}
