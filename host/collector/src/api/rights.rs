//! What a client may do.

use crate::store::WantedOwner;

/// What a client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    /// The only project whose samples it sees; `None` for all.
    pub(super) project: Option<String>,
    /// The project in whose name it posts samples.
    pub(super) own: Option<String>,
    /// Whether it may post samples.
    pub(super) writes: bool,
}

impl Rights {
    /// Those of an administrator without a project.
    pub(super) fn all() -> Self {
        Self { project: None, own: None, writes: true }
    }

    /// Whose samples it sees; `None` for all.
    pub(super) fn wanted(&self) -> Option<WantedOwner> {
        self.project.clone().map(WantedOwner::Id)
    }

    /// Those of roles in a project; `None` if they are none.
    pub(super) fn of(own: Option<String>, roles: &[String]) -> Option<Self> {
        let has = |role: &str| roles.iter().any(|known| known == role);
        let all = has("admin") || has("auditor");
        // Without a project there would be nothing that limits what it sees.
        if roles.is_empty() || (!all && own.is_none()) {
            return None;
        }
        let project = if all { None } else { own.clone() };
        Some(Self { project, own, writes: !has("auditor") })
    }
}
