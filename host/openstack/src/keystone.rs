//! Keystone v3: tokens, and where the services are.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;

use crate::error::CloudError;
use crate::http::{CloudRequest, HttpClient, too_large, unusable};
use nephometer_config::{CloudDomain, CloudIdentity, CloudName, CloudSpec, CredentialKey};
use nephometer_model::{Bound, Secret, Timestamp};

/// Lifetime of a token that does not tell when it ends.
const SHORT_LIFE: Duration = Duration::from_secs(300);

/// Requests tokens and keeps the current one.
pub(crate) struct Keystone {
    spec: CloudSpec,
    tokens: Url,
    current: Option<Session>,
}

/// A token and what came with it.
pub(crate) struct Session {
    pub token: Secret,
    /// The project that the token is for.
    pub project_id: Option<String>,
    catalog: Value,
    renew_at: Instant,
}

impl Keystone {
    pub(crate) fn new(spec: CloudSpec) -> Result<Self, CloudError> {
        let wrong = || CloudError::Url(spec.auth_url.clone());
        let mut tokens = Url::parse(&spec.auth_url).map_err(|_| wrong())?;
        let path = tokens.path().trim_end_matches('/');
        // Old files name the version before.
        let path = path.strip_suffix("/v2.0").unwrap_or(path);
        let path = path.strip_suffix("/v3").unwrap_or(path);
        let path = format!("{path}/v3/auth/tokens");
        tokens.set_path(&path);
        Ok(Self { spec, tokens, current: None })
    }

    /// The host of `auth_url`.
    pub(crate) fn host(&self) -> &str {
        self.tokens.host_str().unwrap_or_default()
    }

    /// The URL of tokens.
    pub(crate) fn tokens(&self) -> &Url {
        &self.tokens
    }

    /// The current token, or a new one if it ends soon.
    pub(crate) async fn session(&mut self, http: &HttpClient) -> Result<&Session, CloudError> {
        let now = Instant::now();
        let current = self.current.take().filter(|session| now < session.renew_at);
        let session = match current {
            Some(session) => session,
            None => self.authenticate(http).await?,
        };
        Ok(self.current.insert(session))
    }

    /// Forgets the token: a service has refused it.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    async fn authenticate(&self, http: &HttpClient) -> Result<Session, CloudError> {
        let body = request(&self.spec.identity);
        let answer = http
            .send(CloudRequest {
                method: Method::POST,
                url: &self.tokens,
                token: None,
                headers: &[],
                body: Some(&body),
            })
            .await?;
        let what = format!("POST {}", self.tokens);
        let token = answer
            .header("x-subject-token")
            .ok_or_else(|| unusable(&what, "it has no X-Subject-Token".to_owned()))?;
        if token.len() > Bound::CloudToken.size() {
            return Err(too_large(&what, Bound::CloudToken));
        }
        let token = Secret::new(token);
        let description = &answer.json["token"];
        // Both times are of Keystone's clock, which may differ from that of this host.
        let life = [&description["issued_at"], &description["expires_at"]].map(time);
        let life = match life {
            [Some(from), Some(until)] => Duration::from_nanos(until.saturating_sub(from)),
            _ => SHORT_LIFE,
        };
        Ok(Session {
            token,
            project_id: description["project"]["id"].as_str().map(str::to_owned),
            catalog: description["catalog"].clone(),
            renew_at: renewal(Instant::now(), life),
        })
    }

    /// Where a service is: the configured URL, or that of the catalog.
    pub(crate) fn endpoint(&self, kind: &'static str) -> Result<Url, CloudError> {
        let configured = self.spec.compute.as_deref().filter(|_| kind == "compute");
        let missing = || CloudError::Endpoint {
            kind,
            interface: self.spec.interface.as_str(),
            region: self.spec.region.clone(),
        };
        let catalog = self.current.as_ref().map(|session| &session.catalog);
        let found = configured.or_else(|| self.in_catalog(catalog?, kind)).ok_or_else(missing)?;
        let url = Url::parse(found).ok().filter(|url| {
            // A catalog must not lead a token elsewhere than to a web server.
            ["http", "https"].contains(&url.scheme()) && url.has_host()
        });
        url.ok_or_else(|| CloudError::Url(found.chars().take(200).collect()))
    }

    fn in_catalog<'a>(&self, catalog: &'a Value, kind: &str) -> Option<&'a str> {
        let services = catalog.as_array()?.iter().filter(|service| service["type"] == kind);
        let endpoints = services.filter_map(|service| service["endpoints"].as_array()).flatten();
        let mut fitting = endpoints.filter(|endpoint| {
            let region = ["region_id", "region"].map(|key| endpoint[key].as_str());
            endpoint["interface"] == self.spec.interface.as_str()
                && self.spec.region.as_deref().is_none_or(|own| region.contains(&Some(own)))
        });
        fitting.find_map(|endpoint| endpoint["url"].as_str())
    }
}

/// When to ask for a new token: after nine tenths of its life, and at least a minute before its end
/// if it lives long enough.
fn renewal(now: Instant, life: Duration) -> Instant {
    let early = life.mul_f64(0.9).min(life.saturating_sub(Duration::from_secs(60)));
    now.checked_add(early).unwrap_or(now)
}

fn time(value: &Value) -> Option<u64> {
    Timestamp::parse(value.as_str()?).ok().map(Timestamp::as_nanos)
}

