//! Joins publishers with the client of Keystone.

use async_trait::async_trait;

use nephometer_config::{CloudSpec, Grant};
use nephometer_pipeline::publish::ServiceCatalog;

/// The catalog of the Keystone that the credentials name.
pub(super) struct KeystoneCatalog;

#[async_trait]
impl ServiceCatalog for KeystoneCatalog {
    async fn endpoint(&self, cloud: &CloudSpec, kind: &'static str) -> Result<Grant, String> {
        nephometer_openstack::endpoint(cloud, kind).await
    }
}
