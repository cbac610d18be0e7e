//! The options, with the names that Ceilometer has in the URL and in `[service_credentials]`.

use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{OptionError, UrlOptions, escape_pointer};
use nephometer_guest_http::authority;
use serde_json::{Value, json};

use crate::definitions::Definitions;
use crate::keystone::{Identity, Keystone};
use crate::service::Service;
use crate::session::Login;

/// In seconds, as in Ceilometer.
const DEFAULT_TIMEOUT: f64 = 6.05;
const MAX_TIMEOUT: f64 = 300.0;
const DEFAULT_PORT: u16 = 8041;

const KNOWN: [&str; 28] = [
    "archive_policy",
    "enable_filter_project",
    "filter_project",
    "filter_domain",
    "resources_definition_file",
    "timeout",
    "metrics",
    "tls",
    "endpoint",
    "auth_type",
    "auth_url",
    "username",
    "user_id",
    "password",
    "user_domain_name",
    "user_domain_id",
    "project_name",
    "project_id",
    "project_domain_name",
    "project_domain_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "interface",
    "region_name",
    "filter_project_id",
    "user",
    "auth_section",
];

/// The project whose samples are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// None.
    Off,
    /// That of this name, in the domain of that name.
    Name(String, String),
    /// That with this id.
    Id(String),
}

/// The options, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which meters are published.
    pub definitions: Definitions,
    /// The project whose samples are left out.
    pub filter: Filter,
    /// How Gnocchi knows the component.
    pub login: Login,
    /// Gnocchi's address; `None` if the catalog has it.
    pub endpoint: Option<Service>,
    /// The time limit of one request.
    pub timeout: Duration,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// All errors, each with its pointer.
    pub fn read(options: &Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        read.warn_of_unknown(&KNOWN);
        let login = login(&read);
        let endpoint = endpoint(&read);
        if matches!(login, Some(Login::Basic(_))) && endpoint.is_none() {
            read.refuse("endpoint", "is required without Keystone: http://HOST:8041");
        }
        match read.text("resources_definition_file") {
            None | Some("" | "gnocchi_resources.yaml") => {}
            Some(_) => read.refuse(
                "resources_definition_file",
                "a component reads no files; list other meters in the option metrics",
            ),
        }
        let checked = login.map(|login| Self {
            definitions: definitions(&read, &errors),
            filter: filter(&read, &login),
            login,
            endpoint,
            timeout: timeout(&read),
        });
        let errors = errors.take();
        match checked {
            Some(checked) if errors.is_empty() => Ok(checked),
            _ => Err(errors),
        }
    }
}

/// That of the option, else that of the URL.
fn endpoint(read: &UrlOptions<'_>) -> Option<Service> {
    if let Some(url) = filled(read, "endpoint") {
        return Service::parse(url).map_err(|reason| read.refuse("endpoint", reason)).ok();
    }
    let host = read.value("host").and_then(Value::as_str).filter(|host| !host.is_empty())?;
    let tls = read.flag("tls").unwrap_or(false);
    let authority = authority(host.trim_matches(['[', ']']), read.port(DEFAULT_PORT));
    let path = read.value("path").and_then(Value::as_str).unwrap_or_default();
    Some(Service { tls, authority, path: path.trim_end_matches('/').to_owned() })
}

fn filled<'a>(read: &UrlOptions<'a>, key: &str) -> Option<&'a str> {
    read.text(key).filter(|text| !text.is_empty())
}

fn required<'a>(read: &UrlOptions<'a>, key: &str, kind: &str) -> Option<&'a str> {
    let text = filled(read, key);
    if text.is_none() {
        read.refuse(key, format!("is required for auth_type {kind}"));
    }
    text
}

/// `None` if an error was added.
fn login(read: &UrlOptions<'_>) -> Option<Login> {
    let kind = filled(read, "auth_type").unwrap_or("password");
    let identity = match kind {
        "gnocchi-basic" => {
            let user = filled(read, "user").unwrap_or("admin");
            return Some(Login::Basic(user.to_owned()));
        }
        "password" | "v3password" => password(read, kind),
        "v3applicationcredential" => {
            let credential = application_credential(read, kind);
            let secret = required(read, "application_credential_secret", kind);
            credential.zip(secret).map(|(credential, secret)| Identity::ApplicationCredential {
                credential,
                secret: secret.to_owned(),
            })
        }
        other => {
            read.refuse(
                "auth_type",
                format!(
                    "is {other:?}; expected password, v3password, v3applicationcredential or \
                     gnocchi-basic"
                ),
            );
            return None;
        }
    };
    let url = required(read, "auth_url", kind)?;
    let url = url.trim_end_matches('/');
    // Old files name the version before.
    let url = url.strip_suffix("/v3").or(url.strip_suffix("/v2.0")).unwrap_or(url);
    let url = format!("{url}/v3");
    let service = Service::parse(&url).map_err(|reason| read.refuse("auth_url", reason)).ok();
    let interface = filled(read, "interface").unwrap_or("public");
    // Older forms of the same words.
    let interface = interface.strip_suffix("URL").unwrap_or(interface).to_owned();
    let region = filled(read, "region_name").map(str::to_owned);
    Some(Login::Keystone(Keystone { service: service?, identity: identity?, interface, region }))
}

