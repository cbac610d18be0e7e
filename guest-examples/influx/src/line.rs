//! Samples as line protocol: `measurement,tag=value field=value time`, one line per sample.

use std::fmt::Write as _;

use nephometer_guest::{DeliveryBatch, Meter, Resource, Row, metadata_text, rows, type_word};
use serde_json::Value;

/// The name of measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measurement {
    /// The name of the meter.
    OfMeter,
    /// One name for all samples; the meter becomes a tag.
    Fixed(String),
}

/// Converts samples to lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The name of measurements.
    pub measurement: Measurement,
    /// Further tags: the name of each, and its path into the metadata.
    pub tags: Vec<(String, String)>,
}

impl Lines {
    /// The tags of every line, if the sample has the value.
    pub const OWN_TAGS: [&'static str; 7] =
        ["meter", "project_id", "resource_id", "source", "type", "unit", "user_id"];

    /// Converts a batch. Also returns how many rows were dropped because line protocol has no
    /// notation for values that are not finite.
    pub fn write(&self, batch: &DeliveryBatch) -> (String, usize) {
        let meters: Vec<MeterParts> =
            batch.meters.iter().map(|meter| self.meter_parts(meter)).collect();
        let resources: Vec<String> =
            batch.resources.iter().map(|resource| self.resource_tags(resource)).collect();
        let mut text = String::new();
        let mut dropped = 0;
        for row in rows(batch) {
            if !row.volume.is_finite() {
                dropped += 1;
                continue;
            }
            let parts = &meters[row.meter_number as usize];
            text.push_str(&parts.measurement);
            text.push_str(&resources[row.resource_number as usize]);
            text.push_str(&parts.tags);
            finish(&mut text, &row);
        }
        (text, dropped)
    }

    fn meter_parts(&self, meter: &Meter) -> MeterParts {
        let mut tags = String::new();
        let measurement = match &self.measurement {
            Measurement::OfMeter => &meter.name,
            Measurement::Fixed(name) => {
                tag(&mut tags, "meter", &meter.name);
                name
            }
        };
        tag(&mut tags, "type", type_word(meter.type_));
        tag(&mut tags, "unit", &meter.unit);
        // A line that begins with # is a comment, and one without a measurement is malformed.
        let name = match measurement.strip_prefix('#') {
            Some(rest) => format!("_{rest}"),
            None if measurement.is_empty() => "_".to_owned(),
            None => measurement.clone(),
        };
        MeterParts { measurement: escaped(&name, &[',', ' ']), tags }
    }

    fn resource_tags(&self, resource: &Resource) -> String {
        let mut tags = String::new();
        tag(&mut tags, "resource_id", &resource.id);
        tag(&mut tags, "source", &resource.source);
        tag(&mut tags, "project_id", resource.project_id.as_deref().unwrap_or_default());
        tag(&mut tags, "user_id", resource.user_id.as_deref().unwrap_or_default());
        if self.tags.is_empty() {
            return tags;
        }
        let metadata = serde_json::from_str(&resource.metadata).unwrap_or(Value::Null);
        for (name, path) in &self.tags {
            if let Some(value) = metadata_text(&metadata, path) {
                tag(&mut tags, name, &value);
            }
        }
        tags
    }
}

/// The parts of a line that depend on the meter, escaped.
struct MeterParts {
    measurement: String,
    tags: String,
}

/// Adds the field and the time. Integers are written as floats, `5.0` and never `5i`, because
/// InfluxDB refuses a field that changes its type.
fn finish(text: &mut String, row: &Row<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, " value={:?} {}", row.volume, row.time);
}

/// Adds a tag, unless its value is empty, which InfluxDB does not allow.
fn tag(text: &mut String, name: &str, value: &str) {
    const SPECIAL: [char; 3] = [',', '=', ' '];
    let value = escaped(value, &SPECIAL);
    if value.is_empty() {
        return;
    }
    text.push(',');
    text.push_str(&escaped(name, &SPECIAL));
    text.push('=');
    text.push_str(&value);
}

