use uuid::Uuid;

/// A lifecycle event of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainEvent {
    /// The domain's uuid.
    pub uuid: Uuid,
    /// The event.
    pub what: LifecycleEvent,
}

/// The kinds of lifecycle events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// The domain is running from now on.
    Started,
    /// The domain stopped running.
    Stopped(StopReason),
    /// Its devices or its definition changed.
    Changed,
    /// Any other event, such as a new definition.
    Other,
}

/// Why a domain stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The guest shut down.
    Shutdown,
    /// It was destroyed from outside.
    Destroyed,
    /// Its QEMU process died.
    Crashed,
    /// It was migrated to another host.
    Migrated,
    /// It was saved to disk.
    Saved,
    /// It could not be started.
    Failed,
    /// A reason that this version does not know.
    Other,
}

impl StopReason {
    /// The reason as text.
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

#[cfg(test)]
mod tests {
    use super::StopReason::{Crashed, Destroyed, Failed, Migrated, Other, Saved, Shutdown};

    /// Consumers read them in `resource_metadata.boundary`.
    #[test]
    fn stop_reasons_are_fixed_words() {
        let all = [Shutdown, Destroyed, Crashed, Migrated, Saved, Failed, Other];
        let words = ["shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "other"];
        assert_eq!(all.map(super::StopReason::as_str), words);
    }
}
