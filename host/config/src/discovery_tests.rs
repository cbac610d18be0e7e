use std::time::Duration;

use super::tests::lines;
use super::*;

const PIPELINE: &str = "sources: [{name: s, interval: 60, meters: ['*'], sinks: [k]}]\n\
                        sinks: [{name: k, publishers: ['test://']}]\n";

fn origin(name: &str, text: &str) -> Origin {
    Origin::Text { name: name.to_owned(), text: text.to_owned() }
}

/// With `nephometer.yaml` and the text of a `ceilometer.conf`.
fn loaded(yaml: &str, conf: Option<&str>) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let ceilometer = conf.map(|text| {
        let path = folder.path().join("c.conf");
        std::fs::write(&path, text).unwrap();
        path
    });
    let (config, pipeline) = (origin("n.yaml", yaml), origin("p.yaml", PIPELINE));
    load(&Inputs { config, pipeline, ceilometer, ..Inputs::default() })
}

fn discovery(yaml: &str, conf: Option<&str>) -> DiscoverySpec {
    match loaded(yaml, conf) {
        Ok(loaded) => loaded.spec.discovery,
        Err(error) => panic!("{}", lines(&error.problems)),
    }
}

fn faults(yaml: &str) -> String {
    lines(&loaded(yaml, None).unwrap_err().problems)
}

#[test]
fn without_settings_nova_is_not_asked() {
    let spec = discovery("", None);
    assert_eq!(spec, DiscoverySpec::default());
    assert!(!spec.asks_nova() && spec.identity_names);
    assert!(!discovery("compatibility: zed", None).identity_names);
}

#[test]
fn every_kind_of_credentials_is_read() {
    let yaml = |credentials: &str| {
        format!(
            "discovery: {{method: merged}}\nservice_credentials: {{auth_url: 'http://k', {credentials}}}"
        )
    };
    let identity = |credentials: &str| discovery(&yaml(credentials), None).nova.unwrap().identity;
    let default = CloudDomain::Id("default".to_owned());
    let named = |name: &str, domain| CloudName::Name { name: name.to_owned(), domain };
    assert_eq!(
        identity("username: u, user_domain_name: D, password: w, project_name: p"),
        CloudIdentity::Password {
            user: named("u", CloudDomain::Name("D".to_owned())),
            password: Secret::new("w"),
            project: named("p", default.clone()),
        }
    );
    let secret = "auth_type: v3applicationcredential, application_credential_secret: s";
    let key = |more: &str| match identity(&format!("{secret}, {more}")) {
        CloudIdentity::ApplicationCredential { credential, .. } => credential,
        other => panic!("{other:?}"),
    };
    assert_eq!(key("application_credential_id: i"), CredentialKey::Id("i".to_owned()));
    let user = named("u", default);
    let name = "n".to_owned();
    assert_eq!(
        key("application_credential_name: n, username: u"),
        CredentialKey::Of { name, user }
    );
    assert_eq!(
        identity("auth_type: v3token, token: t, project_id: p"),
        CloudIdentity::Token {
            token: Secret::new("t"),
            project: Some(CloudName::Id("p".to_owned())),
        }
    );
}

