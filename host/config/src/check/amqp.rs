//! Checks `amqp` of `nephometer.yaml`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use super::Check;
use super::units::truth;
use crate::broker::{AmqpSpec, BrokerSpec, Queues, TlsSpec};
use crate::keys;
use crate::raw::{Field, RawAmqp, RawTls, Scalar};
use crate::url;

pub(super) fn check(check: &mut Check<'_>, field: Field<RawAmqp>) -> Option<AmqpSpec> {
    let raw = check.mapping("/amqp", field)?;
    check.keys("/amqp", &keys::AMQP, &[]);
    let tls = tls(check, "/amqp/tls", raw.tls);
    let words = [
        ("transient", Queues::Transient),
        ("durable", Queues::Durable),
        ("quorum", Queues::Quorum),
    ];
    let queues = check.word("/amqp/queues", &raw.queues, &words);
    let exchange = exchange(check, &raw.exchange);
    let given = check.secret("/amqp/url", &raw.url, &raw.url_file)?;
    let from = if matches!(raw.url, Field::Given(_)) { "/amqp/url" } else { "/amqp/url_file" };
    let text = given.unwrap_or_else(|| "amqp://guest:guest@127.0.0.1:5672/%2F".to_owned());
    // The URL is checked even if other settings are invalid, so that all problems are reported at once.
    let enabled = tls.as_ref().is_some_and(|tls| tls.enabled);
    let urls = match url::broker_urls(&text, enabled) {
        Ok(urls) => urls,
        Err((what, remedy)) => {
            check.fault(from, what, remedy);
            return None;
        }
    };
    let (tls, queues, exchange) = (tls?, queues?.unwrap_or_default(), exchange?);
    Some(AmqpSpec { broker: BrokerSpec { urls, tls, queues, exchange } })
}

/// The name of an exchange: a short string of AMQP.
fn exchange(check: &mut Check<'_>, field: &Field<Scalar>) -> Option<String> {
    let Some(name) = check.string("/amqp/exchange", field)? else {
        return Some(BrokerSpec::default().exchange);
    };
    if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
        let what = "`exchange` is not the name of an exchange";
        check.fault("/amqp/exchange", what, "write 1 to 255 bytes without control characters");
        return None;
    }
    Some(name)
}

/// The TLS settings and files.
pub(super) fn tls(check: &mut Check<'_>, at: &str, field: Field<RawTls>) -> Option<TlsSpec> {
    let raw = check.mapping(at, field)?;
    check.keys(at, &keys::AMQP_TLS, &[]);
    let right = "write true or false";
    let enabled = check.value(&format!("{at}/enabled"), &raw.enabled, truth, right);
    let verify_hostname = format!("{at}/verify_hostname");
    let verify_hostname = check.value(&verify_hostname, &raw.verify_hostname, truth, right);
    let ca = check.file(&format!("{at}/ca"), &raw.ca);
    let certificate = check.file(&format!("{at}/certificate"), &raw.certificate);
    let key = check.file(&format!("{at}/key"), &raw.key);
    let identity = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let what = "`certificate` and `key` belong together, and one is missing";
            check.fault(at, what, "name both, or none");
            return None;
        }
    };
    let (enabled, verify_hostname) = (enabled?.unwrap_or(false), verify_hostname?.unwrap_or(true));
    let ca = ca?;
    let contents = contents(ca.iter().chain(identity.iter().flat_map(|(one, other)| [one, other])));
    Some(TlsSpec { enabled, ca, identity, verify_hostname, contents })
}

/// A number for the contents of files, to notice that they have changed.
fn contents<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        nephometer_files::read(path).ok()?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

impl Check<'_> {
    /// The path of a readable file.
    pub(super) fn file(&mut self, pointer: &str, field: &Field<Scalar>) -> Option<Option<PathBuf>> {
        let Some(path) = self.string(pointer, field)? else { return Some(None) };
        match nephometer_files::open(path.as_ref()) {
            Ok(_) => Some(Some(PathBuf::from(path))),
            Err(error) => {
                let what = format!("the file {path:?} cannot be read: {error}");
                // As for Ceilometer, which reads it when it connects: a certificate may come later.
                // Overrides have no line, and those of the environment the variable's name.
                let from = self.location(pointer);
                if from.line == 0 && !from.file.starts_with("NEPHOMETER_") {
                    let remedy = "provide it; until then no connection to the broker succeeds";
                    self.warn(pointer, what, remedy);
                    return Some(Some(PathBuf::from(path)));
                }
                self.fault(pointer, what, "name a PEM file that this agent's user may read");
                None
            }
        }
    }
}
