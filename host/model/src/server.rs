//! Servers as OpenStack's Nova knows them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One server of Nova's API.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `id`: also that of the domain.
    pub uuid: Uuid,
    /// `name`, chosen by the owner.
    pub name: String,
    /// `user_id`
    pub user_id: String,
    /// `tenant_id`
    pub project_id: String,
    /// `hostId`: a digest of project and host.
    pub host_id: String,
    /// `OS-EXT-SRV-ATTR:host`
    pub host: Value,
    /// `OS-EXT-SRV-ATTR:instance_name`
    pub instance_name: Value,
    /// `status`, such as `ACTIVE`.
    pub status: String,
    /// `OS-EXT-STS:vm_state`, such as `active`.
    pub vm_state: Value,
    /// `OS-EXT-STS:task_state`
    pub task_state: Value,
    /// `OS-EXT-AZ:availability_zone`
    pub availability_zone: Value,
    /// `metadata`: what the owner has attached.
    pub metadata: Map<String, Value>,
    /// `flavor`, with the name and sizes of the flavor if it was looked up.
    pub flavor: Map<String, Value>,
    /// `image`, with the name of the image if it was looked up; `None` when booted from a volume.
    pub image: Option<Map<String, Value>>,
    /// What is known of the image; empty if it was not looked up.
    pub image_meta: Map<String, Value>,
    /// `kernel_id` and `ramdisk_id` of the image.
    pub boot: [Value; 2],
    /// The name of the server group, if groups are listed.
    pub group: Option<String>,
}

/// Where servers are known. Never waits.
pub trait ServerSource: Send + Sync {
    /// What is known now.
    fn now(&self) -> Arc<ServerInventory>;

    /// Asks for news soon: there is a domain that is not listed.
    fn want(&self);
}

/// The servers of one host at one time.
#[derive(Debug, Clone, Default)]
pub struct ServerInventory {
    /// The servers, without deleted and failed ones.
    pub servers: HashMap<Uuid, Arc<Server>>,
    /// How often Nova was asked with success. 0: nothing is known.
    pub answers: u64,
    /// Whether the last attempt to ask failed.
    pub failing: bool,
}
