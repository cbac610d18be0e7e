//! Ceilometer releases that the agent can be compatible with, and their quirks.

use std::fmt;
use std::str::FromStr;

/// The Ceilometer release whose names, units, meters and message keys are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Release {
    /// Ceilometer 5, of October 2015.
    Liberty,
    /// Ceilometer 19, of October 2022.
    Zed,
    /// Ceilometer 27.
    #[default]
    Current,
}

impl Release {
    /// All releases, oldest first.
    pub const ALL: [Self; 3] = [Self::Liberty, Self::Zed, Self::Current];

    /// The value in `nephometer.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liberty => "liberty",
            Self::Zed => "zed",
            Self::Current => "current",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Release {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|release| release.as_str() == text).ok_or(())
    }
}

/// Bugs of a release, corrected unless a quirk enables them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// `outgoing-packets-delta` (zed): the delta of bytes sent is named
    /// `network.outgoing.packets.delta`.
    pub outgoing_packets_delta: bool,
    /// `stopped-cpu` (liberty): an instance that is shut off has a `cpu` of 0.
    pub stopped_cpu: bool,
    /// `unused-zero` (liberty): a guest that uses all of its memory has no `memory.usage`.
    pub unused_zero: bool,
}

impl Quirks {
    /// Their names in `nephometer.yaml`, each with its release.
    pub const NAMES: [(&'static str, Release); 3] = [
        ("outgoing-packets-delta", Release::Zed),
        ("stopped-cpu", Release::Liberty),
        ("unused-zero", Release::Liberty),
    ];

    /// Enables a quirk by name. Returns false for an unknown name.
    pub fn enable(&mut self, name: &str) -> bool {
        match name {
            "outgoing-packets-delta" => self.outgoing_packets_delta = true,
            "stopped-cpu" => self.stopped_cpu = true,
            "unused-zero" => self.unused_zero = true,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_has_a_name() {
        let mut quirks = Quirks::default();
        for (name, _) in Quirks::NAMES {
            let before = quirks;
            assert!(quirks.enable(name));
            assert_ne!(before, quirks, "{name}");
        }
        assert!(!quirks.enable("any"));
    }
}
