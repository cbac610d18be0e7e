//! The calls into a component.

use std::fmt;

/// A function of the contract that the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestCall {
    /// Creates an instance.
    Instantiate,
    /// Reads name, version and options schema.
    Describe,
    /// Passes the options.
    Configure,
    /// Passes the state of an earlier instance.
    Restore,
    /// Passes new dictionary entries.
    Learn,
    /// Transforms a batch.
    Transform,
    /// Ends a polling cycle and collects buffered samples.
    Flush,
    /// Reads the state.
    Save,
    /// Delivers an envelope.
    Publish,
}

impl GuestCall {
    /// The name in error messages and log fields.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Instantiate => "instantiate",
            Self::Describe => "describe",
            Self::Configure => "configure",
            Self::Restore => "restore",
            Self::Learn => "learn",
            Self::Transform => "transform",
            Self::Flush => "flush",
            Self::Save => "save",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for GuestCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
