use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What a meter's numbers mean over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeterType {
    /// A value that stands for itself.
    Gauge,
    /// A change since the sample before.
    Delta,
    /// A counter that only grows, until it is reset.
    Cumulative,
}

impl MeterType {
    /// The word that messages and `pipeline.yaml` use.
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

/// What is measured, and in which unit. Two meters are the same if all three fields are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Meter {
    /// Such as `disk.device.read.bytes`.
    pub name: Arc<str>,
    /// Such as `B`; empty for numbers without one.
    pub unit: Arc<str>,
    /// What the numbers mean over time.
    pub kind: MeterType,
}

impl Meter {
    /// A meter of these three parts.
    pub fn new(name: impl Into<Arc<str>>, kind: MeterType, unit: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), unit: unit.into(), kind }
    }
}