/// An application credential as Keystone's JSON: by its id, or by its name and owner.
fn application_credential(read: &UrlOptions<'_>, kind: &str) -> Option<Value> {
    let id = filled(read, "application_credential_id");
    match (id, filled(read, "application_credential_name")) {
        (None, Some(name)) => user(read, kind).map(|user| json!({ "name": name, "user": user })),
        _ => required(read, "application_credential_id", kind).map(|id| json!({ "id": id })),
    }
}

fn domain(read: &UrlOptions<'_>, prefix: &str) -> Value {
    let id = filled(read, &format!("{prefix}_domain_id"));
    let name = filled(read, &format!("{prefix}_domain_name"));
    match id {
        Some(id) => json!({ "id": id }),
        None => json!({ "name": name.unwrap_or("Default") }),
    }
}

/// The user as Keystone's JSON.
fn user(read: &UrlOptions<'_>, kind: &str) -> Option<Value> {
    if let Some(id) = filled(read, "user_id") {
        return Some(json!({ "id": id }));
    }
    filled(read, "username")
        .or_else(|| read.user())
        .or_else(|| required(read, "username", kind))
        .map(|name| json!({ "name": name, "domain": domain(read, "user") }))
}

fn password(read: &UrlOptions<'_>, kind: &str) -> Option<Identity> {
    let user = user(read, kind);
    let project = match filled(read, "project_id") {
        Some(id) => Some(json!({ "id": id })),
        None => required(read, "project_name", kind)
            .map(|name| json!({ "name": name, "domain": domain(read, "project") })),
    };
    let password = required(read, "password", kind)?.to_owned();
    Some(Identity::Password { user: user?, password, project: project? })
}

fn filter(read: &UrlOptions<'_>, login: &Login) -> Filter {
    if let Some(id) = filled(read, "filter_project_id") {
        return Filter::Id(id.to_owned());
    }
    let word =
        match (read.text_of_query("enable_filter_project"), read.value("enable_filter_project")) {
            (None, Some(Value::Bool(flag))) => flag.to_string(),
            (None, Some(Value::String(text))) => text.clone(),
            (text, _) => text.unwrap_or("true").to_owned(),
        };
    // What Ceilometer takes for true; everything else is false.
    let enabled =
        ["1", "t", "true", "on", "y", "yes"].contains(&word.trim().to_lowercase().as_str());
    if !enabled {
        return Filter::Off;
    }
    if matches!(login, Login::Basic(_)) {
        read.refuse(
            "enable_filter_project",
            "the filtered project is looked up in Keystone, which gnocchi-basic does not use; set \
             enable_filter_project=false, or filter_project_id",
        );
    }
    let project = read.text("filter_project").unwrap_or("service");
    if project.is_empty() {
        return Filter::Off;
    }
    let domain = filled(read, "filter_domain").unwrap_or("Default");
    Filter::Name(project.to_owned(), domain.to_owned())
}

/// `metrics`: further meters, `NAME: TYPE` or `NAME: {resource_type: TYPE, archive_policy_name: ..}`.
fn definitions(read: &UrlOptions<'_>, errors: &RefCell<Vec<OptionError>>) -> Definitions {
    let archive_policy = filled(read, "archive_policy");
    let mut definitions = Definitions::new(archive_policy);
    let Some(metrics) = read.value("metrics") else { return definitions };
    let Some(metrics) = metrics.as_object() else {
        read.refuse("metrics", "expected a mapping of meters to types of resources");
        return definitions;
    };
    for (meter, value) in metrics {
        let type_ = value.as_str().or_else(|| value["resource_type"].as_str()).unwrap_or_default();
        let policy = archive_policy.or_else(|| value["archive_policy_name"].as_str());
        if !definitions.add(meter, type_, policy) {
            let pointer = format!("/metrics/{}", escape_pointer(meter));
            let types = Definitions::types().join(", ");
            let reason = format!("expected a type of resource, one of {types}");
            errors.borrow_mut().push(OptionError { pointer, reason });
        }
    }
    definitions
}

