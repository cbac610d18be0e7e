//! Who may ask: the `Host` header, bearer tokens, and the identity of a caller.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, StatusCode, Version};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::body::Reply;

/// A bearer token. Only its digest is kept, so that it is never printed, and so that the time of a
/// comparison says nothing about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// The token with this text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Which names in the `Host` header are accepted. A page in a browser that resolves its own name to
/// this machine (DNS rebinding) sends that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCheck {
    /// Any name.
    Any,
    /// Addresses, `localhost`, and these names.
    Names(Vec<String>),
}

/// The access rules of a listener.
#[derive(Debug, Clone)]
pub struct Access {
    /// The accepted names of the server.
    pub hosts: HostCheck,
    /// Accepted tokens.
    pub tokens: Vec<Token>,
    /// Whether every route requires a known caller. Otherwise only private routes do.
    pub required: bool,
}

/// The access rules of a listener while it runs: they may be replaced between two requests. Copies
/// share them.
#[derive(Debug, Clone)]
pub struct AccessRules(watch::Sender<Arc<Access>>);

impl AccessRules {
    /// These rules, until others replace them.
    pub fn new(access: Access) -> Self {
        Self(watch::Sender::new(Arc::new(access)))
    }

    /// Requests from now on are decided by these rules. Replies that are under way, such as a stream,
    /// go on.
    pub fn replace(&self, access: Access) {
        self.0.send_replace(Arc::new(access));
    }

    /// The present rules.
    pub fn now(&self) -> Arc<Access> {
        Arc::clone(&self.0.borrow())
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Any client that can connect.
    Anonymous,
    /// This user or root, over a UNIX socket.
    Local,
    /// A client with a certificate that the listener's authority has signed.
    Certificate,
    /// A client with the token of this index.
    Token(usize),
}

/// Whom a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody, also where the listener requires a known caller.
    Everybody,
    /// Whom the listener admits.
    Admitted,
    /// Known callers.
    Known,
}

impl Access {
    /// Identifies the caller of a request, or refuses it. `connected` is what the connection proves.
    pub(super) fn identify(
        &self,
        connected: Caller,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Caller, Box<Reply>> {
        self.check_host(version, headers)?;
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(connected) };
        let text = value.to_str().unwrap_or_default();
        let given = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Token::new(token.trim())
            }
            _ => return Err(Box::new(unauthorized("send Authorization: Bearer TOKEN"))),
        };
        match self.tokens.iter().position(|known| *known == given) {
            Some(index) => Ok(Caller::Token(index)),
            None => Err(Box::new(unauthorized("unknown token"))),
        }
    }

    /// Refuses callers that a route does not serve.
    pub(super) fn admit(&self, caller: Caller, audience: Audience) -> Result<(), Box<Reply>> {
        let known = match caller {
            Caller::Anonymous => false,
            // Where tokens are required as well, a certificate opens the connection only.
            Caller::Certificate => !self.required,
            Caller::Local | Caller::Token(_) => true,
        };
        let admitted = match audience {
            Audience::Everybody => true,
            Audience::Admitted => known || !self.required,
            Audience::Known => known,
        };
        if admitted {
            return Ok(());
        }
        let remedy = "this needs a token (Authorization: Bearer TOKEN), a client certificate, or the \
                      UNIX socket";
        Err(Box::new(unauthorized(remedy)))
    }

    fn check_host(&self, version: Version, headers: &HeaderMap) -> Result<(), Box<Reply>> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            // No browser sends HTTP/1.0.
            (None, _) if version == Version::HTTP_10 => return Ok(()),
            _ => {
                return Err(Box::new(Reply::error(
                    StatusCode::BAD_REQUEST,
                    "send one Host header",
                )));
            }
        };
        let HostCheck::Names(names) = &self.hosts else { return Ok(()) };
        let name = host_name(host);
        let known = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if known {
            return Ok(());
        }
        let reason = "the Host header has a name that this listener is not configured for; use its \
                      address, or add the name to its `hosts`";
        Err(Box::new(Reply::error(StatusCode::MISDIRECTED_REQUEST, reason)))
    }
}

/// The name in a `Host` header, without the port.
fn host_name(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn unauthorized(reason: &str) -> Reply {
    Reply::error(StatusCode::UNAUTHORIZED, reason).header("www-authenticate", "Bearer")
}
