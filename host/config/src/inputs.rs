//! What the configuration depends on: files, environment, command line, and this machine.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::check::KnownMeters;
use super::error::{Report, problem};
use super::location::Location;
use super::proxies::Proxies;
use super::raw::Document;
use super::spec::MeteringSpec;
use nephometer_model::Bound;

/// The default path of `nephometer.yaml`. The file may be absent.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/nephometer/nephometer.yaml";

/// The default path of `pipeline.yaml`.
pub(crate) const DEFAULT_PIPELINE: &str = "/etc/nephometer/pipeline.yaml";

/// The path of `polling.yaml` if neither it nor `pipeline.yaml` is named. The file may be absent.
pub(crate) const DEFAULT_POLLING: &str = "/etc/nephometer/polling.yaml";

/// Where the text of a file comes from.
#[derive(Debug, Clone, Default)]
pub enum Origin {
    /// The file that is installed with the agent.
    #[default]
    Installed,
    /// A file that was named. It must exist.
    File(PathBuf),
    /// Text that is not in a file.
    Text {
        /// Used as the file name in locations.
        name: String,
        /// YAML.
        text: String,
    },
}

/// Everything that the configuration depends on. This crate reads nothing else but the files that
/// are named here.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `nephometer.yaml`
    pub config: Origin,
    /// `pipeline.yaml`
    pub pipeline: Origin,
    /// `polling.yaml`. If there is one, `pipeline.yaml` does not configure polling.
    pub polling: Origin,
    /// `ceilometer.conf`. Everything else overrides it.
    pub ceilometer: Option<PathBuf>,
    /// `--libvirt`: overrides `libvirt.uri`.
    pub libvirt: Option<String>,
    /// `AMQP_URL`, or `--amqp-file` of the demo: overrides `amqp.url` and `amqp.url_file`.
    pub amqp_url: Option<String>,
    /// Override `components.path` if there are any.
    pub components: Vec<PathBuf>,
    /// The variables that begin with `NEPHOMETER_` and are not options of the command line;
    /// `NEPHOMETER_AMQP__URL` overrides `amqp.url`.
    pub environment: Vec<(String, String)>,
    /// The machine's host name: the default of `host`.
    pub hostname: String,
    /// Folders for the defaults of paths.
    pub folders: Folders,
    /// The proxies of the environment, for registries.
    pub proxies: Proxies,
    /// The meters that this agent has with these settings.
    pub meters: Option<fn(MeteringSpec) -> KnownMeters>,
}

/// Folders from which the defaults of paths are chosen.
#[derive(Debug, Clone, Default)]
pub struct Folders {
    /// Whether this user may write `/var/lib/nephometer` and `/var/cache/nephometer`.
    pub system: bool,
    /// `XDG_STATE_HOME`, or its substitute.
    pub state_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, or its substitute.
    pub cache_home: Option<PathBuf>,
    /// Whether this user may write `/run/nephometer`.
    pub system_runtime: bool,
    /// `XDG_RUNTIME_DIR`, if it is set.
    pub runtime: Option<PathBuf>,
}

/// The path of an origin, if it is a file.
pub(super) fn file(origin: &Origin, installed: &str) -> Option<PathBuf> {
    match origin {
        Origin::Installed => Some(PathBuf::from(installed)),
        Origin::File(path) => Some(path.clone()),
        Origin::Text { .. } => None,
    }
}

pub(super) fn document(bytes: &[u8], name: &str, report: &mut Report) -> Option<Document> {
    let mut warnings = Vec::new();
    let read = Document::read(bytes, name, &mut warnings);
    report.extend_warnings(warnings);
    match read {
        Ok(doc) => Some(doc),
        Err(problem) => {
            report.push(problem);
            None
        }
    }
}

pub(super) fn bytes(
    origin: &Origin,
    installed: &str,
    report: &mut Report,
) -> Option<(String, Vec<u8>)> {
    let path = match origin {
        Origin::Text { name, text } => return Some((name.clone(), text.clone().into_bytes())),
        Origin::File(path) => path.as_path(),
        Origin::Installed => Path::new(installed),
    };
    let name = path.display().to_string();
    match read(path) {
        Ok(bytes) => Some((name, bytes)),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "create it, or name another file",
                _ => "name a file that this user can read",
            };
            let what = format!("the file cannot be read: {error}");
            report.push(problem(&whole(&name), what, remedy));
            None
        }
    }
}

/// Reads a file, but at most one byte more than the parser accepts.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = Bound::YamlBytes.most() + 1;
    nephometer_files::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn whole(name: &str) -> Location {
    Location { file: name.into(), line: 0, column: 0 }
}
