//! One look into Keystone's catalog, for publishers.

use crate::error::CloudError;
use crate::http::HttpClient;
use crate::keystone::Keystone;
use nephometer_config::{CloudSpec, Grant};
use nephometer_telemetry::Chain;

/// The host and port of the service of this type. Requests a token for it, which is not kept.
///
/// # Errors
/// Keystone cannot be asked, or lists no such service for the interface and region.
pub async fn endpoint(spec: &CloudSpec, kind: &'static str) -> Result<Grant, String> {
    let found = look_up(spec, kind).await;
    found.map_err(|error| Chain(&error).to_string())
}

async fn look_up(spec: &CloudSpec, kind: &'static str) -> Result<Grant, CloudError> {
    let http = HttpClient::new(spec)?;
    let mut keystone = Keystone::new(spec.clone())?;
    keystone.session(&http).await?;
    let url = keystone.endpoint(kind)?;
    Grant::of_url(url.as_str()).ok_or_else(|| CloudError::Url(url.into()))
}
