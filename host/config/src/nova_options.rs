//! The options of `ceilometer.conf` about Nova's API and its credentials, as keys of
//! `nephometer.yaml`.

use super::error::Report;
use super::oslo::{DEFAULT, OsloFile, OsloOption};
use super::rabbit::Key;

/// The section with credentials.
pub(super) const CREDENTIALS: &str = "service_credentials";

/// Section, option, and the key that it sets.
const OPTIONS: [(&str, &str, &[&str]); 9] = [
    ("compute", "instance_discovery_method", &["discovery", "method"]),
    ("compute", "fetch_extra_metadata", &["discovery", "fetch_extra_metadata"]),
    ("compute", "resource_update_interval", &["discovery", "refresh"]),
    ("compute", "resource_cache_expiry", &["discovery", "full_refresh"]),
    ("polling", "identity_name_discovery", &["discovery", "identity_name_discovery"]),
    // Its earlier name.
    ("polling", "tenant_name_discovery", &["discovery", "identity_name_discovery"]),
    (DEFAULT, "reserved_metadata_namespace", &["discovery", "reserved_metadata_namespace"]),
    (DEFAULT, "reserved_metadata_keys", &["discovery", "reserved_metadata_keys"]),
    (DEFAULT, "reserved_metadata_length", &["discovery", "reserved_metadata_length"]),
];

/// Those of them that need Nova.
const NEED_NOVA: [&str; 4] = ["method", "fetch_extra_metadata", "refresh", "full_refresh"];

/// The names that keystoneauth and old releases of Ceilometer have for a key of
/// `service_credentials`.
const NAMES: [(&[&str], &[&str]); 24] = [
    (&["auth_url", "os_auth_url"], &[CREDENTIALS, "auth_url"]),
    (&["auth_type", "auth_plugin"], &[CREDENTIALS, "auth_type"]),
    (&["username", "user_name", "os_username"], &[CREDENTIALS, "username"]),
    (&["user_id"], &[CREDENTIALS, "user_id"]),
    (&["user_domain_name"], &[CREDENTIALS, "user_domain_name"]),
    (&["user_domain_id"], &[CREDENTIALS, "user_domain_id"]),
    (&["password", "os_password"], &[CREDENTIALS, "password"]),
    (&["project_name", "tenant_name", "os_tenant_name"], &[CREDENTIALS, "project_name"]),
    (&["project_id", "tenant_id", "os_tenant_id"], &[CREDENTIALS, "project_id"]),
    (&["project_domain_name"], &[CREDENTIALS, "project_domain_name"]),
    (&["project_domain_id"], &[CREDENTIALS, "project_domain_id"]),
    (&["default_domain_id"], &[CREDENTIALS, "user_domain_id"]),
    (&["default_domain_id"], &[CREDENTIALS, "project_domain_id"]),
    (&["default_domain_name"], &[CREDENTIALS, "user_domain_name"]),
    (&["default_domain_name"], &[CREDENTIALS, "project_domain_name"]),
    (&["application_credential_id"], &[CREDENTIALS, "application_credential_id"]),
    (&["application_credential_name"], &[CREDENTIALS, "application_credential_name"]),
    (&["application_credential_secret"], &[CREDENTIALS, "application_credential_secret"]),
    (&["token"], &[CREDENTIALS, "token"]),
    (&["region_name", "os_region_name"], &[CREDENTIALS, "region_name"]),
    (&["interface", "os_endpoint_type"], &[CREDENTIALS, "interface"]),
    (&["cafile", "os_cacert"], &[CREDENTIALS, "cafile"]),
    (&["insecure"], &[CREDENTIALS, "insecure"]),
    (&["timeout"], &[CREDENTIALS, "timeout"]),
];

/// What the options begin with that set the domains which no other option sets.
const DEFAULT_DOMAIN: &str = "default_domain_";

/// Whether [`read`] handles an option.
pub(super) fn handles(option: &OsloOption) -> bool {
    option.section == CREDENTIALS || key_of(option).is_some()
}

