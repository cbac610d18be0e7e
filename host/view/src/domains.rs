//! The domains that were polled: when each was read last, and what is missing of it since when.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use nephometer_model::{Gap, GapReason, Sample, Timestamp};

/// Names of meters that are shown of a domain.
const METERS_SHOWN: usize = 40;

/// What a source misses of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    reason: GapReason,
    since: Timestamp,
    meters: Vec<String>,
}

/// A domain as one source has it.
#[derive(Debug, Default)]
struct PolledDomain {
    /// The time of its newest sample.
    newest: Option<Timestamp>,
    /// Whether it had samples in the cycle that is being read.
    read: bool,
    missing: Vec<Missing>,
    /// What the cycle that is being read has found.
    found: Vec<Missing>,
}

/// A domain.
#[derive(Debug, Default)]
struct DomainRow {
    name: Option<String>,
    project: Option<String>,
    sources: BTreeMap<Arc<str>, PolledDomain>,
}

/// All domains by instance id.
#[derive(Debug, Default)]
pub(super) struct DomainTable {
    rows: HashMap<String, DomainRow>,
    /// Grows with every cycle.
    version: u64,
}

impl DomainTable {
    pub(super) fn add_sample(&mut self, source: &Arc<str>, sample: &Sample) {
        let id = instance(sample);
        if !self.rows.contains_key(id) {
            self.rows.insert(id.to_owned(), DomainRow::default());
        }
        let Some(row) = self.rows.get_mut(id) else { return };
        let polled = match row.sources.get_mut(source) {
            Some(polled) => polled,
            None => row.sources.entry(Arc::clone(source)).or_default(),
        };
        polled.newest = polled.newest.max(Some(sample.taken.wall));
        // Names are the same in all samples of a cycle.
        if std::mem::replace(&mut polled.read, true) {
            return;
        }
        let resource = &sample.resource;
        let name = resource.metadata.get("display_name").and_then(Value::as_str);
        row.name = name.map(str::to_owned).or_else(|| row.name.take());
        let project = resource.project_name.as_deref().or(resource.project_id.as_deref());
        row.project = project.map(str::to_owned);
    }

    /// The gaps of a cycle that began at `now`.
    pub(super) fn add_gaps(&mut self, source: &Arc<str>, gaps: &[Gap], now: Timestamp) {
        // A device that libvirt cannot count stays so, and the domain is well.
        let is_lasting = |gap: &&Gap| {
            matches!(gap.reason, GapReason::NoDiskStatistics | GapReason::NoInterfaceStatistics)
        };
        for gap in gaps.iter().filter(|gap| gap.resource != "*" && !is_lasting(gap)) {
            let row = self.rows.entry(gap.resource.clone()).or_default();
            let polled = row.sources.entry(Arc::clone(source)).or_default();
            let whole_domain = !matches!(gap.reason, GapReason::Partial | GapReason::Metadata);
            // The end of a gap comes with the first samples after it.
            if whole_domain && (polled.read || gap.until < now) {
                continue;
            }
            let Gap { reason, begin: since, meters, .. } = gap.clone();
            polled.found.push(Missing { reason, since, meters });
        }
    }

    /// A cycle of this source has been read: what had neither samples nor gaps is gone.
    pub(super) fn end_cycle(&mut self, source: &Arc<str>) {
        self.version += 1;
        self.rows.retain(|_, row| {
            if let Some(polled) = row.sources.get_mut(source) {
                polled.missing = std::mem::take(&mut polled.found);
                if !std::mem::take(&mut polled.read) && polled.missing.is_empty() {
                    row.sources.remove(source);
                }
            }
            !row.sources.is_empty()
        });
    }

    pub(super) fn retain_sources(&mut self, sources: &[&str]) {
        self.version += 1;
        self.rows.retain(|_, row| {
            row.sources.retain(|source, _| sources.contains(&&**source));
            !row.sources.is_empty()
        });
    }