fn timeout(read: &UrlOptions<'_>) -> Duration {
    let seconds = read.number("timeout").unwrap_or(DEFAULT_TIMEOUT);
    if seconds > 0.0 && seconds <= MAX_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("expected more than 0 and at most {MAX_TIMEOUT} seconds"));
    Duration::from_secs_f64(DEFAULT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(options: &Value) -> Vec<String> {
        let errors = Options::read(options).expect_err("bad options");
        let mut pointers: Vec<_> = errors.into_iter().map(|one| one.pointer).collect();
        pointers.sort_unstable();
        pointers
    }

    #[test]
    fn credentials_have_the_names_of_service_credentials() {
        let read = Options::read(&json!({
            "host": "", "query": {"archive_policy": ["low"]},
            "auth_type": "password", "auth_url": "http://keystone:5000", "username": "ceilometer",
            "password": "pw", "project_name": "service", "user_domain_name": "Default",
            "project_domain_id": "default", "interface": "internalURL", "region_name": "north",
            "metrics": {"cpu_util": "instance"},
        }))
        .expect("good options");
        let Login::Keystone(keystone) = &read.login else { unreachable!("Keystone") };
        assert_eq!(
            (keystone.service.path.as_str(), keystone.interface.as_str()),
            ("/v3", "internal")
        );
        let Identity::Password { user, project, .. } = &keystone.identity else {
            unreachable!("a password")
        };
        assert_eq!(*user, json!({"name": "ceilometer", "domain": {"name": "Default"}}));
        assert_eq!(*project, json!({"name": "service", "domain": {"id": "default"}}));
        assert_eq!(read.filter, Filter::Name("service".to_owned(), "Default".to_owned()));
        assert_eq!((read.endpoint, read.timeout), (None, Duration::from_secs_f64(6.05)));
        let policy =
            |meter: &str| read.definitions.metric(meter).map(|one| one.archive_policy.as_str());
        assert_eq!((policy("cpu"), policy("cpu_util")), (Some("low"), Some("low")));
    }

    #[test]
    fn an_application_credential_may_have_a_name() {
        let mut options = json!({
            "host": "", "auth_type": "v3applicationcredential", "auth_url": "http://k:5000/v2.0/",
            "application_credential_name": "n", "application_credential_secret": "s",
            "user_id": "u",
        });
        let read = Options::read(&options).expect("good options");
        let Login::Keystone(keystone) = &read.login else { unreachable!("Keystone") };
        assert_eq!(keystone.service.path, "/v3");
        let body: Value = serde_json::from_slice(&keystone.identity.request()).expect("JSON");
        let credential = &body["auth"]["identity"]["application_credential"];
        assert_eq!(*credential, json!({"name": "n", "user": {"id": "u"}, "secret": "s"}));
        options["user_id"] = Value::Null;
        assert_eq!(pointers(&options), ["/username"]);
    }

    #[test]
    fn the_url_may_have_the_address() {
        let read = Options::read(&json!({
            "host": "gnocchi", "port": null, "path": "", "auth_type": "gnocchi-basic",
            "query": {}, "enable_filter_project": false,
        }))
        .expect("good options");
        assert_eq!(read.endpoint.map(|one| one.authority).as_deref(), Some("gnocchi:8041"));
        assert_eq!((read.login, read.filter), (Login::Basic("admin".to_owned()), Filter::Off));
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        assert_eq!(
            pointers(&json!({"host": "", "auth_type": "gnocchi-basic"})),
            ["/enable_filter_project", "/endpoint"]
        );
        assert_eq!(
            pointers(&json!({"host": "", "auth_url": "http://k"})),
            ["/password", "/project_name", "/username"]
        );
        let options = json!({
            "host": "g", "auth_type": "v3applicationcredential", "auth_url": "k:5000",
            "application_credential_id": "i", "metrics": {"a/b": "nothing"},
            "query": {"timeout": ["0"], "resources_definition_file": ["/etc/own.yaml"]},
        });
        let wanted =
            ["/application_credential_secret", "/auth_url", "/query/resources_definition_file"];
        assert_eq!(pointers(&options), wanted);
        assert_eq!(pointers(&json!({"host": "g", "auth_type": "token"})), ["/auth_type"]);
    }
}
