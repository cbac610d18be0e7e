//! libvirt: its socket, and the rights of this user.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Diagnosis;
use nephometer_config::{AgentSpec, without_user};
use nephometer_libvirt::hypervisor::{self, HypervisorError};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::Groups;

const CHECK: &str = "libvirt";
/// The time for connecting and listing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects, lists the domains and reads one, as the agent does.
pub(super) async fn check(spec: &AgentSpec) -> Vec<Diagnosis> {
    let uri = without_user(&spec.libvirt.uri);
    if uri.starts_with("sim:") || uri.starts_with("replay:") {
        return vec![Diagnosis::ok(CHECK, format!("{uri} needs no hypervisor"))];
    }
    let started = Instant::now();
    match timeout(PATIENCE, read(spec)).await {
        Ok(Ok((domains, unreadable))) => {
            let millis = started.elapsed().as_millis();
            let message = format!("{uri}: {domains} domains, answered within {millis} ms");
            let mut found = vec![Diagnosis::ok(CHECK, message)];
            found.extend(unreadable.map(|reason| {
                let message = format!("{uri}: a domain cannot be read: {reason}");
                Diagnosis::warning(CHECK, message, "look at the log of libvirt and of its QEMU")
            }));
            found
        }
        Ok(Err(error)) => {
            let reason = error.to_string();
            let remedy = remedy(&reason);
            vec![Diagnosis::failed(CHECK, format!("{uri}: {reason}"), remedy)]
        }
        Err(_) => {
            let message = format!("{uri}: no answer within {} s", PATIENCE.as_secs());
            let remedy = "restart libvirtd or virtqemud; a QEMU that hangs may block it";
            vec![Diagnosis::failed(CHECK, message, remedy)]
        }
    }
}

/// The number of domains, and why the first running one cannot be read.
async fn read(spec: &AgentSpec) -> Result<(usize, Option<String>), HypervisorError> {
    let hypervisor = hypervisor::open(&spec.libvirt.uri, &spec.libvirt, Clock::start())?;
    hypervisor.begin_cycle().await?;
    let domains = hypervisor.domains().await?;
    let Some(first) = domains.first() else { return Ok((0, None)) };
    let answers = hypervisor.read(std::slice::from_ref(first), Groups::ALL).await;
    let reason = answers.into_iter().find_map(Result::err).map(|error| error.to_string());
    Ok((domains.len(), reason))
}

fn remedy(reason: &str) -> String {
    let reason = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["permission denied", "access denied", "authentication", "polkit"]) {
        let user = rustix::process::geteuid().as_raw();
        format!(
            "give this user (uid {user}) access to libvirt's read-only socket, or run this command as \
             the agent's user: docs/install.md"
        )
    } else if has(&["no such file", "connection refused", "failed to connect"]) {
        "start libvirt (systemctl start virtqemud.socket or libvirtd.socket), or correct libvirt.uri"
            .to_owned()
    } else {
        "correct libvirt.uri; `virsh --connect URI list` must work".to_owned()
    }
}
