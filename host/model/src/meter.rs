use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How the values of a meter relate over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeterType {
    /// An independent value.
    Gauge,
    /// The change since the previous sample.
    Delta,
    /// A counter that only increases until it is reset.
    Cumulative,
}

impl MeterType {
    /// The name in messages and `pipeline.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
        }
    }
}

impl fmt::Display for MeterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MeterType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gauge" => Ok(Self::Gauge),
            "delta" => Ok(Self::Delta),
            "cumulative" => Ok(Self::Cumulative),
            other => Err(format!("{other:?} is not a meter type; use gauge, delta or cumulative")),
        }
    }
}

/// What is measured, and in which unit. Two meters are equal if all three fields are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Meter {
    /// Such as `disk.device.read.bytes`.
    pub name: Arc<str>,
    /// Such as `B`; empty for numbers without one.
    pub unit: Arc<str>,
    /// How the values relate over time.
    pub kind: MeterType,
}

impl Meter {
    /// Creates a meter.
    pub fn new(name: impl Into<Arc<str>>, kind: MeterType, unit: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), unit: unit.into(), kind }
    }
}
