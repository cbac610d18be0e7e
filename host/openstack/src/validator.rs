//! Asks Keystone about tokens of clients, with a token of its own.

use std::time::{Duration, Instant};

use hyper::Method;
use nephometer_config::CloudSpec;
use nephometer_model::{Bound, Timestamp};
use nephometer_telemetry::Chain;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;
use url::Url;

use crate::error::CloudError;
use crate::http::{CloudRequest, HttpClient};
use crate::keystone::Keystone;

/// After a failure to get a token of its own, Keystone is left alone for this long: callers that
/// wait get the same failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks about tokens.
pub struct TokenValidator {
    http: HttpClient,
    /// Tokens are validated here.
    url: Url,
    own: Mutex<OwnSession>,
}

struct OwnSession {
    keystone: Keystone,
    failed: Option<(Instant, ValidatorError)>,
}

/// Why Keystone cannot be asked. Holds no token and no password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ValidatorError(String);

impl From<CloudError> for ValidatorError {
    fn from(error: CloudError) -> Self {
        Self(Chain(&error).to_string())
    }
}

/// Whom a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOwner {
    /// The id of its project; `None` for tokens of a domain, of the whole system, or without scope.
    pub project: Option<String>,
    /// Whether it is for the whole system.
    pub system: bool,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Its end, by Keystone's clock.
    pub expires: Option<Timestamp>,
}

impl TokenValidator {
    /// A validator with credentials of its own. Nothing is asked yet.
    ///
    /// # Errors
    /// The URL or the file of authorities cannot be used.
    pub fn new(spec: &CloudSpec) -> Result<Self, ValidatorError> {
        let http = HttpClient::new(spec)?;
        let keystone = Keystone::new(spec.clone())?;
        let mut url = keystone.tokens().clone();
        url.set_query(Some("nocatalog"));
        Ok(Self { http, url, own: Mutex::new(OwnSession { keystone, failed: None }) })
    }

    /// Whom a token belongs to; `None` if Keystone does not accept it.
    ///
    /// # Errors
    /// Keystone does not answer, or not to this collector.
    pub async fn validate(&self, token: &str) -> Result<Option<TokenOwner>, ValidatorError> {
        // Whatever else it is, it is no token, and no header either.
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || !visible || Bound::CloudToken.check(token.len()).is_err() {
            return Ok(None);
        }
        match self.ask(token, false).await {
            // The token of this collector was revoked, or Keystone has new keys.
            Err(error) if error.is_status(401) => Ok(self.ask(token, true).await?),
            other => Ok(other?),
        }
    }

    async fn ask(&self, token: &str, again: bool) -> Result<Option<TokenOwner>, AskError> {
        let own = self.own_token(again).await.map_err(AskError::Own)?;
        let request = CloudRequest {
            method: Method::GET,
            url: &self.url,
            token: Some(&own),
            headers: &[("x-subject-token", token)],
            body: None,
        };
        match self.http.send(request).await {
            Ok(answer) => Ok(Some(owner(&answer.json["token"]))),
            Err(error) if error.is_status(404) => Ok(None),
            Err(error) => Err(AskError::Cloud(error)),
        }
    }

    async fn own_token(&self, again: bool) -> Result<nephometer_model::Secret, ValidatorError> {
        let mut own = self.own.lock().await;
        let OwnSession { keystone, failed } = &mut *own;
        if let Some((since, error)) = failed
            && since.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        *failed = None;
        if again {
            keystone.forget();
        }
        match keystone.session(&self.http).await {
            Ok(session) => Ok(session.token.clone()),
            Err(error) => {
                let error = ValidatorError::from(error);
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// Which of the two requests failed.
enum AskError {
    Own(ValidatorError),
    Cloud(CloudError),
}

impl AskError {
    fn is_status(&self, status: u16) -> bool {
        matches!(self, Self::Cloud(error) if error.is_status(status))
    }
}

impl From<AskError> for ValidatorError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Own(error) => error,
            AskError::Cloud(error) => error.into(),
        }
    }
}

fn owner(token: &Value) -> TokenOwner {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let roles = token["roles"].as_array().map(Vec::as_slice).unwrap_or_default();
    TokenOwner {
        project: text(&token["project"]["id"]),
        system: token["system"]["all"] == true,
        roles: roles.iter().filter_map(|role| text(&role["name"])).collect(),
        expires: token["expires_at"].as_str().and_then(|text| Timestamp::parse(text).ok()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owners_are_those_of_the_answer() {
        let token = json!({"project": {"id": "p", "name": "n"}, "roles": [{"id": "1", "name": "member"}],
            "expires_at": "2026-11-30T12:00:00.000000Z"});
        let found = owner(&token);
        assert_eq!((found.project.as_deref(), found.system), (Some("p"), false));
        assert_eq!(found.roles, ["member"]);
        assert_eq!(found.expires.unwrap().iso(), "2026-11-30T12:00:00");
        let system = owner(&json!({"system": {"all": true}, "roles": [{"name": "admin"}]}));
        assert_eq!((system.project, system.system, system.expires), (None, true, None));
        assert_eq!(owner(&json!("no token")).roles, Vec::<String>::new());
    }
}
