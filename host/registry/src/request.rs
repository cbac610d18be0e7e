//! One request and its answer, each on a connection of its own: an agent sends a few a day.
//! Redirects of downloads are followed within bounds, without credentials to another host.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::body;
use super::connect::{Connection, Connector, authority};
use super::error::RegistryError;
use nephometer_model::{Bound, Secret, clean};

/// Characters of a registry's own text in an error.
const DETAIL: usize = 200;

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<Secret>,
    /// The body and its type.
    pub(crate) content: Option<(Bytes, &'static str)>,
    /// The bound of the answer's body.
    pub(crate) most: Bound,
}

impl Call {
    pub(crate) fn get(url: Url, accept: &'static str, most: Bound) -> Self {
        Self { method: Method::GET, url, accept, authorization: None, content: None, most }
    }

    /// The request in messages, without its query: that may hold a token.
    pub(crate) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        format!("{} {url}", self.method)
    }
}

/// An answer with any status.
pub(crate) struct Answer {
    pub(crate) what: String,
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The answer if it is a success.
    pub(crate) fn success(self) -> Result<Self, RegistryError> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The error that this answer is.
    pub(crate) fn refusal(&self) -> RegistryError {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let first = &json["errors"][0];
        let text = first["message"].as_str().or_else(|| first["code"].as_str());
        let text: String = clean(text.unwrap_or_default()).chars().take(DETAIL).collect();
        let (what, status) = (self.what.clone(), self.status.as_u16());
        RegistryError::Status { what, status, detail: text }
    }
}

impl Connector {
    /// Sends a request and follows the redirects of a download.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, RegistryError> {
        let most = Duration::from_millis(Bound::RegistryTransfer.most());
        let what = call.shown();
        let sent = timeout(most, self.follow(call)).await;
        sent.unwrap_or(Err(RegistryError::Timeout { what, after: most }))
    }

    async fn follow(&self, mut call: Call) -> Result<Answer, RegistryError> {
        let is_download = call.method == Method::GET || call.method == Method::HEAD;
        for _ in 0..=Bound::RegistryRedirects.size() {
            let answer = self.exchange(&call).await?;
            if !is_download || !answer.status.is_redirection() {
                return Ok(answer);
            }
            redirect(&mut call, &answer)?;
        }
        let reason = Bound::RegistryRedirects.refusal();
        Err(RegistryError::Redirect { what: call.shown(), reason })
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, RegistryError> {
        let what = call.shown();
        let host = authority(&call.url);
        let failed = |source| RegistryError::Http { host: host.clone(), source };
        let Connection { stream, proxied } = self.connect(&call.url).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(Bound::RegistryHead.size());
        let (mut sender, connection) = builder.handshake(stream).await.map_err(failed)?;
        let message = message(call, proxied.as_ref(), &what)?;
        let mut connection = std::pin::pin!(connection);
        let answer = async {
            // An upload takes as long as it takes; the transfer as a whole is bounded.
            let bound = if call.content.is_some() {
                Bound::RegistryTransfer
            } else {
                Bound::RegistryHeadTime
            };
            let most = Duration::from_millis(bound.most());
            let Ok(sent) = timeout(most, sender.send_request(message)).await else {
                return Err(RegistryError::Timeout { what: what.clone(), after: most });
            };
            let (head, body) = sent.map_err(failed)?.into_parts();
            let is_redirect = head.status.is_redirection();
            let most = if head.status.is_success() { call.most } else { Bound::RegistryAnswer };
            // Nobody reads the text of a redirect.
            let body = if is_redirect { Vec::new() } else { body::read(body, most, &what).await? };
            let (status, headers) = (head.status, head.headers);
            Ok(Answer { what: what.clone(), url: call.url.clone(), status, headers, body })
        };
        let mut answer = std::pin::pin!(answer);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                // Errors of the connection are errors of the answer.
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

/// Points a request at where it is redirected to.
fn redirect(call: &mut Call, answer: &Answer) -> Result<(), RegistryError> {
    let what = call.shown();
    let refused =
        |reason: &str| RegistryError::Redirect { what: what.clone(), reason: reason.to_owned() };
    let location = answer.header(LOCATION.as_str()).ok_or_else(|| refused("it has no Location"))?;
    let to = call.url.join(location).map_err(|_| refused("its Location is no URL"))?;
    match (call.url.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => return Err(refused("it leads from TLS to none")),
    }
    if to.origin() != call.url.origin() {
        call.authorization = None;
    }
    call.url = to;
    Ok(())
}

fn message(
    call: &Call,
    proxied: Option<&Option<String>>,
    what: &str,
) -> Result<Request<Full<Bytes>>, RegistryError> {
    let unusable = |reason: String| RegistryError::Answer { what: what.to_owned(), reason };
    let target = match proxied {
        Some(_) => call.url.to_string(),
        None => match call.url.query() {
            Some(query) => format!("{}?{query}", call.url.path()),
            None => call.url.path().to_owned(),
        },
    };
    let host = match call.url.port() {
        Some(port) => format!("{}:{port}", call.url.host_str().unwrap_or_default()),
        None => call.url.host_str().unwrap_or_default().to_owned(),
    };
    let mut builder = Request::builder()
        .method(call.method.clone())
        .uri(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("nephometer/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, call.accept);
    let secret = |text: &str| {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| unusable("the token or password is no text for a header".to_owned()))?;
        value.set_sensitive(true);
        Ok::<_, RegistryError>(value)
    };
    if let Some(value) = &call.authorization {
        builder = builder.header(AUTHORIZATION, secret(value.reveal())?);
    }
    if let Some(Some(value)) = proxied {
        builder = builder.header(PROXY_AUTHORIZATION, secret(value)?);
    }
    let body = match &call.content {
        Some((bytes, kind)) => {
            builder = builder.header(CONTENT_TYPE, *kind);
            bytes.clone()
        }
        None => Bytes::new(),
    };
    builder.body(Full::new(body)).map_err(|error| unusable(error.to_string()))
}
