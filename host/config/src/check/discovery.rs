//! `discovery` and `service_credentials` of `nephometer.yaml`.

use std::time::Duration;

use super::Check;
use super::units::{DURATION, duration, truth, whole};
use crate::discovery::{
    CloudDomain, CloudIdentity, CloudInterface, CloudName, CloudSpec, CredentialKey,
    DiscoveryMethod, DiscoverySpec, ReservedMetadata,
};
use crate::error::{Problem, Report};
use crate::keys;
use crate::raw::{Document, Field, Kind, RawCredentials, RawDiscovery, Scalar, Scalars};
use nephometer_model::{Bound, Release, Secret};

const CREDENTIALS: &str = "/service_credentials";
const TRUTH: &str = "write true or false";
/// Characters of a value of `user_metadata` at most.
const MOST_LENGTH: i64 = 65_536;

/// `service_credentials`, checked. What is wrong with them matters only to those who need them: a
/// `ceilometer.conf` may have credentials of a kind that this agent does not know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `None` without credentials, or with problems.
    pub(crate) spec: Option<CloudSpec>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Components that get them without a grant.
    pub(crate) given_by_default: Vec<String>,
}

impl Credentials {
    /// Checks the section.
    pub(super) fn read(doc: &Document, field: Field<RawCredentials>) -> Self {
        let mut report = Report::default();
        let spec = cloud(&mut Check::new(doc, &mut report), CREDENTIALS, field).flatten();
        match report.finish(Some(spec)) {
            Ok((spec, warnings)) => Self { spec, warnings, ..Self::default() },
            Err(error) => {
                let (problems, warnings) = (error.problems, error.warnings);
                Self { problems, warnings, ..Self::default() }
            }
        }
    }

    /// Reports what is wrong with them.
    pub(crate) fn report(&self, report: &mut Report) {
        self.problems.iter().for_each(|problem| report.push(problem.clone()));
        report.extend_warnings(self.warnings.iter().cloned());
    }

    /// The credentials for the setting at `pointer`, which needs them. `None` with a problem.
    pub(super) fn required(&self, check: &mut Check<'_>, pointer: &str) -> Option<CloudSpec> {
        self.report(check.report);
        if self.spec.is_none() && self.problems.is_empty() {
            let what = "`service_credentials` is not set, and there is nothing to grant";
            check.fault(pointer, what, "set service_credentials with auth_url and auth_type");
        }
        self.spec.clone()
    }

    /// Records a component that gets them without a grant.
    pub(super) fn give_by_default(&mut self, component: &str) {
        self.given_by_default.push(component.to_owned());
    }
}

pub(super) fn check(
    check: &mut Check<'_>,
    field: Field<RawDiscovery>,
    credentials: &Credentials,
    release: Release,
) -> Option<DiscoverySpec> {
    let raw = check.mapping("/discovery", field)?;
    check.keys("/discovery", &keys::DISCOVERY, &[]);
    let words = [
        ("libvirt_metadata", DiscoveryMethod::LibvirtMetadata),
        ("naive", DiscoveryMethod::Naive),
        ("workload_partitioning", DiscoveryMethod::Naive),
        ("merged", DiscoveryMethod::Merged),
    ];
    let method = check.word("/discovery/method", &raw.method, &words);
    let at = "/discovery/identity_name_discovery";
    let names = check.value(at, &raw.identity_name_discovery, truth, TRUTH);
    let at = "/discovery/fetch_extra_metadata";
    let extra = check.value(at, &raw.fetch_extra_metadata, truth, TRUTH);
    let groups = check.value("/discovery/server_groups", &raw.server_groups, truth, TRUTH);
    let reserved = reserved(check, &raw);
    let refresh = check.value("/discovery/refresh", &raw.refresh, duration, DURATION);
    let full = check.value("/discovery/full_refresh", &raw.full_refresh, duration, DURATION);
    let defaults = DiscoverySpec::default();
    let mut spec = DiscoverySpec {
        method: method?.unwrap_or_default(),
        // Older releases have no names.
        identity_names: names?.unwrap_or(release == Release::Current),
        fetch_extra_metadata: extra?.unwrap_or(false),
        server_groups: groups?.unwrap_or(false),
        reserved: reserved?,
        refresh: refresh?.unwrap_or(defaults.refresh),
        full_refresh: full?.unwrap_or(defaults.full_refresh),
        nova: None,
    };
    let in_file = check.doc.keys(CREDENTIALS).any(|(_, location)| location.line > 0)
        || !matches!(check.kind(CREDENTIALS), Kind::Null | Kind::Map);
    if spec.asks_nova() || in_file {
        credentials.report(check.report);
        if !credentials.problems.is_empty() {
            return None;
        }
    }
    let nova = credentials.spec.clone();
    if spec.asks_nova() && nova.is_none() {
        let what =
            "the settings of `discovery` need Nova's API, and `service_credentials` is not set";
        check.fault("/discovery", what, "set service_credentials with auth_url and auth_type");
        return None;
    }
    spec.nova = nova.filter(|_| spec.asks_nova());
    Some(spec)
}

