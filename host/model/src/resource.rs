use std::sync::Arc;

use serde_json::{Map, Value};

/// The thing metered, with its owner: one revision of it. Another owner or other metadata make
/// another `Resource` with the same id.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// `resource_id` on the wire: a uuid, `UUID-vda`, or the forms of network interfaces.
    pub id: Arc<str>,
    /// `source` on the wire: the naming authority, `openstack` unless configured otherwise.
    pub source: Arc<str>,
    /// The project that pays, where one is known.
    pub project_id: Option<Arc<str>>,
    /// The user who created it, where one is known.
    pub user_id: Option<Arc<str>>,
    /// `resource_metadata` on the wire, in the order in which it is written.
    pub metadata: Map<String, Value>,
}