/// Reads the options. Without `auth_url` Nova cannot be asked: options that need it are reported.
pub(super) fn read(file: &OsloFile, report: &mut Report) -> Vec<Key> {
    // keystoneauth can take all options from another section.
    let elsewhere = file
        .options()
        .find(|option| option.section == CREDENTIALS && option.key == "auth_section")
        .and_then(|option| file.value(option, report));
    let section = elsewhere.as_deref().unwrap_or(CREDENTIALS);
    let mut keys = credentials(file, section, report);
    let reachable = keys.iter().any(|(path, _, _)| path[1] == "auth_url");
    if !reachable {
        keys.clear();
        if let Some(first) = file.options().find(|option| option.section == CREDENTIALS) {
            let what = "the section [service_credentials] has no effect here";
            report.warn(&file.location(first), what, "no action needed: it has no auth_url");
        }
    }
    for option in file.options() {
        if let Some(path) = key_of(option)
            && let Some(value) = file.value(option, report)
        {
            let needs_nova = NEED_NOVA.contains(&path[1]);
            if !needs_nova || reachable {
                // 0 means in each polling cycle. Here Nova is asked beside polling.
                if value != "0" || !path[1].ends_with("refresh") {
                    keys.push((path, vec![value], origin(file, option)));
                }
            } else {
                unreachable_nova(file, option, &value, report);
            }
        }
    }
    keys
}

fn credentials(file: &OsloFile, section: &str, report: &mut Report) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let options = || file.options().filter(|option| option.section == section);
    let specific: Vec<_> = options()
        .filter(|option| !option.is_empty())
        .map(|option| option.key.replace('-', "_"))
        .filter(|name| !name.starts_with(DEFAULT_DOMAIN))
        .flat_map(|name| paths_of(&name))
        .collect();
    for option in options() {
        let name = option.key.replace('-', "_");
        let mut paths = paths_of(&name);
        if paths.is_empty() {
            if section == CREDENTIALS && name != "auth_section" {
                let what = format!("{} is not understood and has no effect", option.name());
                report.warn(&file.location(option), what, "see docs/openstack.md for what is read");
            }
            continue;
        }
        if option.is_empty() {
            continue;
        }
        if name.starts_with(DEFAULT_DOMAIN) {
            paths.retain(|path| !specific.iter().any(|one| domain(one) == domain(path)));
        }
        if let Some(value) = file.value(option, report) {
            for path in paths {
                keys.push((path, vec![value.clone()], origin(file, option)));
            }
        }
    }
    keys
}

/// The domain that a key names, by id or by name.
fn domain(path: &[&'static str]) -> &'static str {
    path[1].trim_end_matches("_id").trim_end_matches("_name")
}

/// The keys that an option of keystoneauth sets.
fn paths_of(name: &str) -> Vec<&'static [&'static str]> {
    NAMES.iter().filter(|(names, _)| names.contains(&name)).map(|(_, path)| *path).collect()
}

fn key_of(option: &OsloOption) -> Option<&'static [&'static str]> {
    let same =
        |(section, key, _): &&(&str, &str, _)| *section == option.section && *key == option.key;
    OPTIONS.iter().find(same).map(|(_, _, path)| *path)
}

fn origin(file: &OsloFile, option: &OsloOption) -> String {
    let location = file.location(option);
    format!("{}:{}", location.file, location.line)
}

/// Warns about an option that needs Nova, unless its value is what this agent does without.
fn unreachable_nova(file: &OsloFile, option: &OsloOption, value: &str, report: &mut Report) {
    let name = option.name();
    let remedy = "no action needed: Nova is asked only with [service_credentials] auth_url";
    let what = match option.key.as_str() {
        "instance_discovery_method" if value == "libvirt_metadata" => return,
        "fetch_extra_metadata" if ["false", "0", "no", "off"].contains(&&*value.to_lowercase()) => {
            return;
        }
        "instance_discovery_method" => {
            format!("{name} has no effect here; this agent behaves as with libvirt_metadata")
        }
        _ => format!("{name} has no effect here"),
    };
    report.warn(&file.location(option), what, remedy);
}