fn reserved(check: &mut Check<'_>, raw: &RawDiscovery) -> Option<ReservedMetadata> {
    let namespaces = &raw.reserved_metadata_namespace;
    let namespaces = texts(check, "/discovery/reserved_metadata_namespace", namespaces);
    let keys = texts(check, "/discovery/reserved_metadata_keys", &raw.reserved_metadata_keys);
    let length = check.value(
        "/discovery/reserved_metadata_length",
        &raw.reserved_metadata_length,
        |value| {
            let length = whole(value)?;
            usize::try_from(length).ok().filter(|_| length <= MOST_LENGTH)
        },
        "write a whole number from 0 to 65536",
    );
    let defaults = ReservedMetadata::default();
    Some(ReservedMetadata {
        namespaces: namespaces?.unwrap_or(defaults.namespaces),
        keys: keys?.unwrap_or_default(),
        length: length?.unwrap_or(defaults.length),
    })
}

/// A list of texts, or one text with commas as in `ceilometer.conf`. `Some(None)` if it is not set.
fn texts(check: &mut Check<'_>, pointer: &str, field: &Scalars) -> Option<Option<Vec<String>>> {
    let right = "write a list of texts, such as [\"metering.\"]";
    let given = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => return Some(None),
        (Field::Given(entries), Kind::List) => {
            let texts: Vec<String> =
                check.texts(pointer, entries).into_iter().map(|(_, text)| text).collect();
            (texts.len() == entries.len()).then_some(texts)?
        }
        (_, Kind::Text) => {
            let text = check.text(pointer).unwrap_or_default();
            text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
        }
        _ => {
            check.wrong(pointer, right);
            return None;
        }
    };
    if let Err(error) = Bound::ReservedMetadata.check(given.len()) {
        check.fault(pointer, error.to_string(), right);
        return None;
    }
    Some(Some(given))
}

/// The way to authenticate; `Some(None)` without `auth_url`.
pub(super) fn cloud(
    check: &mut Check<'_>,
    pointer: &'static str,
    field: Field<RawCredentials>,
) -> Option<Option<CloudSpec>> {
    let at = |key: &str| format!("{pointer}/{key}");
    let raw = check.mapping(pointer, field)?;
    check.keys(pointer, &keys::CREDENTIALS, &[]);
    let url = check.string(&at("auth_url"), &raw.auth_url)?;
    let Some(auth_url) = url else {
        if check.doc.keys(pointer).next().is_some() {
            let what = format!("{} has no `auth_url`", super::subject(pointer));
            let remedy = "write Keystone's URL, such as https://keystone:5000/v3";
            check.fault(pointer, what, remedy);
            return None;
        }
        return Some(None);
    };
    let auth_url = web_url(check, pointer, "auth_url", auth_url);
    let compute = check.string(&at("compute_endpoint"), &raw.compute_endpoint);
    let compute = match compute? {
        Some(url) => Some(web_url(check, pointer, "compute_endpoint", url)?),
        None => None,
    };
    let identity = identity(check, pointer, &raw);
    let words = [
        ("public", CloudInterface::Public),
        ("publicURL", CloudInterface::Public),
        ("internal", CloudInterface::Internal),
        ("internalURL", CloudInterface::Internal),
        ("admin", CloudInterface::Admin),
        ("adminURL", CloudInterface::Admin),
    ];
    let interface = check.word(&at("interface"), &raw.interface, &words);
    let region = check.string(&at("region_name"), &raw.region_name);
    let ca = check.file(&at("cafile"), &raw.cafile);
    let insecure = check.value(&at("insecure"), &raw.insecure, truth, TRUTH);
    let timeout = check.value(&at("timeout"), &raw.timeout, duration, DURATION);
    if insecure? == Some(true) {
        let what = "`insecure` is set, and this agent sends no password to an unverified server";
        check.fault(&at("insecure"), what, "set cafile to the authority of the certificates");
        return None;
    }
    Some(Some(CloudSpec {
        auth_url: auth_url?,
        identity: identity?,
        region: region?,
        interface: interface?.unwrap_or_default(),
        ca: ca?,
        compute,
        timeout: timeout?.unwrap_or(Duration::from_secs(30)),
    }))
}

