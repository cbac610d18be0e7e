//! Loads `collector.yaml`.

use std::path::Path;

use super::check;
use super::collector::CollectorSpec;
use super::error::{ConfigError, Problem, Report};
use super::inputs::{Origin, bytes, document};

/// The path of `collector.yaml` if none is named.
const INSTALLED: &str = "/etc/nephometer/collector.yaml";

/// Loads and checks `collector.yaml`; the installed one if `file` is `None`. The second value of the
/// result is the warnings.
///
/// # Errors
/// With all problems, if there are any.
pub fn load_collector(file: Option<&Path>) -> Result<(CollectorSpec, Vec<Problem>), ConfigError> {
    let mut report = Report::default();
    let origin = file.map_or(Origin::Installed, |path| Origin::File(path.to_owned()));
    let spec = bytes(&origin, INSTALLED, &mut report)
        .and_then(|(name, bytes)| document(&bytes, &name, &mut report))
        .and_then(|doc| check::collector(&doc, &mut report));
    report.finish(spec)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::collector::AccessSpec;
    use super::*;

    fn load(text: &str) -> Result<CollectorSpec, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.yaml");
        std::fs::write(&path, text).unwrap();
        let shown = format!("{}:", path.display());
        let loaded = load_collector(Some(&path)).map(|(spec, _)| spec);
        loaded.map_err(|error| error.to_string().replace(&shown, ""))
    }

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/collector.yaml");
        let (shipped, warnings) = load_collector(Some(Path::new(shipped))).unwrap();
        assert_eq!(warnings, []);
        let mut defaults = load("{}").unwrap();
        // The shipped file names one broker; by default there is none.
        assert_eq!(defaults.brokers.len(), 0);
        assert_eq!(shipped.brokers[0].queues, ["metering.sample", "notifications.sample"]);
        defaults.brokers.clone_from(&shipped.brokers);
        assert_eq!(format!("{shipped:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn all_problems_are_reported_with_place_and_remedy() {
        let text = "store: {window: 0s, classes: [{name: 'a b', meters: ['*']}, {name: default}]}\n\
            brokers: [{url: 'http://u:p@h', queues: [], prefetch: 0}]\n\
            commit: {rows: many}\n\
            secrets: [{name: one}]\n\
            api: {listen: '0.0.0.0:8777', access: everyone}\n\
            apis: 1\n";
        let error = load(text).unwrap_err();
        for expected in [
            "1:17: `window` is \"0s\"; write a time above zero",
            "1:38: `name` is \"a b\"; use lower-case letters, digits and dashes",
            "`name` is \"default\"; name it otherwise",
            "`meters` is empty; write a list of meters",
            "`queues` is empty; write a list of queues",
            "`prefetch` is 0; write a whole number from 1 to 65535",
            "`rows` is \"many\"; write a whole number",
            "no secret; set `secret` or `secret_file`",
            "`access` is \"everyone\"; write loopback, tokens or keystone",
            "the key \"apis\" is unknown; did you mean `api`?",
        ] {
            assert!(error.contains(expected), "{expected:?} is not in:\n{error}");
        }
        assert!(!error.contains("u:p"), "{error}");
        let open = load("api: {listen: '0.0.0.0:8777', access: loopback}").unwrap_err();
        assert!(open.contains("everyone on the network"), "{open}");
    }

    #[test]
    fn receivers_have_addresses_and_keystone_has_credentials() {
        let text = "receivers: ['udp://127.0.0.1', 'tcp://[::1]:5000', 'tcp://0.0.0.0:4952/']\n\
            api: {access: keystone, token_cache: 2m, keystone: {auth_url: 'http://k:5000/v3', \
            username: u, password: p, project_name: service}}\n";
        let spec = load(text).unwrap();
        let shown: Vec<String> = spec.receivers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["udp://127.0.0.1:4952", "tcp://[::1]:5000", "tcp://0.0.0.0:4952"]);
        let Some(AccessSpec::Keystone { credentials, cache }) = spec.api.map(|api| api.access)
        else {
            panic!("no Keystone");
        };
        assert_eq!((&*credentials.auth_url, cache.as_secs()), ("http://k:5000/v3", 120));
        for (text, expected) in [
            ("receivers: [udp://localhost]", "\"udp://localhost\" is no address of a receiver"),
            ("receivers: [amqp://127.0.0.1]", "write udp://ADDRESS:PORT"),
            ("receivers: ['udp://127.0.0.1', 'udp://127.0.0.1:4952']", "in the list twice"),
            ("receivers: 7", "write a list such as"),
            ("{unsigned: true, receivers: ['udp://10.0.0.1']}", "everyone on the network"),
            ("api: {access: keystone}", "set api.keystone with auth_url"),
            ("api: {keystone: {username: x}}", "`keystone` has no `auth_url`"),
            ("api: {keystone: {auth_url: 'http://k'}}", "set api.keystone.username"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is not in:\n{error}");
        }
    }

    #[test]
    fn classes_end_with_the_default_one() {
        let text = "store: {keep: forever, classes: [{name: short, meters: ['disk.*'], keep: 90d}]}\n\
            secrets: [{name: old, secret: x}]\n\
            api: {listen: 'off'}\n";
        let spec = load(text).unwrap();
        let names: Vec<&str> = spec.keep.classes.iter().map(|class| &*class.name).collect();
        assert_eq!(names, ["short", "default"]);
        assert_eq!(spec.keep.classes[0].keep, Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(spec.keep.classes[1].keep, None);
        assert!(spec.api.is_none());
    }
}
