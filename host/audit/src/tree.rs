//! The digest over the sums of a month: of meters, resources, days and projects.
//!
//! It is made when a month is closed. Who has it can check the sums of one project by day, resource and
//! meter when its samples are gone, and needs nothing of other projects but their digests.

use nephometer_proof::{Digest, ProvedValue};
use serde_json::{Value, json};

use super::totals::Sums;

/// The sums of a meter of a resource over a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The beginning of the day, microseconds since the epoch.
    pub day: i64,
    /// The resource's id.
    pub resource: String,
    /// The meter's name.
    pub meter: String,
    /// The meter's unit.
    pub unit: String,
    /// `gauge`, `delta` or `cumulative`.
    pub kind: String,
    /// The sums.
    pub sums: Sums,
}

impl Leaf {
    fn digest(&self) -> Digest {
        let Self { meter, unit, kind, sums, .. } = self;
        let [min, max] = [sums.min, sums.max].map(shown);
        let text = json!([meter, unit, kind, sums.samples, sums.volumes, sums.total(), min, max]);
        Digest::of(text.to_string().as_bytes())
    }
}

fn shown(value: ProvedValue) -> Value {
    match value {
        ProvedValue::Null => Value::Null,
        ProvedValue::Double(value) => json!(value),
        ProvedValue::Integer(value) => json!(value.to_string()),
    }
}

/// The digest of a project: SHA-256 over the digests of its days, each over those of its resources, each
/// over those of its meters. A day or a resource begins with its name as JSON.
pub fn project_digest(leaves: &mut [Leaf]) -> Digest {
    let key = |leaf: &Leaf| {
        let Leaf { day, resource, meter, unit, kind, .. } = leaf.clone();
        (day, resource, meter, unit, kind)
    };
    leaves.sort_by_cached_key(key);
    let days = leaves.chunk_by(|one, two| one.day == two.day).map(|day| {
        let resources = day.chunk_by(|one, two| one.resource == two.resource);
        let resources = resources
            .map(|meters| node(&json!(meters[0].resource), meters.iter().map(Leaf::digest)));
        node(&json!(day[0].day), resources)
    });
    node(&json!("days"), days)
}

/// The digest of a month: SHA-256 over the month as JSON and, for each project in the order of their
/// pseudonyms, its pseudonym and its digest.
pub fn month_digest(month: &str, projects: &mut [(Digest, Digest)]) -> Digest {
    projects.sort_by_key(|(project, _)| *project.as_bytes());
    node(&json!(month), projects.iter().flat_map(|(project, digest)| [*project, *digest]))
}

fn node(name: &Value, children: impl Iterator<Item = Digest>) -> Digest {
    let mut bytes = name.to_string().into_bytes();
    bytes.push(b'\n');
    children.for_each(|child| bytes.extend_from_slice(child.as_bytes()));
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(day: i64, resource: &str, samples: u64) -> Leaf {
        let sums = Sums::new([samples, samples], 1.5, [ProvedValue::Double(0.5); 2]);
        Leaf {
            day,
            resource: resource.into(),
            meter: "cpu.delta".into(),
            unit: "ns".into(),
            kind: "delta".into(),
            sums,
        }
    }

    #[test]
    fn the_digest_depends_on_every_sum_and_not_on_their_order() {
        let all = [leaf(0, "a", 2), leaf(0, "b", 3), leaf(86_400_000_000, "a", 4)];
        let digest = project_digest(&mut all.clone());
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(project_digest(&mut turned), digest);
        for at in 0..all.len() {
            let mut other = all.clone();
            other[at].sums.samples += 1;
            assert_ne!(project_digest(&mut other), digest);
            let mut fewer = all.to_vec();
            fewer.remove(at);
            assert_ne!(project_digest(&mut fewer), digest);
        }
        let projects = [("p", digest), ("q", Digest::of(b"q"))];
        let mut projects = projects.map(|(id, digest)| (Digest::of_project(id), digest));
        let month = month_digest("2026-11", &mut projects);
        projects.reverse();
        assert_eq!(month_digest("2026-11", &mut projects), month);
        assert_ne!(month_digest("2026-10", &mut projects), month);
    }
}
