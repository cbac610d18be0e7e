//! A simple model of two transformers, which shares no code with them.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Value, json};

/// An input sample.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) resource: &'static str,
    /// An integer or a float.
    pub(crate) volume: Value,
    /// Seconds since the epoch.
    pub(crate) seconds: i64,
    /// Seconds of the monotonic clock.
    pub(crate) monotonic: Option<i64>,
    /// `cpu_number` in the metadata.
    pub(crate) cpus: Option<u64>,
}

/// An output sample.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) kind: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) volume: f64,
    pub(crate) timestamp: String,
    /// The id of the input sample.
    pub(crate) origin: String,
    /// Whether the sample passed unchanged.
    pub(crate) same: bool,
    /// Whether it has a monotonic time.
    pub(crate) keeps_clock: bool,
}

impl Input {
    fn volume(&self) -> f64 {
        self.volume.as_f64().unwrap()
    }

    fn timestamp(&self) -> String {
        let time = jiff::Timestamp::from_second(self.seconds).unwrap();
        time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    }

    /// An id that depends on the content.
    fn id(&self) -> String {
        let name = format!("{}{}{}{:?}", self.name, self.resource, self.seconds, self.monotonic);
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{name}{}", self.volume).as_bytes())
            .to_string()
    }

    /// The format of `once --format ndjson`.
    pub(crate) fn sample(&self) -> Value {
        let metadata = self.cpus.map_or(json!({}), |cpus| json!({ "cpu_number": cpus }));
        json!({
            "name": self.name, "type": self.kind, "unit": self.unit, "volume": self.volume,
            "user_id": "u", "user_name": null, "project_id": "p", "project_name": null,
            "resource_id": self.resource, "timestamp": self.timestamp(),
            "resource_metadata": metadata, "source": "openstack", "id": self.id(),
            "monotonic_time": self.monotonic.map(|seconds| json!(f64::from(i32::try_from(seconds).unwrap()))),
        })
    }

    /// The output without options.
    fn made(&self, volume: f64) -> Made {
        Made {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            kind: self.kind,
            resource: self.resource,
            volume,
            timestamp: self.timestamp(),
            origin: self.id(),
            same: false,
            keeps_clock: false,
        }
    }
}

impl Made {
    /// An unchanged row keeps its id and its monotonic time.
    fn classified(mut self, input: &Input) -> Self {
        let meter = (self.name.as_str(), self.unit.as_str(), self.kind);
        self.same = meter == (input.name, input.unit, input.kind)
            && self.volume.to_bits() == input.volume().to_bits();
        self.keeps_clock = self.same && input.monotonic.is_some();
        self
    }
}

/// The model of `rate_of_change`.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    pub(crate) scale: Option<Value>,
    pub(crate) max: Option<f64>,
    pub(crate) rename: bool,
    pub(crate) gauge: bool,
}

impl Rate {
    pub(crate) fn options(&self) -> Value {
        let mut target = json!({});
        if let Some(scale) = &self.scale {
            target["scale"] = scale.clone();
        }
        if let Some(max) = self.max {
            target["max"] = json!(max);
        }
        if self.rename {
            target["name"] = json!("rate");
            target["unit"] = json!("x/s");
        }
        if self.gauge {
            target["type"] = json!("gauge");
        }
        json!({ "target": target })
    }

