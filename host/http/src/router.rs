//! Routes: methods and paths, with a handler each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::access::{Access, Audience, Caller};
use super::body::Reply;
use nephometer_model::Bound;

/// A request whose caller may ask.
#[derive(Debug)]
pub struct Request {
    /// Who sent it.
    pub caller: Caller,
    /// The method; `GET` for `HEAD` as well.
    pub method: Method,
    /// The values of `{NAME}` in the path of the route, decoded.
    pub parameters: HashMap<&'static str, String>,
    /// The query as sent, without `?`; may be empty.
    pub query: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
}

impl Request {
    /// A header field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

type Handler = dyn Fn(Request) -> BoxFuture<'static, Reply> + Send + Sync;

/// The routes of a listener.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    audience: Audience,
    handler: Arc<Handler>,
}

impl Router {
    /// Adds a route: a path such as `/metrics` or `/v2/meters/{name}`. The handler runs on the
    /// agent's runtime and must not block.
    #[must_use]
    pub fn route<F>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        self.routes.push(Route { method, path, audience: Audience::Admitted, handler });
        self
    }

    /// Makes the route that was added last private: only known callers are served.
    #[must_use]
    pub fn private(self) -> Self {
        self.for_audience(Audience::Known)
    }

    /// Makes the route that was added last open: everybody is served who can connect, also where the
    /// listener requires tokens. For files that say nothing about this agent.
    #[must_use]
    pub fn open(self) -> Self {
        self.for_audience(Audience::Everybody)
    }

    fn for_audience(mut self, audience: Audience) -> Self {
        if let Some(last) = self.routes.last_mut() {
            last.audience = audience;
        }
        self
    }

    /// The reply to a request.
    pub(super) async fn answer(
        &self,
        access: &Access,
        request: hyper::Request<Incoming>,
        connected: Caller,
    ) -> Reply {
        let (head, body) = request.into_parts();
        let caller = match access.identify(connected, head.version, &head.headers) {
            Ok(caller) => caller,
            Err(refusal) => return *refusal,
        };
        let is_head = head.method == Method::HEAD;
        let method = if is_head { Method::GET } else { head.method };
        let (route, parameters) = match self.find(&method, head.uri.path()) {
            Ok(found) => found,
            Err(refusal) => {
                // Without a caller, do not reveal which paths exist.
                let admitted = access.admit(caller, Audience::Admitted);
                return admitted.map_or_else(|refused| *refused, |()| refusal);
            }
        };
        if let Err(refusal) = access.admit(caller, route.audience) {
            return *refusal;
        }
        let body = match whole(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let query = head.uri.query().unwrap_or_default().to_owned();
        let request = Request { caller, method, parameters, query, headers: head.headers, body };
        (route.handler)(request).await
    }

    fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<(&Route, HashMap<&'static str, String>), Reply> {
        let mut allowed: Vec<&str> = Vec::new();
        for route in &self.routes {
            let Some(parameters) = matched(route.path, path) else { continue };
            if route.method == *method {
                return Ok((route, parameters));
            }
            allowed.push(route.method.as_str());
        }
        if allowed.is_empty() {
            return Err(Reply::error(StatusCode::NOT_FOUND, "no such page"));
        }
        let refusal = Reply::error(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        Err(refusal.header("allow", &allowed.join(", ")))
    }
}

/// The values of the parameters if the path has the form of the route.
fn matched(route: &'static str, path: &str) -> Option<HashMap<&'static str, String>> {
    let mut parameters = HashMap::new();
    let mut given = path.split('/');
    for expected in route.split('/') {
        let given = given.next()?;
        let name = expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(_) if given.is_empty() => return None,
            Some(name) => {
                let value = percent_decode_str(given).decode_utf8().ok()?;
                parameters.insert(name, value.into_owned());
            }
            None if expected == given => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(parameters)
}

/// Reads a body within its bounds.
async fn whole(body: Incoming) -> Result<Bytes, Reply> {
    let limit = Duration::from_millis(Bound::HttpBodyTime.most());
    let collected = Limited::new(body, Bound::HttpRequestBytes.size()).collect();
    match tokio::time::timeout(limit, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let reason = Bound::HttpRequestBytes.refusal();
            Err(Reply::error(StatusCode::PAYLOAD_TOO_LARGE, &reason))
        }
        Ok(Err(_)) => Err(Reply::error(StatusCode::BAD_REQUEST, "the body cannot be read")),
        Err(_) => {
            let reason = Bound::HttpBodyTime.refusal();
            Err(Reply::error(StatusCode::REQUEST_TIMEOUT, &reason))
        }
    }
}