    pub(super) fn names(&self) -> HashMap<String, String> {
        let named = |(id, row): (&String, &DomainRow)| Some((id.clone(), row.name.clone()?));
        self.rows.iter().filter_map(named).collect()
    }

    pub(super) fn summary(&self, most: usize) -> Value {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::from([("healthy", 0)]);
        let mut unhealthy = Vec::new();
        for (id, row) in &self.rows {
            let state = row.state();
            *counts.entry(state).or_default() += 1;
            if state != "healthy" {
                unhealthy.push((row.since(), id, row));
            }
        }
        unhealthy.sort_by_key(|(since, id, _)| (*since, *id));
        let listed = unhealthy.iter().take(most).map(|(_, id, row)| row.json(id));
        json!({
            "counts": counts,
            "unhealthy": listed.collect::<Vec<_>>(),
            "unhealthy_count": unhealthy.len(),
            "version": self.version,
        })
    }

    pub(super) fn list(&self, text: &str, most: usize) -> Value {
        let text = text.to_lowercase();
        let has = |field: Option<&str>| field.is_some_and(|it| it.to_lowercase().contains(&text));
        let mut found: Vec<(&String, &DomainRow)> = self
            .rows
            .iter()
            .filter(|(id, row)| {
                has(Some(id)) || has(row.name.as_deref()) || has(row.project.as_deref())
            })
            .collect();
        let count = found.len();
        found.sort_by_key(|(id, row)| (row.state() == "healthy", row.name.as_deref(), *id));
        let listed = found.into_iter().take(most).map(|(id, row)| row.json(id));
        json!({
            "domains": listed.collect::<Vec<_>>(),
            "count": count,
            "all": self.rows.len(),
            "version": self.version,
        })
    }
}

impl DomainRow {
    fn missing(&self) -> impl Iterator<Item = (&Arc<str>, &Missing)> {
        self.sources.iter().flat_map(|(source, polled)| {
            polled.missing.iter().map(move |missing| (source, missing))
        })
    }

    /// `healthy`, or the worst reason why values are missing.
    fn state(&self) -> &'static str {
        let worst = |reason: GapReason| match reason {
            GapReason::Stuck => 0,
            GapReason::Timeout => 1,
            GapReason::Failed => 2,
            GapReason::Partial => 3,
            _ => 4,
        };
        let reasons = self.missing().map(|(_, missing)| missing.reason);
        reasons.min_by_key(|reason| worst(*reason)).map_or("healthy", GapReason::as_str)
    }

    /// Since when values are missing.
    fn since(&self) -> Option<Timestamp> {
        self.missing().map(|(_, missing)| missing.since).min()
    }

    fn json(&self, id: &str) -> Value {
        let missing = self.missing().map(|(source, missing)| {
            json!({
                "source": **source,
                "reason": missing.reason.as_str(),
                "since": missing.since.iso(),
                "meters": missing.meters.iter().take(METERS_SHOWN).collect::<Vec<_>>(),
                "meter_count": missing.meters.len(),
            })
        });
        let newest = self.sources.values().filter_map(|polled| polled.newest).max();
        json!({
            "id": id,
            "name": self.name,
            "project": self.project,
            "state": self.state(),
            "since": self.since().map(Timestamp::iso),
            "newest": newest.map(Timestamp::iso),
            "missing": missing.collect::<Vec<_>>(),
        })
    }
}

/// The instance id of a sample's domain; the id of the resource if there is none.
pub(super) fn instance(sample: &Sample) -> &str {
    let known = sample.resource.metadata.get("instance_id").and_then(Value::as_str);
    known.unwrap_or(&sample.resource.id)
}