    pub(crate) fn apply(&self, batches: &[Vec<Input>]) -> Vec<Made> {
        let mut before: HashMap<String, Input> = HashMap::new();
        let mut made = Vec::new();
        for input in batches.iter().flatten() {
            let key = format!("{}{}", input.name, input.resource);
            let Some(previous) = before.insert(key.clone(), input.clone()) else { continue };
            let elapsed = match (input.monotonic, previous.monotonic) {
                (Some(now), Some(then)) => now - then,
                _ => input.seconds - previous.seconds,
            };
            if elapsed < 0 {
                before.insert(key, previous);
                continue;
            }
            let (now, then) = (input.volume(), previous.volume());
            let reset = now < then && input.kind == "cumulative";
            let change = if reset { now } else { now - then };
            let seconds = f64::from(i32::try_from(elapsed).unwrap());
            let rate = if elapsed == 0 { 0.0 } else { change / seconds };
            let mut sample = input.made(capped(self.scale_of(input) * rate, self.max));
            if self.rename {
                (sample.name, sample.unit) = ("rate".to_owned(), "x/s".to_owned());
            }
            if self.gauge {
                sample.kind = "gauge";
            }
            made.push(sample.classified(input));
        }
        made
    }

    fn scale_of(&self, input: &Input) -> f64 {
        match &self.scale {
            None => 1.0,
            Some(Value::String(text)) if text.starts_with("100.0") => {
                100.0 / (1e9 * cpus(input, 1.0))
            }
            Some(Value::String(_)) if input.volume() > 1000.0 => 2.0,
            Some(Value::String(_)) => 0.5,
            // Unexpected, but compatible: a plain number also multiplies by the volume.
            Some(number) => input.volume() * number.as_f64().unwrap(),
        }
    }
}

/// The model of `unit_conversion`.
#[derive(Debug, Clone)]
pub(crate) struct Conversion {
    pub(crate) scale: Option<Value>,
    pub(crate) max: Option<f64>,
    pub(crate) source_unit: Option<&'static str>,
    /// Whether names and units are mapped by patterns.
    pub(crate) map: bool,
}

const FROM: (&str, &str) = (r"disk\.(read|write)\.(bytes|requests)", "(B|request)");

impl Conversion {
    pub(crate) fn options(&self) -> Value {
        let mut source = json!({});
        let mut target = json!({ "name": "converted", "unit": "k" });
        if let Some(unit) = self.source_unit {
            source["unit"] = json!(unit);
        }
        if let Some(scale) = &self.scale {
            target["scale"] = scale.clone();
        }
        if let Some(max) = self.max {
            target["max"] = json!(max);
        }
        if self.map {
            source["map_from"] = json!({ "name": FROM.0, "unit": FROM.1 });
            target["map_to"] = json!({ "name": r"disk.\2.\1", "unit": r"k\1" });
        }
        json!({ "source": source, "target": target })
    }

    pub(crate) fn apply(&self, batches: &[Vec<Input>]) -> Vec<Made> {
        batches.iter().flatten().map(|input| self.convert(input)).collect()
    }

    fn convert(&self, input: &Input) -> Made {
        if self.source_unit.is_some_and(|unit| unit != input.unit) {
            return input.made(input.volume()).classified(input);
        }
        let mut made = input.made(capped(self.scaled(input), self.max));
        if self.map {
            let replace = |pattern: &str, by: &str, text: &str| {
                Regex::new(pattern).unwrap().replace_all(text, by).into_owned()
            };
            made.name = replace(FROM.0, "disk.$2.$1", input.name);
            made.unit = replace(FROM.1, "k$1", input.unit);
        } else {
            (made.name, made.unit) = ("converted".to_owned(), "k".to_owned());
        }
        made.classified(input)
    }

    fn scaled(&self, input: &Input) -> f64 {
        let volume = input.volume();
        match &self.scale {
            Some(Value::String(text)) if text.starts_with("(volume") => volume * 1.8 + 32.0,
            Some(Value::String(_)) => (volume / 1024.0).floor() - cpus(input, 0.0),
            Some(number) if number.as_f64() != Some(0.0) => volume * number.as_f64().unwrap(),
            _ => volume,
        }
    }
}

fn cpus(input: &Input, otherwise: f64) -> f64 {
    input.cpus.map_or(otherwise, |cpus| f64::from(u32::try_from(cpus).unwrap()))
}

fn capped(volume: f64, max: Option<f64>) -> f64 {
    max.map_or(volume, |max| volume.min(max))
}
