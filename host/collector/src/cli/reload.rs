//! Takes up other secrets, credentials and certificates while the collector runs. Whatever else has
//! changed requires a restart, and is named. Lines name entries and keys, never values.

use std::sync::Arc;

use nephometer_config::{ApiSpec, CollectorSpec};
use tokio::sync::watch;

use crate::api::{Access, AccessRules};
use crate::ingest::Health;
use crate::ingest::amqp::SourceSettings;
use crate::signature::{SharedVerifier, Verifier};

/// The parts of a running collector that a reload replaces.
pub(super) struct Reload {
    /// The settings in effect.
    pub(super) spec: CollectorSpec,
    pub(super) verifier: SharedVerifier,
    /// `None` without an API.
    pub(super) access: Option<AccessRules>,
    /// In the order of `brokers`.
    pub(super) brokers: Vec<watch::Sender<SourceSettings>>,
    pub(super) health: Arc<Health>,
}

/// What a reload did: one line for each change, and for each setting that was not applied.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reloaded {
    pub(super) changes: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Reload {
    /// Applies what can be applied. Reads files, so it may block.
    pub(super) fn apply(&mut self, loaded: anyhow::Result<CollectorSpec>) -> Reloaded {
        let mut report = Reloaded::default();
        match loaded {
            Ok(new) => {
                report.problems = needs_restart(&self.spec, &new);
                self.secrets(&new, &mut report);
                self.brokers(&new, &mut report);
                self.access(&new, &mut report);
            }
            Err(error) => report.problems.push(format!("{error:#}")),
        }
        self.health.set_reload_problems(report.problems.join("; "));
        report
    }

    fn secrets(&mut self, new: &CollectorSpec, report: &mut Reloaded) {
        if self.spec.secrets == new.secrets {
            return;
        }
        let names: Vec<&str> = new.secrets.iter().map(|secret| &*secret.name).collect();
        report.changes.push(format!("secrets: verifies with {}", names.join(", ")));
        self.spec.secrets.clone_from(&new.secrets);
        // `unsigned` stays as it is.
        self.verifier.replace(Verifier::new(&new.secrets, self.spec.unsigned));
    }

    fn brokers(&mut self, new: &CollectorSpec, report: &mut Reloaded) {
        if self.spec.brokers.len() != new.brokers.len() {
            return;
        }
        let known = self.spec.brokers.iter_mut().zip(&self.brokers);
        for ((old, sender), new) in known.zip(&new.brokers) {
            if old == new {
                continue;
            }
            match SourceSettings::new(new.clone()) {
                Ok(settings) => {
                    let change = sender.borrow().change_to(&settings);
                    report.changes.push(format!("broker {}: {change}, connects again", new.label));
                    sender.send_replace(settings);
                    old.clone_from(new);
                }
                Err(error) => report.problems.push(format!("broker {}: {error}", new.label)),
            }
        }
    }

    fn access(&mut self, new: &CollectorSpec, report: &mut Reloaded) {
        let (Some(api), Some(new), Some(rules)) = (&mut self.spec.api, &new.api, &self.access)
        else {
            return;
        };
        // Who may query was chosen for the new address: `loopback` must not open another one.
        if api.access == new.access || api.listen != new.listen {
            return;
        }
        match Access::open(&new.access) {
            Ok(access) => {
                rules.replace(access);
                api.access.clone_from(&new.access);
                report.changes.push("api.access: counts from the next request on".to_owned());
            }
            Err(error) => report.problems.push(error.to_string()),
        }
    }
}

/// What has changed and requires a restart, one line each.
fn needs_restart(old: &CollectorSpec, new: &CollectorSpec) -> Vec<String> {
    // A new setting has to be listed here, or applied.
    let CollectorSpec { keep, brokers, receivers, commit, secrets: _, unsigned, api, trusted_keys } =
        new;
    let count = old.brokers.len() != brokers.len();
    let addresses = "it was checked with the addresses of the start";
    let differs = [
        ("store", old.keep != *keep, "it is opened at the start"),
        ("brokers", count, "each entry has a task of its own"),
        ("receivers", old.receivers != *receivers, "they are opened at the start"),
        ("commit", old.commit != *commit, "the writer reads it at the start"),
        ("unsigned", old.unsigned != *unsigned, addresses),
        ("api", other_api(old.api.as_ref(), api.as_ref()), "it is opened at the start"),
        ("audit.keys", old.trusted_keys != *trusted_keys, "the API reads the file that it names"),
    ];
    let changed = differs.into_iter().filter(|one| one.1);
    changed
        .map(|(key, _, why)| format!("{key} has changed; this requires a restart: {why}"))
        .collect()
}

