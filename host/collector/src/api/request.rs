//! A request to the API, without its transport.

/// A request without its transport.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Decoded, without the query.
    pub(crate) path: String,
    pub(crate) parameters: Vec<(String, String)>,
    /// `X-Auth-Token`
    pub(crate) token: Option<String>,
    /// `Host`, for links.
    pub(crate) host: Option<String>,
    /// `Content-Type`
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}
