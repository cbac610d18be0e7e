use uuid::Uuid;

/// Something that happened to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainEvent {
    /// Whose.
    pub uuid: Uuid,
    /// What.
    pub what: LifecycleEvent,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// It runs, from now on.
    Started,
    /// It does not run any more.
    Stopped(StopReason),
    /// It has other devices, or another description.
    Changed,
    /// Anything else in its life, such as that it was defined.
    Other,
}

/// Why a domain does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It was shut down from within.
    Shutdown,
    /// It was ended from outside.
    Destroyed,
    /// Its QEMU is gone.
    Crashed,
    /// It runs on another host.
    Migrated,
    /// It lies on disk.
    Saved,
    /// It could not be started.
    Failed,
    /// Something that did not exist when this was written.
    Other,
}

impl StopReason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Destroyed => "destroyed",
            Self::Crashed => "crashed",
            Self::Migrated => "migrated",
            Self::Saved => "saved",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }
}
