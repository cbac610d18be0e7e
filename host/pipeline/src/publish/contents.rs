//! What the output of a batch contains of each project, as its checkpoints state it.

use std::collections::BTreeMap;

use crate::transform::SampleList;
use nephometer_model::{Sample, Volume};
use nephometer_proof::{Digest, ProjectContent, ProvedSample, ProvedValue, digest_samples};

/// The contents of some lists, by project.
pub(crate) fn contents(lists: &[SampleList]) -> Vec<ProjectContent> {
    let mut by_project: BTreeMap<&str, Vec<(String, &Sample)>> = BTreeMap::new();
    for sample in lists.iter().flat_map(|list| list.iter()) {
        let project = sample.resource.project_id.as_deref().unwrap_or_default();
        by_project.entry(project).or_default().push((sample.id.to_string(), sample));
    }
    let content = |(project, samples): (&str, Vec<(String, &Sample)>)| {
        let mut proved: Vec<_> = samples.iter().map(|(id, sample)| proved(id, sample)).collect();
        ProjectContent {
            project: Digest::of_project(project),
            samples: samples.len() as u64,
            digest: digest_samples(&mut proved),
        }
    };
    by_project.into_iter().map(content).collect()
}

fn proved<'a>(id: &'a str, sample: &'a Sample) -> ProvedSample<'a> {
    ProvedSample {
        id,
        meter: &sample.meter.name,
        unit: &sample.meter.unit,
        kind: sample.meter.kind.as_str(),
        resource: &sample.resource.id,
        time: i64::try_from(sample.taken.wall.as_nanos() / 1_000).unwrap_or(i64::MAX),
        value: match sample.volume {
            Volume::Integer(whole) => ProvedValue::integer(whole),
            Volume::Float(float) => ProvedValue::Double(float),
        },
    }
}
