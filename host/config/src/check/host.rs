//! Checks `nephometer.yaml`, the settings of this host. Unknown keys are problems here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::discovery::Credentials;
use super::units::{DURATION, duration, truth, whole};
use super::{Check, agent, amqp, components, discovery, listen, metering, store};
use crate::broker::AmqpSpec;
use crate::component_spec::ComponentsSpec;
use crate::discovery::DiscoverySpec;
use crate::error::Report;
use crate::keys;
use crate::listen::{ListenSpec, PrometheusSpec};
use crate::location::Location;
use crate::raw::{
    Document, Field, Kind, RawControl, RawFolder, RawHost, RawLibvirt, RawMessage, Scalar, token,
};
use crate::spec::{
    DEFAULT_SECRET, LibvirtSpec, MessageSpec, MeteringSpec, Mode, Routing, StoreSpec,
};
use crate::url;
use nephometer_model::Release;
use nephometer_model::Secret;

/// More would only occupy more of libvirtd's workers.
const MOST_PARALLEL: i64 = 64;

/// Defaults that differ from host to host.
pub(crate) struct Defaults {
    pub(crate) host: String,
    pub(crate) store: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) control: PathBuf,
}

/// The checked file.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) host: String,
    pub(crate) metering: MeteringSpec,
    pub(crate) mode: Mode,
    /// If `None`, the form of the files determines it.
    pub(crate) routing: Option<Routing>,
    /// Whether polling cycles start at an offset that depends on the host name.
    pub(crate) spread: bool,
    pub(crate) libvirt: LibvirtSpec,
    pub(crate) discovery: DiscoverySpec,
    pub(crate) credentials: Credentials,
    /// The location of `libvirt.deadline`, if it is set.
    pub(crate) deadline_location: Option<Location>,
    pub(crate) amqp: AmqpSpec,
    /// The location of the broker's URL.
    pub(crate) broker_location: Location,
    /// The location of `polling.notifications`.
    pub(crate) notifications_location: Location,
    /// The location of `message.telemetry_secret`.
    pub(crate) secret_location: Location,
    pub(crate) message: MessageSpec,
    pub(crate) components: ComponentsSpec,
    pub(crate) store: StoreSpec,
    pub(crate) cache: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) shutdown_grace: Duration,
    pub(crate) prometheus: PrometheusSpec,
    pub(crate) telemetry: ListenSpec,
    pub(crate) secret_files: Vec<PathBuf>,
}

/// Checks the file, including everything that overrides it.
pub(crate) fn check(doc: &Document, defaults: Defaults, report: &mut Report) -> Option<Host> {
    let mut check = Check::new(doc, report);
    let raw: RawHost = check.mapping("", doc.mirror())?;
    check.keys("", &keys::HOST, &["tls"]);
    let host = check.string("/host", &raw.host);
    let release = metering::release(&mut check, &raw.compatibility);
    let quirks = metering::quirks(&mut check, &raw.quirks, release.unwrap_or_default());
    let agent = agent::check(&mut check, &raw.mode, &raw.routing, raw.polling);
    let libvirt = libvirt(&mut check, raw.libvirt, release.unwrap_or_default());
    let mut credentials = Credentials::read(doc, raw.service_credentials);
    let discovery =
        discovery::check(&mut check, raw.discovery, &credentials, release.unwrap_or_default());
    let amqp = amqp::check(&mut check, raw.amqp);
    let message = message(&mut check, raw.message, release.unwrap_or_default());
    let components = components::check(&mut check, raw.components, &mut credentials);
    let store = store::check(&mut check, raw.store, defaults.store);
    let cache = folder(&mut check, "/cache", raw.cache, defaults.cache);
    let control = control(&mut check, raw.control, defaults.control);
    let grace = check.value("/shutdown_grace", &raw.shutdown_grace, duration, DURATION);
    let prometheus = listen::prometheus(&mut check, raw.prometheus);
    let telemetry = listen::telemetry(&mut check, raw.telemetry);
    let (libvirt, report_stopped_instance_metrics) = libvirt?;
    let agent::Agent { mode, routing, spread } = agent?;
    Some(Host {
        host: host?.unwrap_or(defaults.host),
        metering: MeteringSpec {
            release: release?,
            quirks: quirks?,
            report_stopped_instance_metrics,
        },
        mode,
        routing,
        spread,
        libvirt,
        discovery: discovery?,
        credentials,
        deadline_location: doc.fact("/libvirt/deadline").map(|fact| fact.location.clone()),
        amqp: amqp?,
        broker_location: set_in(doc, "/amqp/url"),
        notifications_location: set_in(doc, "/polling/notifications"),
        secret_location: set_in(doc, "/message/telemetry_secret"),
        message: message?,
        components: components?,
        store: store?,
        cache: cache?,
        control: control?,
        shutdown_grace: grace?.unwrap_or(Duration::from_secs(10)),
        prometheus: prometheus?,
        telemetry: telemetry?,
        secret_files: secret_files(doc),
    })
}

