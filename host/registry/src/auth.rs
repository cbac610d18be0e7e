//! Logins: what a registry asks for in `WWW-Authenticate`, and the token that its service gives.

use serde_json::Value;
use url::Url;

use super::connect::{Connector, basic};
use super::error::RegistryError;
use super::request::{Answer, Call};
use nephometer_config::{RegistryIdentity, RegistrySpec};
use nephometer_model::{Bound, Secret};

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// User and password.
    Basic,
    /// A token of a service.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The value of `Authorization` before anything was asked.
pub(crate) fn initial(spec: &RegistrySpec) -> Option<Secret> {
    match &spec.identity {
        Some(RegistryIdentity::Token(token)) => {
            Some(Secret::new(format!("Bearer {}", token.reveal())))
        }
        _ => None,
    }
}

/// The value of `Authorization` that an answer with status 401 asks for. `scope` is used if the
/// registry names none.
///
/// # Errors
/// If there is no login for it, or the service of tokens does not answer.
pub(crate) async fn answer(
    connector: &Connector,
    spec: &RegistrySpec,
    asked: &Answer,
    scope: &str,
) -> Result<Secret, RegistryError> {
    let headers = asked.headers.get_all("www-authenticate").iter();
    let challenge = headers.filter_map(|value| challenge(value.to_str().ok()?)).next();
    let login = match &spec.identity {
        Some(RegistryIdentity::Password { username, password }) => {
            Some(Secret::new(basic(username, password.reveal())))
        }
        // A token that was sent and refused.
        Some(RegistryIdentity::Token(_)) => return Err(asked.refusal()),
        None => None,
    };
    match (challenge, login) {
        (Some(Challenge::Basic), Some(login)) => Ok(login),
        (Some(Challenge::Bearer { realm, service, scope: named }), login) => {
            let url =
                token_url(&realm, service.as_deref(), named.as_deref().unwrap_or(scope), spec);
            let url =
                url.map_err(|reason| RegistryError::Answer { what: asked.what.clone(), reason })?;
            let mut call = Call::get(url, "application/json", Bound::RegistryAnswer);
            call.authorization = login;
            token(&connector.send(call).await?.success()?)
        }
        _ => Err(asked.refusal()),
    }
}

fn token_url(
    realm: &str,
    service: Option<&str>,
    scope: &str,
    spec: &RegistrySpec,
) -> Result<Url, String> {
    let mut url = Url::parse(realm).map_err(|_| "its realm is no URL".to_owned())?;
    // The password goes there.
    if url.scheme() != "https" && !(spec.plain_http && url.scheme() == "http") {
        return Err("its service of tokens has no TLS".to_owned());
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", scope);
    }
    Ok(url)
}

fn token(answer: &Answer) -> Result<Secret, RegistryError> {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let token = json["token"].as_str().or_else(|| json["access_token"].as_str());
    match token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(Secret::new(format!("Bearer {token}"))),
        None => Err(RegistryError::Answer {
            what: answer.what.clone(),
            reason: "it has no token".to_owned(),
        }),
    }
}

fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `name="value"` pairs, separated by commas, which values may contain.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_owned();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name, value.trim().to_owned()));
        rest = left;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = "Bearer realm=\"https://auth.example/token\",service=\"r.example\",\
                      scope=\"repository:a/b:pull,push\"";
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("r.example".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        };
        assert_eq!(challenge(bearer), Some(expected));
        assert_eq!(challenge("Basic realm=\"r\""), Some(Challenge::Basic));
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("Bearer error=\"invalid\""), None);
    }

    #[test]
    fn a_password_goes_over_tls_only() {
        let tls = RegistrySpec::default();
        let plain = RegistrySpec { plain_http: true, ..RegistrySpec::default() };
        let url =
            |realm, spec: &RegistrySpec| token_url(realm, Some("s"), "repository:a:pull", spec);
        let made = url("https://auth.example/token?x=1", &tls).unwrap();
        assert_eq!(
            made.as_str(),
            "https://auth.example/token?x=1&service=s&scope=repository%3Aa%3Apull"
        );
        assert!(url("http://auth.example/", &tls).is_err());
        assert!(url("http://auth.example/", &plain).is_ok());
        assert!(url("file:///etc/passwd", &plain).is_err());
    }
}
