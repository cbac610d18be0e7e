//! The control socket, and the agent behind it.

use super::Diagnosis;
use crate::control::{self, ControlError, Request};
use nephometer_config::AgentSpec;

const CHECK: &str = "control";

/// Asks the agent for its state. `holder` is the process that uses the store.
pub(super) fn check(spec: &AgentSpec, holder: Option<u32>) -> Diagnosis {
    let shown = spec.control.display();
    match control::send(&spec.control, &Request::Status) {
        Ok(answer) => {
            let version = answer["version"].as_str().unwrap_or_default();
            let pid = &answer["pid"];
            let what = format!("{shown}: nephometer {version} answers, pid {pid}");
            if version != env!("CARGO_PKG_VERSION") {
                let own = env!("CARGO_PKG_VERSION");
                let remedy = format!("restart the agent for version {own}, which is installed");
                return Diagnosis::warning(CHECK, what, remedy);
            }
            Diagnosis::ok(CHECK, what)
        }
        Err(ControlError::Absent { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let what = format!("{shown}: {source}");
            Diagnosis::warning(CHECK, what, "run this command as the agent's user, or as root")
        }
        Err(ControlError::Absent { source, .. }) => match holder {
            Some(pid) => {
                let what = format!("{shown}: {source}, although an agent runs, pid {pid}");
                let remedy = "set control.socket as in that agent's configuration";
                Diagnosis::failed(CHECK, what, remedy)
            }
            None => {
                let what = format!("{shown}: no agent runs");
                Diagnosis::warning(CHECK, what, "start it: systemctl start nephometer")
            }
        },
        Err(error) => {
            let remedy = "the agent is of another version: restart it";
            Diagnosis::failed(CHECK, format!("{shown}: {error}"), remedy)
        }
    }
}