/// Files with secrets and certificates whose new contents a running agent takes up. Those for TLS of
/// listeners are checked by the listeners.
fn secret_files(doc: &Document) -> Vec<PathBuf> {
    let pointers = [
        "/amqp/url_file",
        "/amqp/tls/ca",
        "/amqp/tls/certificate",
        "/amqp/tls/key",
        "/message/telemetry_secret_file",
        "/prometheus/token_file",
        "/telemetry/token_file",
        "/service_credentials/password_file",
        "/service_credentials/application_credential_secret_file",
        "/service_credentials/token_file",
    ];
    let registries = registry_files(doc);
    let pointers = pointers.into_iter().map(str::to_owned).chain(registries);
    pointers.filter_map(|pointer| doc.text(&pointer)).map(PathBuf::from).collect()
}

/// The pointers of the same files of registries.
fn registry_files(doc: &Document) -> Vec<String> {
    let each = doc.keys("/components/registries").map(|(name, _)| token(name));
    let files = |name: String| {
        ["ca", "password_file", "token_file"]
            .map(|key| format!("/components/registries/{name}/{key}"))
    };
    each.flat_map(files).collect()
}

/// The location of a key or its `_file` form; the whole file if neither is set.
fn set_in(doc: &Document, pointer: &str) -> Location {
    let pointers = [pointer.to_owned(), format!("{pointer}_file")];
    let fact = pointers.iter().find_map(|pointer| doc.fact(pointer));
    let whole = || Location { file: doc.location("").file.clone(), line: 0, column: 0 };
    fact.map_or_else(whole, |fact| fact.location.clone())
}

impl Check<'_> {
    /// A value that `read` parses. `None` with a problem, `Some(None)` if it is not set.
    pub(super) fn value<T>(
        &mut self,
        pointer: &str,
        field: &Field<Scalar>,
        read: impl Fn(&Scalar) -> Option<T>,
        right: &str,
    ) -> Option<Option<T>> {
        match field {
            Field::Absent | Field::Null => Some(None),
            Field::Given(value) => match read(value) {
                Some(value) => Some(Some(value)),
                None => {
                    let what = match self.kind(pointer) {
                        Kind::Text => {
                            format!("{} is {:?}", super::subject(pointer), value.to_string())
                        }
                        _ => format!("{} is {value}", super::subject(pointer)),
                    };
                    self.fault(pointer, what, right);
                    None
                }
            },
            Field::Wrong => {
                self.wrong(pointer, right);
                None
            }
        }
    }

    /// One of several keywords.
    pub(super) fn word<T: Copy>(
        &mut self,
        pointer: &str,
        field: &Field<Scalar>,
        words: &[(&str, T)],
    ) -> Option<Option<T>> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let right = match names.split_last() {
            Some((last, [])) => format!("write {last}"),
            Some((last, rest)) => format!("write {} or {last}", rest.join(", ")),
            None => String::new(),
        };
        let read = |value: &Scalar| {
            let text = value.to_string();
            words.iter().find(|(name, _)| *name == text).map(|(_, word)| *word)
        };
        self.value(pointer, field, read, &right)
    }

    /// Non-empty text. It may be a secret and is never printed.
    pub(super) fn string(
        &mut self,
        pointer: &str,
        field: &Field<Scalar>,
    ) -> Option<Option<String>> {
        match (field, self.kind(pointer)) {
            (Field::Absent | Field::Null, _) => Some(None),
            (Field::Given(Scalar::Text(text)), Kind::Text) if !text.is_empty() => {
                Some(Some(text.clone()))
            }
            (Field::Given(_), Kind::Text) => {
                let what = format!("{} is empty", super::subject(pointer));
                self.fault(pointer, what, "write text, or leave the key out");
                None
            }
            _ => {
                self.wrong(pointer, "write text, in quotes if necessary");
                None
            }
        }
    }

    /// A secret from the file itself, or from another file that it names.
    pub(super) fn secret(
        &mut self,
        pointer: &str,
        text: &Field<Scalar>,
        file: &Field<Scalar>,
    ) -> Option<Option<String>> {
        let file_pointer = format!("{pointer}_file");
        // An empty secret is valid: messages are then unsigned.
        let empty = matches!(text, Field::Given(Scalar::Text(text)) if text.is_empty());
        let text = if empty { Some(Some(String::new())) } else { self.string(pointer, text) };
        let (text, file) = (text, self.string(&file_pointer, file));
        match (text?, file?) {
            (Some(_), Some(_)) => {
                let (one, other) = (super::subject(pointer), super::subject(&file_pointer));
                self.fault(&file_pointer, format!("both {one} and {other} are set"), "set one");
                None
            }
            (text, None) => Some(text),
            (None, Some(file)) => match nephometer_files::read_text(Path::new(&file)) {
                Ok(text) => Some(Some(text.trim_end_matches(['\n', '\r']).to_owned())),
                Err(error) => {
                    let what = format!("the file {file:?} cannot be read: {error}");
                    self.fault(&file_pointer, what, "create it, readable for this agent's user");
                    None
                }
            },
        }
    }
}