#[test]
fn faults_of_credentials_have_their_place_and_remedy() {
    assert_eq!(
        faults("discovery: {method: naive}"),
        "n.yaml:1:12: the settings of `discovery` need Nova's API, and `service_credentials` is \
         not set; set service_credentials with auth_url and auth_type\n"
    );
    let credentials = |text: &str| faults(&format!("service_credentials: {text}"));
    for (text, expected) in [
        ("{username: u}", "`service_credentials` has no `auth_url`"),
        ("{auth_url: 'ftp://k', token: t, auth_type: token}", "`auth_url` is no URL of HTTP"),
        ("{auth_url: 'http://u:hunter2@k', token: t, auth_type: token}", "`auth_url` is no URL"),
        ("{auth_url: 'http://k', auth_type: v3kerberos}", "write password, v3password"),
        ("{auth_url: 'http://k'}", "`auth_type` password needs `username`"),
        ("{auth_url: 'http://k', username: u, project_name: p}", "password needs `password`"),
        ("{auth_url: 'http://k', auth_type: v3token}", "`auth_type` token needs `token`"),
        (
            "{auth_url: 'http://k', auth_type: v3applicationcredential, application_credential_name: n}",
            "credential needs `username`",
        ),
        ("{auth_url: 'http://k', auth_type: token, token: t, insecure: true}", "set cafile"),
        ("{auth_url: 'http://k', auth_type: token, token: t, cafile: /nowhere}", "/nowhere"),
        ("{auth_url: 'http://k', auth_type: token, token: t, interface: inner}", "`interface` is"),
        ("{auth_url: 'http://k', usrname: hunter2}", "did you mean `username`?"),
    ] {
        let found = credentials(text);
        assert!(found.contains(expected) && found.starts_with("n.yaml:1:"), "{text}: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let many = vec!["'x'"; 101].join(", ");
    let found = faults(&format!("discovery: {{reserved_metadata_keys: [{many}]}}"));
    assert!(found.contains("(reserved_metadata)"), "{found}");
}

#[test]
fn a_ceilometer_conf_of_any_age_has_its_credentials() {
    let conf = "[DEFAULT]\nreserved_metadata_namespace = metering., billing.\n\
        reserved_metadata_length = 10\nreserved_metadata_keys = a,b\n\
        [compute]\ninstance_discovery_method = workload_partitioning\n\
        resource_update_interval = 0\nresource_cache_expiry = 1800\n\
        [polling]\nidentity_name_discovery = False\n\
        [service_credentials]\nos_auth_url = http://k:5000/v2.0\nos_username = u\n\
        os_password = hunter2\nos_tenant_name = service\nos_region_name = R\n\
        os_endpoint_type = internalURL\n";
    let spec = discovery("", Some(conf));
    assert_eq!(spec.method, DiscoveryMethod::Naive);
    assert_eq!(
        (spec.refresh, spec.full_refresh),
        (Duration::from_secs(60), Duration::from_secs(1800))
    );
    assert_eq!(spec.reserved.namespaces, ["metering.", "billing."]);
    assert_eq!((spec.reserved.keys.len(), spec.reserved.length), (2, 10));
    assert!(!spec.identity_names);
    let nova = spec.nova.unwrap();
    assert_eq!((nova.region.as_deref(), nova.interface), (Some("R"), CloudInterface::Internal));
    assert!(matches!(nova.identity, CloudIdentity::Password { .. }));
    // What nephometer.yaml sets wins.
    assert_eq!(
        discovery("discovery: {method: merged}", Some(conf)).method,
        DiscoveryMethod::Merged
    );
    // Regression: `default_domain_name` had no effect.
    let domains = |more: &str| {
        let conf = format!(
            "[polling]\ntenant_name_discovery = no\n[compute]\nfetch_extra_metadata = yes\n\
             [service_credentials]\nauth_url = http://k\n\
             username = u\npassword = hunter2\nproject_name = p\n{more}"
        );
        let spec = discovery("", Some(&conf));
        assert!(!spec.identity_names);
        format!("{:?}", spec.nova.unwrap().identity)
    };
    let default = domains("default_domain_name = Site\n");
    assert_eq!(default.matches("Name(\"Site\")").count(), 2, "{default}");
    let mixed = domains("user_domain_name = Users\ndefault_domain_id = site\n");
    assert!(mixed.contains("Name(\"Users\")") && mixed.contains("Id(\"site\")"), "{mixed}");
    // Another section of keystoneauth.
    let section = "[compute]\nfetch_extra_metadata = yes\n[service_credentials]\nauth_section = k\n\
        [k]\nauth_type = v3token\nauth_url = http://k\ntoken = t\n";
    let spec = discovery("", Some(section));
    assert!(spec.fetch_extra_metadata && spec.nova.is_some());
}

// A file for another service, such as Gnocchi's basic authentication, must not keep the agent from
// starting.
#[test]
fn credentials_that_are_not_needed_are_not_checked() {
    let conf = "[service_credentials]\nauth_type = gnocchi-basic\nuser = admin\n\
                auth_url = http://k\nendpoint = http://g\n";
    assert_eq!(discovery("", Some(conf)).nova, None);
    let conf = "[compute]\nfetch_extra_metadata = true\n[service_credentials]\npassword = p\n";
    let loaded = loaded("", Some(conf)).unwrap();
    let warnings = lines(&loaded.warnings);
    assert!(warnings.contains("[service_credentials] has no effect here"), "{warnings}");
    assert!(warnings.contains("[compute] fetch_extra_metadata has no effect here"), "{warnings}");
    assert_eq!(loaded.spec.discovery, DiscoverySpec::default());
}