#[cfg(test)]
mod tests {
    use nephometer_model::{Meter, MeterType, Moment, Resource, Volume};
    use uuid::Uuid;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn sample(domain: &str, time: u64) -> Sample {
        let metadata = [("instance_id", domain), ("display_name", "web")];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), json!(value)));
        let id = format!("{domain}-vda").into();
        let metadata = metadata.into_iter().collect();
        Sample {
            id: Uuid::nil(),
            meter: Arc::new(Meter::new("disk", MeterType::Cumulative, "B")),
            resource: Arc::new(Resource { id, metadata, ..Resource::default() }),
            volume: Volume::Integer(1),
            taken: Moment { wall: at(time), continuous: None, monotonic: None },
        }
    }

    fn gap(domain: &str, reason: GapReason, (begin, until): (u64, u64)) -> Gap {
        Gap {
            resource: domain.to_owned(),
            source: "s".to_owned(),
            meters: vec!["*".to_owned()],
            begin: at(begin),
            until: at(until),
            reason,
        }
    }

    /// One cycle of source `s` at a time.
    fn cycle(table: &mut DomainTable, time: u64, read: &[&str], gaps: &[Gap]) {
        let source = "s".into();
        for domain in read {
            table.add_sample(&source, &sample(domain, time));
        }
        table.add_gaps(&source, gaps, at(time));
        table.end_cycle(&source);
    }

    #[test]
    fn a_stuck_domain_keeps_its_name_and_the_time_since_when() {
        let mut table = DomainTable::default();
        cycle(&mut table, 10, &["a", "b"], &[]);
        cycle(&mut table, 20, &["b"], &[gap("a", GapReason::Stuck, (10, 20))]);
        cycle(&mut table, 30, &["b"], &[gap("a", GapReason::Stuck, (10, 30))]);
        let summary = table.summary(10);
        assert_eq!(summary["counts"], json!({ "healthy": 1, "stuck": 1 }));
        let row = &summary["unhealthy"][0];
        assert_eq!(
            (&row["id"], &row["name"], &row["state"]),
            (&json!("a"), &json!("web"), &json!("stuck"))
        );
        assert_eq!((&row["since"], &row["newest"]), (&json!(at(10).iso()), &json!(at(10).iso())));
        // It goes on: the gap's end comes with the reading.
        cycle(&mut table, 40, &["a", "b"], &[gap("a", GapReason::Stuck, (10, 40))]);
        assert_eq!(table.summary(10)["counts"], json!({ "healthy": 2 }));
    }

    #[test]
    fn a_domain_that_is_gone_leaves_the_table() {
        let mut table = DomainTable::default();
        cycle(&mut table, 10, &["a", "b"], &[]);
        cycle(&mut table, 20, &["b"], &[]);
        assert_eq!(table.list("", 10)["all"], 1);
        assert_eq!(table.list("WEB", 10)["count"], 1);
        assert_eq!(table.list("other", 10)["count"], 0);
        table.retain_sources(&["t"]);
        assert_eq!(table.list("", 10)["all"], 0);
    }

    #[test]
    fn a_partial_reading_names_its_meters() {
        let mut table = DomainTable::default();
        let mut lost = gap("a", GapReason::Partial, (10, 20));
        lost.meters = vec!["memory.usage".to_owned()];
        cycle(&mut table, 10, &["a"], &[]);
        cycle(&mut table, 20, &["a"], &[lost]);
        let row = &table.summary(10)["unhealthy"][0];
        assert_eq!(
            (&row["state"], &row["missing"][0]["meters"]),
            (&json!("partial"), &json!(["memory.usage"]))
        );
        assert_eq!(row["newest"], at(20).iso());
    }

    #[test]
    fn a_domain_that_was_never_read_is_listed_by_its_id() {
        let mut table = DomainTable::default();
        cycle(&mut table, 10, &[], &[gap("a", GapReason::Stuck, (10, 10))]);
        assert_eq!(table.list("", 10)["domains"][0]["id"], "a");
        assert_eq!(table.list("", 10)["domains"][0]["newest"], Value::Null);
    }
}
