//! Metered resources.

use std::sync::Arc;

use serde_json::{Map, Value};

/// One revision of a metered resource with its owner. A change of owner or metadata makes a new
/// `Resource` with the same id.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// `resource_id` on the wire: a uuid, `UUID-vda`, or the forms of network interfaces.
    pub id: Arc<str>,
    /// `source` on the wire: the naming authority, `openstack` unless configured otherwise.
    pub source: Arc<str>,
    /// The owning project, if known.
    pub project_id: Option<Arc<str>>,
    /// The user who created it, if known.
    pub user_id: Option<Arc<str>>,
    /// The name of the project, if known.
    pub project_name: Option<Arc<str>>,
    /// The name of the user, if known.
    pub user_name: Option<Arc<str>>,
    /// `resource_metadata` on the wire, in the order in which it is written.
    pub metadata: Map<String, Value>,
}
