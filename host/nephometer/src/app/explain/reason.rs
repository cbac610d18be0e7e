//! Why a value is missing: reasons with fixed words, in the order in which they are looked for.

use serde_json::{Value, json};

use nephometer_model::{Gap, GapReason, Glob, Timestamp};

/// One reason. Its word is part of the stable form of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MissingReason {
    pub(super) word: &'static str,
    /// Since when, if that is known.
    pub(super) since: Option<Timestamp>,
    /// What it means here, and what changes it.
    pub(super) text: String,
}

impl MissingReason {
    pub(super) fn new(word: &'static str, text: impl Into<String>) -> Self {
        Self { word, since: None, text: text.into() }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "reason": self.word, "since": self.since.map(Timestamp::iso), "text": self.text })
    }
}

/// The gaps of a meter and a resource.
pub(super) struct ExplainedGaps(Vec<(Gap, bool)>);

/// Gaps in an answer; the newest.
const GAPS: usize = 20;

impl ExplainedGaps {
    /// Selects the gaps of a meter (`None`: of any) of an instance, or of one of its resources. `last_cycle` is the time of a
    /// source's last polling cycle: a gap that extends to it is open.
    pub(super) fn select(
        gaps: Vec<Gap>,
        meter: Option<&str>,
        is_resource: impl Fn(&str) -> bool,
        last_cycle: impl Fn(&str) -> Option<Timestamp>,
    ) -> Self {
        let names = |pattern: &String, meter: &str| {
            Glob::new(pattern).is_ok_and(|glob| glob.matches(meter))
        };
        let concerns = |gap: &Gap| {
            let is_one = gap.resource == "*" || is_resource(&gap.resource);
            let Some(meter) = meter else { return is_one };
            let excluded = gap.meters.iter().filter_map(|one| one.strip_prefix('!'));
            let excluded = excluded.map(str::to_owned).any(|pattern| names(&pattern, meter));
            let all_excluded = gap.meters.iter().all(|one| one.starts_with('!'));
            let included = gap.meters.iter().any(|pattern| names(pattern, meter));
            is_one && !excluded && (all_excluded || included)
        };
        let mut selected: Vec<(Gap, bool)> = gaps
            .into_iter()
            .filter(concerns)
            .map(|gap| {
                let open = last_cycle(&gap.source).is_some_and(|last| gap.until >= last);
                (gap, open)
            })
            .collect();
        selected.sort_by_key(|(gap, _)| std::cmp::Reverse(gap.until));
        Self(selected)
    }

    /// The reasons of the open ones.
    pub(super) fn open(&self) -> Vec<MissingReason> {
        let open = self.0.iter().filter(|(_, open)| *open);
        open.map(|(gap, _)| MissingReason {
            word: gap.reason.as_str(),
            since: Some(gap.begin),
            text: meaning(gap.reason).to_owned(),
        })
        .collect()
    }

    pub(super) fn json(&self) -> Value {
        let one = |(gap, open): &(Gap, bool)| {
            json!({
                "reason": gap.reason.as_str(),
                "from": gap.begin.iso(),
                "until": gap.until.iso(),
                "open": open,
                "source": gap.source,
                "resource": gap.resource,
                "text": meaning(gap.reason),
            })
        };
        self.0.iter().take(GAPS).map(one).collect()
    }
}

/// What a reason of a gap means, for people.
fn meaning(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Stuck => {
            "the domain's QEMU does not answer libvirt; it is probed from time to time"
        }
        GapReason::Timeout => {
            "libvirt did not answer within libvirt.deadline, because of another domain"
        }
        GapReason::Failed => "libvirt reported an error for the domain; the log has it",
        GapReason::Partial => "libvirt does not report this value any more, and reports others",
        GapReason::AgentDown => "the agent was not running",
        GapReason::Skipped => "a polling cycle took too long, or the agent's process was stopped",
        GapReason::Suspended => "the host was suspended",
        GapReason::Dropped => {
            "the samples were polled, and dropped: the journal or a spool was full or too old"
        }
        GapReason::Metadata => "the samples lack what Nova's API knows, because it did not answer",
        GapReason::NoDiskStatistics => {
            "libvirt has no numbers for a disk of the domain; docs/devices.md has the kinds"
        }
        GapReason::NoInterfaceStatistics => {
            "libvirt has no numbers for an interface of the domain, as with SR-IOV; docs/devices.md \
             has the kinds"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(resource: &str, meters: &[&str], until: u64) -> Gap {
        Gap {
            resource: resource.to_owned(),
            source: "s".to_owned(),
            meters: meters.iter().map(|one| (*one).to_owned()).collect(),
            begin: Timestamp::from_nanos(1),
            until: Timestamp::from_nanos(until),
            reason: GapReason::Stuck,
        }
    }

    #[test]
    fn gaps_concern_a_meter_and_a_resource_and_may_be_open() {
        let all = vec![
            gap("r", &["cpu"], 10),
            gap("*", &["*"], 20),
            gap("r", &["!memory*"], 15),
            gap("other", &["*"], 20),
            gap("r", &["!cpu"], 20),
            gap("r", &["memory"], 20),
        ];
        let select = |last: Option<u64>| {
            let last = last.map(Timestamp::from_nanos);
            ExplainedGaps::select(all.clone(), Some("cpu"), |one| one == "r", |_| last)
        };
        let found = select(Some(15));
        let ends: Vec<_> =
            found.0.iter().map(|(gap, open)| (gap.until.as_nanos(), *open)).collect();
        assert_eq!(ends, [(20, true), (15, true), (10, false)]);
        assert_eq!(found.open().len(), 2);
        assert!(select(None).open().is_empty(), "no cycle so far");
    }
}
