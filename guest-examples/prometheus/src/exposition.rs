//! Samples in Prometheus's text format.

use std::fmt::Write as _;

use nephometer_guest::{DeliveryBatch, Failure, FxHashMap, MeterType, Resource, Row, rows};
use nephometer_guest_http::{base64_for_urls, escaped};
use posting::{Post, SampleText};

/// Whether a path is exactly `/metrics/job/JOB`. Then each resource gets a group of its own in the
/// push gateway, because a push for one would otherwise replace the series of another.
pub fn is_plain_job(path: &str) -> bool {
    let job = path.strip_prefix("/metrics/job/");
    job.is_some_and(|job| !job.is_empty() && !job.contains('/'))
}

/// The requests for an envelope: one for all samples, or one per resource.
///
/// Of several samples of one series only the last is sent: a push gateway keeps no more, and
/// refuses a push with duplicates.
///
/// # Errors
/// If a text is not a sample.
pub fn posts(
    batch: &DeliveryBatch,
    texts: &[String],
    by_resource: bool,
) -> Result<Vec<Post>, Failure> {
    let mut groups: Vec<(&str, Vec<(Row<'_>, &str)>)> = Vec::new();
    let mut known: FxHashMap<&str, usize> = FxHashMap::default();
    for (row, text) in rows(batch).zip(texts) {
        let id = if by_resource { row.resource().id.as_str() } else { "" };
        let at = *known.entry(id).or_insert_with(|| {
            groups.push((id, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push((row, text));
    }
    let group = |(id, samples): &(&str, Vec<(Row<'_>, &str)>)| {
        let below = if by_resource { group_of(id) } else { String::new() };
        Ok(Post { below, body: exposition(samples)?.into_bytes() })
    };
    groups.iter().map(group).collect()
}

/// The path of a resource's group. A push gateway decodes escapes before it splits the path, and
/// cleans the path of dots: values that it would not find again are sent in base64, which it reads
/// since 0.9. An empty one is written as padding.
fn group_of(id: &str) -> String {
    match id {
        "" => "/resource_id@base64/=".to_owned(),
        id if id.contains('/') || matches!(id, "." | "..") => {
            format!("/resource_id@base64/{}", base64_for_urls(id.as_bytes()))
        }
        id => format!("/resource_id/{}", escaped(id)),
    }
}

/// The lines of one push. The lines of one metric are adjacent, as the format requires.
fn exposition(samples: &[(Row<'_>, &str)]) -> Result<String, Failure> {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut known: FxHashMap<String, usize> = FxHashMap::default();
    for (row, text) in samples {
        let name = metric_name(&row.meter().name);
        let at = *known.entry(name).or_insert_with_key(|name| {
            metrics.push(Metric::new(name, row.meter().type_));
            metrics.len() - 1
        });
        let value = SampleText::volume(text)?;
        metrics[at].set(labels(row.resource()), value.get().to_owned());
    }
    let mut text = String::new();
    for metric in &metrics {
        if let Some(kind) = metric.kind {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
        }
        for (labels, value) in &metric.series {
            let _ = writeln!(text, "{}{labels} {value}", metric.name);
        }
    }
    Ok(text)
}

struct Metric {
    name: String,
    kind: Option<&'static str>,
    series: Vec<(String, String)>,
    known: FxHashMap<String, usize>,
}

impl Metric {
    fn new(name: &str, type_: MeterType) -> Self {
        let kind = match type_ {
            MeterType::Cumulative => Some("counter"),
            MeterType::Gauge => Some("gauge"),
            // Prometheus has no type for changes.
            MeterType::Delta => None,
        };
        Self { name: name.to_owned(), kind, series: Vec::new(), known: FxHashMap::default() }
    }

    fn set(&mut self, labels: String, value: String) {
        match self.known.get(&labels) {
            Some(&at) => self.series[at].1 = value,
            None => {
                self.known.insert(labels.clone(), self.series.len());
                self.series.push((labels, value));
            }
        }
    }
}

/// Replaces `.` and `-` by `_`, as Ceilometer does, and all other characters that are not allowed.
fn metric_name(meter: &str) -> String {
    let fits = |one: char| one.is_ascii_alphanumeric() || one == ':';
    let mut name: String = meter.chars().map(|one| if fits(one) { one } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|one: char| one.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// The labels of a resource. Unknown values have no label; an empty one means the same to
/// Prometheus.
fn labels(resource: &Resource) -> String {
    let all = [
        ("resource_id", Some(&resource.id)),
        ("user_id", resource.user_id.as_ref()),
        ("project_id", resource.project_id.as_ref()),
    ];
    let all: Vec<String> = all
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}=\"{}\"", label_value(value?))))
        .collect();
    format!("{{{}}}", all.join(", "))
}

fn label_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::Meter;

    fn batch(samples: &[(&str, &str, MeterType, f64)]) -> (DeliveryBatch, Vec<String>) {
        let count = samples.len();
        let numbers: Vec<u32> = (0u32..).take(count).collect();
        let meters = samples.iter().map(|(_, name, type_, _)| Meter {
            name: (*name).to_owned(),
            unit: String::new(),
            type_: *type_,
        });
        let resources = samples.iter().map(|(id, ..)| Resource {
            id: (*id).to_owned(),
            source: "openstack".to_owned(),
            project_id: None,
            user_id: Some("u".to_owned()),
            metadata: "{}".to_owned(),
        });
        let texts = samples.iter().map(|(.., volume)| format!("{{\"volume\": {volume}}}"));
        let batch = DeliveryBatch {
            meters: meters.collect(),
            resources: resources.collect(),
            meter: numbers.clone(),
            resource: numbers,
            time: vec![1; count],
            monotonic: vec![0; count],
            volume: samples.iter().map(|(.., volume)| *volume).collect(),
            exact: vec![],
            removed: vec![],
        };
        (batch, texts.collect())
    }

    // Verified with Ceilometer itself, except that each series has one value.
    #[test]
    fn a_plain_job_is_grouped_by_resource() {
        let (batch, texts) = batch(&[
            ("r1", "cpu", MeterType::Cumulative, 123_456_789.0),
            ("r1-vda", "disk.device.read-x", MeterType::Gauge, 1.5),
            ("r/1", "cpu", MeterType::Delta, 3.0),
            ("r1", "cpu", MeterType::Cumulative, 5.0),
        ]);
        let posts = posts(&batch, &texts, true).unwrap();
        let wanted = [
            ("/resource_id/r1", "# TYPE cpu counter\ncpu{resource_id=\"r1\", user_id=\"u\"} 5\n"),
            (
                "/resource_id/r1-vda",
                "# TYPE disk_device_read_x gauge\ndisk_device_read_x{resource_id=\"r1-vda\", \
                 user_id=\"u\"} 1.5\n",
            ),
            ("/resource_id@base64/ci8x", "cpu{resource_id=\"r/1\", user_id=\"u\"} 3\n"),
        ];
        let posts: Vec<_> = posts.iter().map(|post| (post.below.as_str(), post.text())).collect();
        assert_eq!(posts, wanted);
    }

    #[test]
    fn ids_that_would_change_the_path_are_in_base64() {
        for (id, wanted) in [
            ("r1", "/resource_id/r1"),
            ("a b:c", "/resource_id/a%20b%3Ac"),
            ("5d01-dev/net0?", "/resource_id@base64/NWQwMS1kZXYvbmV0MD8"),
            ("..", "/resource_id@base64/Li4"),
            ("", "/resource_id@base64/="),
        ] {
            assert_eq!(group_of(id), wanted);
        }
    }

    #[test]
    fn a_longer_path_is_one_push_with_adjacent_metrics() {
        let (batch, texts) = batch(&[
            ("a", "cpu", MeterType::Cumulative, 1.0),
            ("a", "vcpus", MeterType::Gauge, 2.0),
            ("b", "cpu", MeterType::Cumulative, 3.0),
        ]);
        let posts = posts(&batch, &texts, false).unwrap();
        let wanted = "# TYPE cpu counter\ncpu{resource_id=\"a\", user_id=\"u\"} 1\n\
                      cpu{resource_id=\"b\", user_id=\"u\"} 3\n# TYPE vcpus gauge\n\
                      vcpus{resource_id=\"a\", user_id=\"u\"} 2\n";
        assert_eq!((posts.len(), posts[0].text()), (1, wanted));
        assert_eq!(posts[0].below, "");
    }

    #[test]
    fn only_paths_with_nothing_but_a_job_are_plain() {
        assert!(is_plain_job("/metrics/job/openstack"));
        for other in ["/metrics/job/", "/metrics/job/x/instance/y", "/metrics", "/a/metrics/job/x"]
        {
            assert!(!is_plain_job(other), "{other}");
        }
    }

    #[test]
    fn names_and_values_cannot_break_a_line() {
        assert_eq!(metric_name("disk.device.read-x"), "disk_device_read_x");
        assert_eq!(metric_name("9ü{b c}"), "_9__b_c_");
        assert_eq!(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
