//! Sentences about what a reader of the findings may wonder about: resources on several hosts, hosts
//! with a new id, reasons of missing times.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{AuditedSeries, VerifiedStream};

/// What a reason of a missing time means, for those that are no declared drops.
const REASONS: [(&str, &str); 4] = [
    ("agent_silent", "the agent sent nothing, and its numbers go on afterwards: it did not run"),
    (
        "moved",
        "the resource went to another host (cold migration, resize, evacuation, unshelving); each host \
         has proved its side",
    ),
    (
        "not_sampled",
        "the agent has signed that it sent no such sample: the guest was off, stuck, shelved or rebuilt",
    ),
    ("unclean_stop", "the agent was killed; what it may have sent before was sent again"),
];

/// The sentences, without repetitions.
pub(crate) fn notes(series: &[AuditedSeries], streams: &[VerifiedStream]) -> Vec<String> {
    let mut notes = Vec::new();
    if series.is_empty() {
        // A wrong id is as complete as a right one without guests.
        notes.push("no sample of this project in this time; check its id".to_owned());
    }
    let (mut hosts, mut reasons) = (BTreeMap::new(), BTreeSet::new());
    for one in series {
        reasons.extend(one.missing.iter().map(|missing| &*missing.reason));
        if one.hosts.len() > 1 {
            hosts.entry(&*one.resource).or_insert_with(|| one.hosts.join(", then "));
        }
    }
    for (resource, hosts) in hosts {
        notes.push(format!(
            "{resource} was on {hosts}. While it migrates live, both hosts have it, and both are proved; \
             counters begin again on each"
        ));
    }
    let known = REASONS.iter().filter(|(reason, _)| reasons.contains(reason));
    notes.extend(known.map(|(reason, text)| format!("{reason}: {text}")));
    notes.extend(streams.iter().filter_map(|stream| new_id(stream, streams)));
    notes
}

/// A stream that continues where another one of the same host, sink and publisher has ended.
fn new_id(stream: &VerifiedStream, all: &[VerifiedStream]) -> Option<String> {
    let [begin, _] = stream.cycles.as_ref()?;
    let same = |other: &&VerifiedStream| {
        (&other.host, &other.sink, &other.publisher)
            == (&stream.host, &stream.sink, &stream.publisher)
            && other.cycles.as_ref().is_some_and(|[_, end]| end < begin)
    };
    all.iter().find(same).map(|_| {
        let host = &stream.host;
        format!("{host} has another host id since {begin}: nobody can prove the end of its stream before")
    })
}
