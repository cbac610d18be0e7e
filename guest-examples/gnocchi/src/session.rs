//! Requests to Gnocchi, with what identifies the component.

use std::time::Duration;

use nephometer_guest::Failure;
use nephometer_guest_http::{HttpError, Response, outcome};

use crate::keystone::{Keystone, first_id};
use crate::service::Service;

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'static str,
    /// Where it goes.
    pub service: &'a Service,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

/// Sends a request.
pub(crate) type Exchange<'a> = dyn FnMut(&Call<'_>) -> Result<Response, HttpError> + 'a;

/// How Gnocchi knows the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Gnocchi's own mode `basic`: a user without a password.
    Basic(String),
    /// A token of Keystone.
    Keystone(Keystone),
}

/// The connection to Gnocchi.
#[derive(Debug)]
pub struct Session {
    login: Login,
    /// From the options, or from the catalog of the last token.
    endpoint: Option<Service>,
    /// A secret.
    token: Option<String>,
    pub(crate) timeout: Duration,
}

/// The media type of all bodies.
const JSON: &str = "application/json";

impl Session {
    /// A session that has not logged in yet.
    pub fn new(login: Login, endpoint: Option<Service>, timeout: Duration) -> Self {
        Self { login, endpoint, token: None, timeout }
    }

    /// Sends a request to Gnocchi. Logs in first if it has to, and once more if the token is not
    /// valid any more. Statuses of the request itself, such as 404, are returned.
    ///
    /// # Errors
    /// Retryable or broken, as for [`outcome`].
    pub(crate) fn call(
        &mut self,
        exchange: &mut Exchange<'_>,
        (method, path): (&'static str, &str),
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        let had_token = self.token.is_some();
        let response = self.attempt(exchange, (method, path), body.clone())?;
        if response.status == 401 && had_token {
            self.token = None;
            let response = self.attempt(exchange, (method, path), body)?;
            return checked("Gnocchi", response);
        }
        checked("Gnocchi", response)
    }

    fn attempt(
        &mut self,
        exchange: &mut Exchange<'_>,
        (method, path): (&'static str, &str),
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        let credentials = self.credentials(exchange)?;
        let Some(service) = &self.endpoint else {
            return Err(Failure::Broken(
                "no endpoint of Gnocchi is known; set endpoint".to_owned(),
            ));
        };
        let path = format!("{}{path}", service.path);
        let mut headers = vec![credentials, ("accept", JSON.to_owned())];
        if !body.is_empty() {
            headers.push(("content-type", JSON.to_owned()));
        }
        returned("Gnocchi", exchange(&Call { method, service, path, headers, body }))
    }

    fn credentials(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<(&'static str, String), Failure> {
        let keystone = match &self.login {
            // As Gnocchi's own client writes it, in lower case.
            Login::Basic(user) => {
                let header = nephometer_guest_http::basic(user, "").replacen("Basic", "basic", 1);
                return Ok(("authorization", header));
            }
            Login::Keystone(keystone) => keystone,
        };
        if let Some(token) = &self.token {
            return Ok(("x-auth-token", token.clone()));
        }
        let path = format!("{}/auth/tokens", keystone.service.path);
        let headers = vec![("accept", JSON.to_owned()), ("content-type", JSON.to_owned())];
        let (service, body) = (&keystone.service, keystone.identity.request());
        let call = Call { method: "POST", service, path, headers, body };
        // A refusal, such as of a wrong password, is one of all envelopes.
        let response = outcome("Keystone", exchange(&call)).map_err(broken)?;
        let token = response.header("x-subject-token").ok_or_else(|| {
            Failure::Broken("Keystone returned no X-Subject-Token; check auth_url".to_owned())
        })?;
        if self.endpoint.is_none() {
            self.endpoint = Some(keystone.endpoint(&response.body).map_err(Failure::Broken)?);
        }
        let token = token.to_owned();
        self.token = Some(token.clone());
        Ok(("x-auth-token", token))
    }

    /// The id of a project; `None` if there is no such project or domain.
    ///
    /// # Errors
    /// Retryable or broken, as for [`outcome`].
    pub(crate) fn project(
        &mut self,
        exchange: &mut Exchange<'_>,
        (name, domain): (&str, &str),
    ) -> Result<Option<String>, Failure> {
        use nephometer_guest_http::escaped;
        let domains = format!("/domains?name={}", escaped(domain));
        let Some(domain) = self.look_up(exchange, &domains, "domains")? else { return Ok(None) };
        let query = format!("/projects?name={}&domain_id={}", escaped(name), escaped(&domain));
        self.look_up(exchange, &query, "projects")
    }

    fn look_up(
        &mut self,
        exchange: &mut Exchange<'_>,
        path: &str,
        list: &str,
    ) -> Result<Option<String>, Failure> {
        let credentials = self.credentials(exchange)?;
        let Login::Keystone(keystone) = &self.login else { return Ok(None) };
        let service = &keystone.service;
        let path = format!("{}{path}", service.path);
        let headers = vec![credentials, ("accept", JSON.to_owned())];
        let call = Call { method: "GET", service, path, headers, body: Vec::new() };
        let response = outcome("Keystone", exchange(&call)).map_err(|failure| {
            self.token = None;
            match broken(failure) {
                Failure::Broken(reason) => Failure::Broken(format!(
                    "the project of filter_project cannot be looked up: {reason}; give the user \
                     that right, or set enable_filter_project=false"
                )),
                other => other,
            }
        })?;
        Ok(first_id(&response.body, list))
    }
}

/// A response of any status; the host refusing the address is broken, no response is retryable.
fn returned(receiver: &str, answer: Result<Response, HttpError>) -> Result<Response, Failure> {
    match answer {
        Ok(response) => Ok(response),
        Err(error) => outcome(receiver, Err(error)),
    }
}

/// Returns statuses that concern the request itself.
fn checked(receiver: &str, response: Response) -> Result<Response, Failure> {
    match response.status {
        400 | 404 | 409 | 413 | 422 => Ok(response),
        _ => outcome(receiver, Ok(response)),
    }
}

fn broken(failure: Failure) -> Failure {
    match failure {
        Failure::Permanent(reason) => Failure::Broken(reason),
        other => other,
    }
}
