//! Where the services of the cloud are. Publishers must not know how that is looked up.

use async_trait::async_trait;

use nephometer_config::{CloudSpec, Grant};

/// The catalog of Keystone.
#[async_trait]
pub trait ServiceCatalog: Send + Sync {
    /// The host and port of the service of this type, such as `metric`.
    ///
    /// # Errors
    /// Keystone cannot be asked, or lists no such service.
    async fn endpoint(&self, cloud: &CloudSpec, kind: &'static str) -> Result<Grant, String>;
}
