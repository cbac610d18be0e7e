//! Warnings about valid but insecure settings: well-known secrets and passwords, and files with
//! secrets that every user of the host may read. Never errors, because a test bed may use them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::broker::BrokerSpec;
use super::check::Host;
use super::error::Report;
use super::location::Location;
use super::loopback::is_loopback;
use super::raw::{Document, token};
use super::spec::{DEFAULT_SECRET, PipelineSpec, PublisherTarget};
use super::url::{self, Parts};

/// Warns about well-known secrets that are in use.
pub(super) fn known_secrets(host: &Host, pipeline: &PipelineSpec, report: &mut Report) {
    for publisher in pipeline.sinks.iter().flat_map(|sink| &sink.publishers) {
        let signs = match &publisher.target {
            PublisherTarget::Notifier(notifier) => {
                let is_default = notifier.broker == host.amqp.broker;
                let location = if is_default { &host.broker_location } else { &publisher.location };
                guest(&notifier.broker, location, report);
                true
            }
            PublisherTarget::Udp(_) | PublisherTarget::Tcp(_) => true,
            _ => false,
        };
        if signs && host.message.telemetry_secret.reveal() == DEFAULT_SECRET {
            let what = "messages are signed with the default secret, which everybody knows";
            let remedy = "set message.telemetry_secret, and the same at the receivers";
            report.caution(&host.secret_location, what, remedy);
        }
    }
}

/// Warns about `guest:guest` on a remote broker. RabbitMQ accepts this user from its own host only,
/// unless it is configured otherwise.
fn guest(broker: &BrokerSpec, location: &Location, report: &mut Report) {
    for url in &broker.urls {
        let Some(parts) = Parts::split(url.reveal()) else { continue };
        let Some(("guest:guest", host)) = parts.authority.rsplit_once('@') else { continue };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if !is_loopback(name.trim_matches(['[', ']'])) {
            let what = format!("the broker {host} is another host, and guest:guest opens it");
            report.caution(location, what, "use a user and a password of this agent's own");
        }
    }
}

/// The location of the first secret inside `nephometer.yaml` itself.
pub(super) fn secret_in_host(doc: &Document) -> Option<&Location> {
    let own = |text: &&str| !text.is_empty() && *text != DEFAULT_SECRET;
    let pointer = "/message/telemetry_secret";
    if doc.text(pointer).filter(own).is_some() {
        return Some(doc.location(pointer));
    }
    if doc.text("/amqp/url").is_some_and(url::has_password) {
        return Some(doc.location("/amqp/url"));
    }
    for pointer in ["/prometheus/token", "/telemetry/token"] {
        if doc.text(pointer).is_some() {
            return Some(doc.location(pointer));
        }
    }
    let credentials = "/service_credentials";
    if let Some((_, location)) = doc.keys(credentials).find(|(key, _)| is_secret(key)) {
        return Some(location);
    }
    let registries = "/components/registries";
    for (name, _) in doc.keys(registries) {
        let registry = format!("{registries}/{}", token(name));
        if let Some((_, location)) = doc.keys(&registry).find(|(key, _)| is_secret(key)) {
            return Some(location);
        }
    }
    doc.keys("/components/by_name").find_map(|(name, _)| {
        let options = format!("/components/by_name/{}/options", token(name));
        doc.keys(&options).find(|(key, _)| is_secret(key)).map(|(_, location)| location)
    })
}

/// Checks the permissions of secret files that `nephometer.yaml` refers to.
pub(super) fn secret_files(doc: &Document, report: &mut Report) {
    for pointer in [
        "/amqp/url_file",
        "/amqp/tls/key",
        "/message/telemetry_secret_file",
        "/prometheus/tls/key",
        "/prometheus/token_file",
        "/telemetry/tls/key",
        "/telemetry/token_file",
        "/service_credentials/password_file",
        "/service_credentials/application_credential_secret_file",
        "/service_credentials/token_file",
    ] {
        if let Some(path) = doc.text(pointer) {
            readable(Path::new(path), doc.location(pointer), report);
        }
    }
    for (name, _) in doc.keys("/components/registries") {
        for key in ["password_file", "token_file"] {
            let pointer = format!("/components/registries/{}/{key}", token(name));
            if let Some(path) = doc.text(&pointer) {
                readable(Path::new(path), doc.location(&pointer), report);
            }
        }
    }
}

/// Warns if publisher URLs in `file` contain secrets and every user may read it.
pub(super) fn secret_urls(pipeline: &PipelineSpec, file: &Path, report: &mut Report) {
    let mut publishers = pipeline.sinks.iter().flat_map(|sink| &sink.publishers);
    let secret = publishers.find(|publisher| {
        let url = publisher.url.reveal();
        let options = Parts::split(url).map(|parts| parts.options()).unwrap_or_default();
        url::has_password(url) || options.iter().any(|(key, _)| is_secret(key))
    });
    if let Some(secret) = secret {
        readable(file, &secret.location, report);
    }
}

/// Whether the name of an option suggests a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["password", "secret", "token", "api_key"].iter().any(|word| key.ends_with(word))
}

/// Warns if every user of this host may read a file with a secret. Group access is accepted: it is
/// how an agent that is not root reads the file.
pub(super) fn readable(path: &Path, location: &Location, report: &mut Report) {
    if let Some(mode) = mode_for_all(path) {
        let may = if mode & 0o002 == 0 { "read" } else { "read or change" };
        let what = format!(
            "the file {path:?} holds a secret, and every user of this host may {may} it (mode \
             {mode:04o})"
        );
        report.caution(location, what, "remove that permission: chmod o= FILE");
    }
}

/// The mode of a file that all users may read or write, if they may enter all folders above it.
/// Files that cannot be inspected are reported by their reader.
fn mode_for_all(path: &Path) -> Option<u32> {
    let mode = |path: &Path| fs::metadata(path).ok().map(|found| found.permissions().mode());
    let path = fs::canonicalize(path).ok()?;
    let found = mode(&path)? & 0o7777;
    let reached = path.ancestors().skip(1).all(|folder| mode(folder).is_some_and(|m| m & 1 != 0));
    (found & 0o006 != 0 && reached).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_folder_protects_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "s").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(folder.path(), 0o755);
        for (mode, expected) in
            [(0o644, Some(0o644)), (0o640, None), (0o602, Some(0o602)), (0o601, None)]
        {
            set(&file, mode);
            assert_eq!(mode_for_all(&file), expected, "{mode:o}");
        }
        set(&file, 0o644);
        set(folder.path(), 0o750);
        assert_eq!(mode_for_all(&file), None);
    }
}
