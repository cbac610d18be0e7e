//! The calls into a component.

use std::fmt;

/// What a component is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestCall {
    /// A new instance is made.
    Instantiate,
    /// It describes itself.
    Describe,
    /// It gets its options.
    Configure,
    /// It gets the state of an earlier instance.
    Restore,
    /// It gets new dictionary entries.
    Learn,
    /// It works on a batch.
    Transform,
    /// It emits what it held back.
    Flush,
    /// It hands out its state.
    Save,
    /// It delivers an envelope.
    Publish,
}

impl GuestCall {
    /// The name in messages and in the log.
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