fn request(identity: &CloudIdentity) -> Value {
    let (method, given, scope) = match identity {
        CloudIdentity::Password { user, password, project } => {
            let mut user = named(user);
            user.insert("password".to_owned(), password.reveal().into());
            ("password", json!({ "user": user }), Some(project))
        }
        CloudIdentity::ApplicationCredential { credential, secret } => {
            let mut given = match credential {
                CredentialKey::Id(id) => json!({ "id": id }),
                CredentialKey::Of { name, user } => json!({ "name": name, "user": named(user) }),
            };
            given["secret"] = secret.reveal().into();
            ("application_credential", given, None)
        }
        CloudIdentity::Token { token, project } => {
            ("token", json!({ "id": token.reveal() }), project.as_ref())
        }
    };
    let mut auth = json!({ "identity": { "methods": [method], method: given } });
    if let Some(project) = scope {
        auth["scope"] = json!({ "project": named(project) });
    }
    json!({ "auth": auth })
}

fn named(name: &CloudName) -> Map<String, Value> {
    let mut map = Map::new();
    match name {
        CloudName::Id(id) => {
            map.insert("id".to_owned(), id.as_str().into());
        }
        CloudName::Name { name, domain } => {
            let domain = match domain {
                CloudDomain::Id(id) => json!({ "id": id }),
                CloudDomain::Name(name) => json!({ "name": name }),
            };
            map.insert("name".to_owned(), name.as_str().into());
            map.insert("domain".to_owned(), domain);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::CloudInterface;

    fn keystone(url: &str, region: Option<&str>) -> Keystone {
        Keystone::new(CloudSpec {
            auth_url: url.to_owned(),
            identity: CloudIdentity::Token { token: Secret::new("t"), project: None },
            region: region.map(str::to_owned),
            interface: CloudInterface::Internal,
            ca: None,
            compute: None,
            timeout: Duration::from_secs(1),
        })
        .unwrap()
    }

    #[test]
    fn every_form_of_the_url_leads_to_v3() {
        for (given, path) in [
            ("http://k:5000", "/v3/auth/tokens"),
            ("http://k:5000/", "/v3/auth/tokens"),
            ("http://k:5000/v3", "/v3/auth/tokens"),
            ("http://k:5000/v2.0/", "/v3/auth/tokens"),
            ("https://k/identity/v3/", "/identity/v3/auth/tokens"),
        ] {
            assert_eq!(keystone(given, None).tokens.path(), path, "{given}");
        }
    }

    #[test]
    fn requests_have_the_form_of_each_method() {
        let user = CloudName::Name {
            name: "u".to_owned(),
            domain: CloudDomain::Name("Default".to_owned()),
        };
        let project = CloudName::Id("p".to_owned());
        let password =
            CloudIdentity::Password { user: user.clone(), password: Secret::new("pw"), project };
        assert_eq!(
            request(&password),
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user":
                    {"name": "u", "domain": {"name": "Default"}, "password": "pw"}}},
                "scope": {"project": {"id": "p"}},
            }})
        );
        let credential = CredentialKey::Of { name: "n".to_owned(), user };
        let credential =
            CloudIdentity::ApplicationCredential { credential, secret: Secret::new("s") };
        assert_eq!(
            request(&credential),
            json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": {
                    "name": "n", "user": {"name": "u", "domain": {"name": "Default"}}, "secret": "s"},
            }}})
        );
    }

    #[test]
    fn the_catalog_is_searched_by_type_interface_and_region() {
        let endpoint = |interface: &str, region: &str, url: &str| json!({"interface": interface, "region_id": region, "url": url});
        let catalog = json!([
            {"type": "image", "endpoints": [endpoint("internal", "one", "http://glance")]},
            {"type": "compute", "endpoints": [
                endpoint("public", "one", "http://public"),
                endpoint("internal", "two", "http://two/v2.1"),
                endpoint("internal", "one", "http://one/v2.1"),
            ]},
            {"type": "compute", "endpoints": 7},
        ]);
        let with = |region: Option<&str>, catalog: Value| {
            let mut keystone = keystone("http://k", region);
            keystone.current = Some(Session {
                token: Secret::new("t"),
                project_id: None,
                catalog,
                renew_at: Instant::now(),
            });
            keystone.endpoint("compute").map(|url| url.to_string())
        };
        assert_eq!(with(None, catalog.clone()).unwrap(), "http://two/v2.1");
        assert_eq!(with(Some("one"), catalog.clone()).unwrap(), "http://one/v2.1");
        let missing = with(Some("three"), catalog).unwrap_err().to_string();
        assert!(
            missing.contains("no compute service") && missing.contains("\"three\""),
            "{missing}"
        );
        let hostile = json!([{"type": "compute", "endpoints":
            [endpoint("internal", "one", "file:///etc/shadow")]}]);
        assert!(with(None, hostile).is_err());
        assert!(with(None, json!("none")).is_err());
    }

    #[test]
    fn tokens_are_renewed_before_their_end() {
        let now = Instant::now();
        let after = |seconds: u64| renewal(now, Duration::from_secs(seconds)) - now;
        assert_eq!(after(3600), Duration::from_secs(3240));
        assert_eq!(after(120), Duration::from_secs(60));
        assert_eq!(after(30), Duration::ZERO);
    }
}