fn libvirt(
    check: &mut Check<'_>,
    field: Field<RawLibvirt>,
    release: Release,
) -> Option<(LibvirtSpec, bool)> {
    let raw = check.mapping("/libvirt", field)?;
    check.keys("/libvirt", &keys::LIBVIRT, &["tls"]);
    let uri = check
        .string("/libvirt/uri", &raw.uri)
        .map(|uri| uri.unwrap_or_else(|| "qemu:///system".to_owned()));
    let uri = uri.filter(|uri| {
        if let Err((what, remedy)) = url::check_length(uri) {
            check.fault("/libvirt/uri", what, remedy);
            return false;
        }
        let good = url::Parts::split(uri).is_some_and(|parts| !parts.scheme.is_empty());
        if !good {
            let what = format!("the libvirt URI {:?} has no scheme", url::without_user(uri));
            check.fault(
                "/libvirt/uri",
                what,
                "write qemu:///system, sim://?domains=10 or replay:///FOLDER",
            );
        }
        good
    });
    let deadline = check.value("/libvirt/deadline", &raw.deadline, duration, DURATION);
    let parallel = check.value(
        "/libvirt/parallel",
        &raw.parallel,
        |value| {
            let value = whole(value).filter(|value| (1..=MOST_PARALLEL).contains(value))?;
            usize::try_from(value).ok()
        },
        "write a whole number from 1 to 64",
    );
    let unowned = check.value("/libvirt/unowned", &raw.unowned, truth, "write true or false");
    let events = check.value("/libvirt/events", &raw.events, truth, "write true or false");
    let stopped = check.value(
        "/libvirt/report_stopped_instance_metrics",
        &raw.report_stopped_instance_metrics,
        truth,
        "write true or false",
    );
    let spec = LibvirtSpec {
        uri: uri?,
        deadline: deadline?.unwrap_or(Duration::from_secs(3)),
        parallel: parallel?.unwrap_or(2),
        unowned: unowned?.unwrap_or(true),
        // Older releases have no such feature.
        events: events?.unwrap_or(release == Release::Current),
    };
    Some((spec, stopped?.unwrap_or(false)))
}

fn message(
    check: &mut Check<'_>,
    field: Field<RawMessage>,
    release: Release,
) -> Option<MessageSpec> {
    let raw = check.mapping("/message", field)?;
    check.keys("/message", &keys::MESSAGE, &[]);
    let secret = check.secret(
        "/message/telemetry_secret",
        &raw.telemetry_secret,
        &raw.telemetry_secret_file,
    );
    let source = check.string("/message/sample_source", &raw.sample_source);
    let signature = metering::signature(check, &raw.signature, release);
    let default_secret = || DEFAULT_SECRET.to_owned();
    let source: Arc<str> = source?.map_or_else(|| "openstack".into(), Into::into);
    Some(MessageSpec {
        telemetry_secret: Secret::new(secret?.unwrap_or_else(default_secret)),
        sample_source: source,
        signature: signature?,
    })
}

fn folder(
    check: &mut Check<'_>,
    at: &str,
    field: Field<RawFolder>,
    default: PathBuf,
) -> Option<PathBuf> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::CACHE, &[]);
    let path = check.string(&format!("{at}/path"), &raw.path)?;
    Some(path.map_or(default, PathBuf::from))
}

fn control(check: &mut Check<'_>, field: Field<RawControl>, default: PathBuf) -> Option<PathBuf> {
    let raw = check.mapping("/control", field)?;
    check.keys("/control", &keys::CONTROL, &[]);
    let path = check.string("/control/socket", &raw.socket)?;
    Some(path.map_or(default, PathBuf::from))
}