/// Whether more than the access differs.
fn other_api(old: Option<&ApiSpec>, new: Option<&ApiSpec>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => ApiSpec { access: new.access.clone(), ..old.clone() } != *new,
        (old, new) => old.is_some() != new.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use nephometer_config::load_collector;

    use super::*;

    fn spec(text: &str) -> CollectorSpec {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.yaml");
        std::fs::write(&path, text).unwrap();
        load_collector(Some(&path)).unwrap().0
    }

    fn running(text: &str) -> Reload {
        let spec = spec(text);
        let verifier = SharedVerifier::new(Verifier::new(&spec.secrets, spec.unsigned));
        let access =
            spec.api.as_ref().map(|api| AccessRules::new(Access::open(&api.access).unwrap()));
        let settings = spec.brokers.iter().map(|one| SourceSettings::new(one.clone()).unwrap());
        let brokers = settings.map(watch::Sender::new).collect();
        Reload { spec, verifier, access, brokers, health: Arc::default() }
    }

    #[test]
    fn secrets_brokers_and_access_are_taken_up_and_the_rest_is_named() {
        let broker = |password: &str| {
            format!(
                "api: {{access: loopback}}\n\
                 brokers: [{{url: 'amqp://u:{password}@127.0.0.1/%2f', queues: [q]}}]\n"
            )
        };
        let before = format!("{}secrets: [{{name: old, secret: hunter2}}]\n", broker("one"));
        let mut reload = running(&before);
        let mut settings = reload.brokers[0].subscribe();
        assert_eq!(reload.apply(Ok(spec(&before))), Reloaded::default());
        assert!(!settings.has_changed().unwrap());

        let after = format!(
            "{}secrets: [{{name: new, secret: hunter3}}]\ncommit: {{rows: 7}}\nunsigned: true\n\
             audit: {{keys: /etc/nephometer/agents.pub}}\n",
            broker("two")
        );
        let report = reload.apply(Ok(spec(&after)));
        let expected = [
            "secrets: verifies with new",
            "broker amqp://127.0.0.1/%2f: new credentials for the broker, connects again",
        ];
        assert_eq!(report.changes, expected);
        assert_eq!(report.problems.len(), 3, "{report:?}");
        // This setting was once ignored without a word.
        assert!(report.problems[2].starts_with("audit.keys has changed"), "{report:?}");
        assert!(report.problems[0].starts_with("commit has changed; this requires a restart"));
        assert!(settings.has_changed().unwrap());
        settings.mark_unchanged();
        assert!(reload.health.line().contains("the last reload was refused in part: commit"));
        // The parts that wait for a restart are still named, and the others are not done again.
        let again = reload.apply(Ok(spec(&after)));
        assert_eq!((again.changes.len(), again.problems), (0, report.problems));
        assert!(!settings.has_changed().unwrap());
        let back = reload.apply(Ok(spec(&before)));
        assert_eq!((back.changes.len(), back.problems.len()), (2, 0));
        assert_eq!(reload.health.line(), "ok");
    }

    // A file for another address must not open the address that is in use.
    #[test]
    fn the_access_of_another_address_is_not_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        std::fs::write(&tokens, "").unwrap();
        let closed = format!(
            "api: {{listen: '0.0.0.0:8777', access: tokens, tokens: {}}}\n",
            tokens.display()
        );
        let mut reload = running(&closed);
        let report = reload.apply(Ok(spec("api: {listen: '127.0.0.1:8777', access: loopback}\n")));
        assert!(report.changes.is_empty(), "{report:?}");
        assert!(report.problems[0].starts_with("api has changed"), "{report:?}");
        let error = anyhow::anyhow!("collector.yaml:1:1: wrong");
        assert_eq!(reload.apply(Err(error)).problems, ["collector.yaml:1:1: wrong"]);
    }
}
