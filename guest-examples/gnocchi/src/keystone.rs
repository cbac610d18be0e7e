//! Keystone v3: the request for a token, and what is read from its response.

use serde_json::{Value, json};

use crate::service::Service;

/// How the component identifies itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// A user with a password, for a project.
    Password {
        /// The name or the id of the user, as Keystone's JSON.
        user: Value,
        /// A secret.
        password: String,
        /// The project, as Keystone's JSON.
        project: Value,
    },
    /// An application credential, which belongs to a project.
    ApplicationCredential {
        /// Its id, or its name and user, as Keystone's JSON.
        credential: Value,
        /// A secret.
        secret: String,
    },
}

// Without secrets.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, project, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .field("project", project)
                .finish_non_exhaustive(),
            Self::ApplicationCredential { credential, .. } => f
                .debug_struct("ApplicationCredential")
                .field("credential", credential)
                .finish_non_exhaustive(),
        }
    }
}

/// Keystone, and how to log in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keystone {
    /// Its address, with `/v3`.
    pub service: Service,
    /// How the component identifies itself.
    pub identity: Identity,
    /// Which endpoint of the catalog is used.
    pub interface: String,
    /// The region of the endpoint; any if there is none.
    pub region: Option<String>,
}

impl Identity {
    /// The body of `POST /v3/auth/tokens`.
    pub(crate) fn request(&self) -> Vec<u8> {
        let body = match self {
            Self::Password { user, password, project } => {
                let mut user = user.clone();
                user["password"] = Value::from(password.as_str());
                json!({"auth": {
                    "identity": {"methods": ["password"], "password": {"user": user}},
                    "scope": {"project": project},
                }})
            }
            Self::ApplicationCredential { credential, secret } => {
                let mut credential = credential.clone();
                credential["secret"] = Value::from(secret.as_str());
                json!({"auth": {"identity": {
                    "methods": ["application_credential"],
                    "application_credential": credential,
                }}})
            }
        };
        body.to_string().into_bytes()
    }
}

impl Keystone {
    /// The endpoint of Gnocchi in the catalog of a token.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn endpoint(&self, token: &[u8]) -> Result<Service, String> {
        let token: Value = serde_json::from_slice(token)
            .map_err(|error| format!("Keystone's response is not JSON: {error}"))?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let services = list(&token["token"]["catalog"]);
        let metric = services.iter().filter(|one| one["type"] == "metric");
        let fits = |one: &Value| {
            let region = one["region_id"].as_str().or_else(|| one["region"].as_str());
            one["interface"] == *self.interface
                && self.region.as_deref().is_none_or(|wanted| region == Some(wanted))
        };
        let url = metric.flat_map(|one| list(&one["endpoints"])).find(fits);
        let url = url.as_ref().and_then(|one| one["url"].as_str()).ok_or_else(|| {
            let region = self.region.as_deref().unwrap_or("any");
            format!(
                "the catalog of Keystone has no service metric with interface {} in region \
                 {region}; set endpoint",
                self.interface
            )
        })?;
        Service::parse(url)
    }
}

/// The id of the first entry of a list that Keystone returned.
pub(crate) fn first_id(body: &[u8], list: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body[list][0]["id"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keystone(region: Option<&str>) -> Keystone {
        Keystone {
            service: Service::parse("http://k:5000/v3").expect("an address"),
            identity: Identity::ApplicationCredential {
                credential: json!({"id": "i"}),
                secret: "hidden".into(),
            },
            interface: "internal".to_owned(),
            region: region.map(str::to_owned),
        }
    }

    #[test]
    fn the_endpoint_is_that_of_interface_and_region() {
        let body = json!({"token": {"catalog": [
            {"type": "compute", "endpoints": [{"interface": "internal", "url": "http://nova"}]},
            {"type": "metric", "endpoints": [
                {"interface": "public", "region_id": "a", "url": "http://public:8041"},
                {"interface": "internal", "region_id": "a", "url": "http://a:8041"},
                {"interface": "internal", "region": "b", "url": "http://b:8041"},
            ]},
        ]}});
        let body = body.to_string().into_bytes();
        let of = |region| keystone(region).endpoint(&body).map(|one| one.authority);
        assert_eq!(of(None), Ok("a:8041".to_owned()));
        assert_eq!(of(Some("b")), Ok("b:8041".to_owned()));
        assert!(of(Some("c")).is_err_and(|reason| reason.contains("region c; set endpoint")));
        assert!(keystone(None).endpoint(b"<html>").is_err());
    }

    #[test]
    fn secrets_are_sent_and_never_printed() {
        let one = keystone(None);
        assert!(!format!("{one:?}").contains("hidden"));
        let body: Value = serde_json::from_slice(&one.identity.request()).expect("JSON");
        let credential = &body["auth"]["identity"]["application_credential"];
        assert_eq!(*credential, json!({"id": "i", "secret": "hidden"}));
        let identity = Identity::Password {
            user: json!({"name": "u", "domain": {"name": "Default"}}),
            password: "hidden".to_owned(),
            project: json!({"id": "p"}),
        };
        assert!(!format!("{identity:?}").contains("hidden"));
        let body: Value = serde_json::from_slice(&identity.request()).expect("JSON");
        assert_eq!(body["auth"]["identity"]["password"]["user"]["password"], "hidden");
        assert_eq!(body["auth"]["scope"]["project"]["id"], "p");
    }
}
