//! Secrets: who may read their files, and whether everybody knows them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{CheckState, Diagnosis};
use nephometer_config::{self as config, AgentSpec, Inputs, Problem, SettingOrigin};

const CHECK: &str = "secrets";

/// `warnings` are those of the configuration about secrets.
pub(super) fn check(inputs: &Inputs, spec: &AgentSpec, warnings: &[Problem]) -> Vec<Diagnosis> {
    let warning = |one: &Problem| Diagnosis {
        check: CHECK,
        state: CheckState::Warning,
        message: format!("{}: {}", one.location, one.what),
        remedy: Some(one.remedy.clone()),
    };
    let mut found: Vec<Diagnosis> = warnings.iter().map(warning).collect();
    // The files that the configuration names; it has errors if one cannot be read.
    let settings = config::settings(inputs).map(|found| found.settings).unwrap_or_default();
    for setting in settings {
        let SettingOrigin::SecretFile { path, .. } = setting.origin else { continue };
        let is_reported = warnings.iter().any(|one| one.what.contains(&format!("{path:?}")));
        if let (Ok(meta), false) = (fs::metadata(&path), is_reported) {
            let (mode, owner) = (meta.mode() & 0o777, meta.uid());
            let message = format!("{}: {path}, owner uid {owner}, mode {mode:04o}", setting.key);
            found.push(Diagnosis::ok(CHECK, message));
        }
    }
    if found.is_empty() {
        let unsigned = spec.message.telemetry_secret.reveal().is_empty();
        let signed = if unsigned { "messages are not signed" } else { "none is open to all users" };
        found.push(Diagnosis::ok(CHECK, signed));
    }
    found
}