/// A URL of HTTP without user and query.
fn web_url(check: &mut Check<'_>, pointer: &str, key: &str, text: String) -> Option<String> {
    let good = text.len() <= Bound::UrlBytes.size()
        && ::url::Url::parse(&text).is_ok_and(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
    if good {
        return Some(text);
    }
    // It may hold a password, so it is not shown.
    let what = format!("`{key}` is no URL of HTTP without user, query and fragment");
    check.fault(&format!("{pointer}/{key}"), what, "write it like https://keystone:5000/v3");
    None
}

fn identity(check: &mut Check<'_>, pointer: &str, raw: &RawCredentials) -> Option<CloudIdentity> {
    let at = |key: &str| format!("{pointer}/{key}");
    let words = [
        ("password", "password"),
        ("v3password", "password"),
        ("v3applicationcredential", "credential"),
        ("token", "token"),
        ("v3token", "token"),
    ];
    let kind = check.word(&at("auth_type"), &raw.auth_type, &words);
    let password = check.secret(&at("password"), &raw.password, &raw.password_file);
    let (secret, file) =
        (&raw.application_credential_secret, &raw.application_credential_secret_file);
    let secret = check.secret(&at("application_credential_secret"), secret, file);
    let token = check.secret(&at("token"), &raw.token, &raw.token_file);
    let user = named(check, pointer, ["user_id", "username", "user_domain"], &raw.user());
    let keys = ["project_id", "project_name", "project_domain"];
    let project = named(check, pointer, keys, &raw.project());
    let id = check.string(&at("application_credential_id"), &raw.application_credential_id);
    let name = check.string(&at("application_credential_name"), &raw.application_credential_name);
    let (kind, user, project) = (kind?.unwrap_or("password"), user?, project?);
    let (password, secret, token, id, name) = (password?, secret?, token?, id?, name?);
    let mut missing = |key: &str| {
        let what = format!("`auth_type` {kind} needs `{key}`");
        check.fault(pointer, what, format!("set {}.{key}", pointer[1..].replace('/', ".")));
        None
    };
    match kind {
        "credential" => {
            let credential = match (id, name, user) {
                (Some(id), _, _) => CredentialKey::Id(id),
                (None, Some(name), Some(user)) => CredentialKey::Of { name, user },
                (None, Some(_), None) => return missing("username"),
                (None, None, _) => return missing("application_credential_id"),
            };
            let Some(secret) = secret else { return missing("application_credential_secret") };
            let secret = Secret::new(secret);
            Some(CloudIdentity::ApplicationCredential { credential, secret })
        }
        "token" => match token {
            Some(token) => Some(CloudIdentity::Token { token: Secret::new(token), project }),
            None => missing("token"),
        },
        _ => match (user, password, project) {
            (Some(user), Some(password), Some(project)) => {
                Some(CloudIdentity::Password { user, password: Secret::new(password), project })
            }
            (None, _, _) => missing("username"),
            (_, None, _) => missing("password"),
            (_, _, None) => missing("project_name"),
        },
    }
}

/// A user or a project, by id or by name and domain; the default domain is `default`.
fn named(
    check: &mut Check<'_>,
    pointer: &str,
    [id_key, name_key, domain_key]: [&str; 3],
    [id, name, domain_id, domain_name]: &[&Field<Scalar>; 4],
) -> Option<Option<CloudName>> {
    let at = |key: &str| format!("{pointer}/{key}");
    let id = check.string(&at(id_key), id);
    let name = check.string(&at(name_key), name);
    let domain_id = check.string(&at(&format!("{domain_key}_id")), domain_id);
    let domain_name = check.string(&at(&format!("{domain_key}_name")), domain_name);
    let domain = match (domain_id?, domain_name?) {
        (Some(id), _) => CloudDomain::Id(id),
        (None, Some(name)) => CloudDomain::Name(name),
        (None, None) => CloudDomain::Id("default".to_owned()),
    };
    Some(match (id?, name?) {
        (Some(id), _) => Some(CloudName::Id(id)),
        (None, Some(name)) => Some(CloudName::Name { name, domain }),
        (None, None) => None,
    })
}
