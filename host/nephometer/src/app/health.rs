//! Whether the agent does its work: `ok`, `degraded` (it works, and something needs attention) or
//! `down` (it does not meter).

use std::time::Duration;

use serde_json::{Value, json};

use super::admin::AdminService;
use nephometer_pipeline::SinkState;

/// Intervals without a polling cycle after which the agent counts as down.
const LATE: u32 = 3;
/// Characters of the state in one line.
const LINE_LENGTH: usize = 200;
/// Every machine may pause a process for a moment.
const LEEWAY: Duration = Duration::from_secs(5);

/// The state of the agent with its reasons.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    down: Vec<String>,
    degraded: Vec<String>,
}

impl Health {
    /// The state now. Reads counters only, and never waits.
    pub(super) fn of(admin: &AdminService) -> Self {
        let mut health = Self::default();
        health.polling(admin);
        for (name, handle) in &admin.sinks {
            let state = handle.status().state;
            if state != SinkState::Running {
                let reason = state.reason().map_or(String::new(), |reason| format!(": {reason}"));
                health.degraded.push(format!("sink {name} is {}{reason}", state.as_str()));
            }
        }
        if let Some(calls) = admin.resources.hypervisor.call_stats().filter(|it| it.abandoned > 0) {
            let count = calls.abandoned;
            health
                .degraded
                .push(format!("calls of libvirt that have not returned in time: {count}"));
        }
        for problem in &admin.reloads.last().problems {
            health.degraded.push(format!("the last reload was refused in part: {problem}"));
        }
        health
    }

    fn polling(&mut self, admin: &AdminService) {
        let polling = &admin.ledger.polling;
        if let Some((reason, since)) = polling.unlistable() {
            let seconds = since.as_secs();
            self.down.push(format!("domains cannot be listed for {seconds} s: {reason}"));
        }
        let intervals = polling.intervals();
        if intervals.is_empty() {
            self.down.push("no polling cycle has ended so far".to_owned());
        }
        for (interval, stats) in intervals {
            let age = stats.last.elapsed();
            if age > interval * LATE + LEEWAY {
                self.down.push(format!(
                    "the last polling cycle of those every {} s ended {} s ago",
                    interval.as_secs_f64(),
                    age.as_secs()
                ));
            }
            for (state, count) in stats.domains.iter().filter(|(state, _)| **state != "healthy") {
                if *count > 0 {
                    self.degraded.push(format!("domains without all values: {count} ({state})"));
                }
            }
        }
    }

    /// Whether the agent meters.
    pub(super) fn is_ready(&self) -> bool {
        self.down.is_empty()
    }

    /// The state in one line: `ok`, or the state and its reasons.
    pub(super) fn line(&self) -> String {
        let (state, reasons) = match (&self.down[..], &self.degraded[..]) {
            ([], []) => return "ok".to_owned(),
            ([], degraded) => ("degraded", degraded),
            (down, _) => ("down", down),
        };
        let line = format!("{state}: {}", reasons.join("; "));
        // Reasons of errors may have several lines, and be long.
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(LINE_LENGTH).collect()
    }

    /// The reply.
    pub(super) fn json(&self) -> Value {
        let status = match (self.down.is_empty(), self.degraded.is_empty()) {
            (false, _) => "down",
            (true, false) => "degraded",
            (true, true) => "ok",
        };
        json!({ "status": status, "down": self.down, "degraded": self.degraded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_comes_before_degraded() {
        let health = |down: &[&str], degraded: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
            Health { down: texts(down), degraded: texts(degraded) }
        };
        for (health, status, ready) in [
            (health(&[], &[]), "ok", true),
            (health(&[], &["a"]), "degraded", true),
            (health(&["b"], &["a"]), "down", false),
        ] {
            assert_eq!(
                (health.json()["status"].as_str(), health.is_ready()),
                (Some(status), ready)
            );
            assert_eq!(health.line().split(':').next(), Some(status));
        }
    }
}