/// Escapes a name or the value of a tag: special characters get a backslash, quotes do not. Control
/// characters such as line breaks cannot be escaped and become spaces. A backslash cannot be
/// escaped either; one that would escape the next character, or is the last one, becomes a slash.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut letters = text.chars().map(|one| if one.is_control() { ' ' } else { one }).peekable();
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            let harmless = letters.peek().is_some_and(|next| {
                *next != '\\' && *next != '"' && *next != '=' && !special.contains(next)
            });
            escaped.push(if harmless { '\\' } else { '/' });
            continue;
        }
        if special.contains(&letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::MeterType;

    fn batch(id: &str, unit: &str, volumes: &[f64]) -> DeliveryBatch {
        let rows = volumes.len();
        DeliveryBatch {
            meters: vec![Meter {
                name: "disk.read".into(),
                unit: unit.into(),
                type_: MeterType::Gauge,
            }],
            resources: vec![Resource {
                id: id.into(),
                source: "openstack".into(),
                project_id: Some("p 1".into()),
                user_id: None,
                metadata: r#"{"flavor":{"name":"m1,tiny","vcpus":2},"a.b":"dot","gone":null}"#
                    .into(),
            }],
            meter: vec![0; rows],
            resource: vec![0; rows],
            time: vec![1_448_000_000_123_456_789; rows],
            monotonic: vec![0; rows],
            volume: volumes.to_vec(),
            exact: vec![],
            removed: vec![],
        }
    }

    #[test]
    fn a_sample_is_a_line_with_a_float() {
        let lines = Lines { measurement: Measurement::OfMeter, tags: vec![] };
        let (text, dropped) = lines.write(&batch("r", "B", &[5.0, -0.25, f64::NAN, 1e300]));
        let tags = "disk.read,resource_id=r,source=openstack,project_id=p\\ 1,type=gauge,unit=B";
        let time = "1448000000123456789";
        let wanted = format!(
            "{tags} value=5.0 {time}\n{tags} value=-0.25 {time}\n{tags} value=1e300 {time}\n"
        );
        assert_eq!((text, dropped), (wanted, 1));
    }

    #[test]
    fn meters_and_metadata_become_tags_of_a_fixed_measurement() {
        let tag = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        let lines = Lines {
            measurement: Measurement::Fixed("my metering".to_owned()),
            tags: vec![
                tag("flavor", "flavor.name"),
                tag("vcpus", "flavor.vcpus"),
                tag("dotted", "a.b"),
                tag("none", "gone"),
                tag("object", "flavor"),
            ],
        };
        let (text, _) = lines.write(&batch("r", "", &[1.0]));
        assert_eq!(
            text,
            "my\\ metering,resource_id=r,source=openstack,project_id=p\\ 1,flavor=m1\\,tiny,vcpus=2,\
             dotted=dot,meter=disk.read,type=gauge value=1.0 1448000000123456789\n"
        );
    }

    #[test]
    fn names_cannot_break_a_line() {
        let all = [
            ("a,b=c d", "a\\,b\\=c\\ d"),
            ("two\nlines\r", "two\\ lines\\ "),
            ("a \"quote\"", "a\\ \"quote\""),
            ("C:\\dir", "C:\\dir"),
            ("ends\\", "ends/"),
            ("a\\ b", "a/\\ b"),
            ("a\\\\b", "a/\\b"),
            ("ünïcode", "ünïcode"),
        ];
        for (plain, wanted) in all {
            assert_eq!(escaped(plain, &[',', '=', ' ']), wanted, "{plain:?}");
        }
        assert_eq!(escaped("a=b,c", &[',', ' ']), "a=b\\,c");
        let lines = Lines { measurement: Measurement::Fixed("#x".to_owned()), tags: vec![] };
        let (text, _) = lines.write(&batch("", "\n", &[1.0]));
        assert!(text.starts_with("_x,source="), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
