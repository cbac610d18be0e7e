//! `service_credentials` as components get them: under the names of keystoneauth, with the grant of
//! Keystone's address.

use serde_json::{Map, Value};

use super::check::Host;
use super::component_spec::SecretOptions;
use super::discovery::{CloudDomain, CloudIdentity, CloudName, CloudSpec, CredentialKey};
use super::error::Report;
use super::grant::{ConnectTarget, Grant};
use super::spec::{PipelineSpec, PublisherTarget};

impl CloudSpec {
    /// The credentials as options of a component.
    pub fn options(&self) -> SecretOptions {
        let mut options = Map::new();
        let mut set = |key: &str, value: &str| {
            options.insert(key.to_owned(), Value::from(value));
        };
        set("auth_url", &self.auth_url);
        set("interface", self.interface.as_str());
        if let Some(region) = &self.region {
            set("region_name", region);
        }
        match &self.identity {
            CloudIdentity::Password { user, password, project } => {
                set("auth_type", "password");
                set("password", password.reveal());
                named(&mut set, ["user", "username"], user);
                named(&mut set, ["project", "project_name"], project);
            }
            CloudIdentity::ApplicationCredential { credential, secret } => {
                set("auth_type", "v3applicationcredential");
                set("application_credential_secret", secret.reveal());
                match credential {
                    CredentialKey::Id(id) => set("application_credential_id", id),
                    CredentialKey::Of { name, user } => {
                        set("application_credential_name", name);
                        named(&mut set, ["user", "username"], user);
                    }
                }
            }
            CloudIdentity::Token { token, project } => {
                set("auth_type", "v3token");
                set("token", token.reveal());
                if let Some(project) = project {
                    named(&mut set, ["project", "project_name"], project);
                }
            }
        }
        SecretOptions::new(options)
    }

    /// The grant of Keystone's address, which `auth_url` names.
    pub fn keystone(&self) -> Option<Grant> {
        Grant::of_url(&self.auth_url)
    }
}

fn named(set: &mut impl FnMut(&str, &str), [kind, name_key]: [&str; 2], name: &CloudName) {
    match name {
        CloudName::Id(id) => set(&format!("{kind}_id"), id),
        CloudName::Name { name, domain } => {
            set(name_key, name);
            match domain {
                CloudDomain::Id(id) => set(&format!("{kind}_domain_id"), id),
                CloudDomain::Name(name) => set(&format!("{kind}_domain_name"), name),
            }
        }
    }
}

impl Grant {
    /// The grant of the host and port of a URL of HTTP.
    pub fn of_url(url: &str) -> Option<Self> {
        let url = ::url::Url::parse(url).ok()?;
        let port = url.port_or_known_default()?;
        Some(Self { to: ConnectTarget::host(url.host_str()?)?, port })
    }
}

/// Reports credentials that cannot be used, if a publisher of the pipeline gets them by default.
pub(super) fn check(host: &Host, pipeline: &PipelineSpec, report: &mut Report) {
    let publishers = pipeline.sinks.iter().flat_map(|sink| &sink.publishers);
    let mut used = publishers.filter_map(|publisher| match &publisher.target {
        PublisherTarget::Component(url) => Some(&url.name),
        _ => None,
    });
    let given = &host.credentials.given_by_default;
    if used.any(|name| given.iter().any(|one| **one == **name)) {
        host.credentials.report(report);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Inputs, Origin, load};

    const CREDENTIALS: &str = "auth_url: 'https://keystone.lan/identity', username: ceilometer, \
                               password: hunter2, project_id: p";

    fn text(name: &str, text: &str) -> Origin {
        Origin::Text { name: name.to_owned(), text: text.to_owned() }
    }

    fn load_with(host: &str) -> Result<crate::AgentSpec, String> {
        let inputs = Inputs {
            config: text("n.yaml", host),
            pipeline: text(
                "p.yaml",
                "sources: [{name: s, meters: ['*'], sinks: [k]}]\n\
                 sinks: [{name: k, publishers: ['test://']}]\n",
            ),
            hostname: "h".to_owned(),
            ..Inputs::default()
        };
        load(&inputs).map(|loaded| loaded.spec).map_err(|error| error.to_string())
    }

    #[test]
    fn gnocchi_gets_the_credentials_by_default_and_others_by_a_grant() {
        let spec = load_with(&format!(
            "service_credentials: {{{CREDENTIALS}}}\n\
             components: {{by_name: {{own: {{grants: {{service_credentials: true}}}}, other: {{}}}}}}\n"
        ))
        .unwrap();
        assert!(!format!("{spec:?}").contains("hunter2"));
        let by_name = &spec.components.by_name;
        assert!(by_name["other"].cloud.is_none());
        for name in ["gnocchi", "own"] {
            let cloud = by_name[name].cloud.as_ref().unwrap();
            let options = cloud.options();
            assert!(!format!("{options:?}").contains("hunter2"));
            let options = options.reveal();
            for (key, value) in [
                ("auth_type", "password"),
                ("auth_url", "https://keystone.lan/identity"),
                ("password", "hunter2"),
                ("user_domain_id", "default"),
                ("username", "ceilometer"),
                ("project_id", "p"),
                ("interface", "public"),
            ] {
                assert_eq!(options[key], value);
            }
            assert_eq!(options.len(), 7);
            assert_eq!(cloud.keystone().unwrap().to_string(), "keystone.lan:443");
        }
    }

    #[test]
    fn a_component_with_credentials_of_its_own_keeps_them() {
        let own = "components: {by_name: {gnocchi: {options: {auth_type: gnocchi-basic}}}}\n";
        let refused = "components: {by_name: {gnocchi: {grants: {service_credentials: false}}}}\n";
        for components in [own, refused] {
            let host = format!("service_credentials: {{{CREDENTIALS}}}\n{components}");
            assert!(load_with(&host).unwrap().components.by_name["gnocchi"].cloud.is_none());
        }
        assert!(load_with("").unwrap().components.by_name.is_empty());
    }

    #[test]
    fn a_grant_of_nothing_is_a_problem() {
        let granted = "components: {by_name: {own: {grants: {service_credentials: true}}}}\n";
        let error = load_with(granted).unwrap_err();
        assert!(error.starts_with("n.yaml:1:60: `service_credentials` is not set"), "{error}");
        let error = load_with(&format!(
            "{granted}service_credentials: {{{CREDENTIALS}, insecure: true}}\n"
        ))
        .unwrap_err();
        assert!(error.contains("n.yaml:2:"), "{error}");
    }

    // Credentials that only a ceilometer.conf has matter only to those who use them.
    #[test]
    fn problems_of_credentials_are_reported_where_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gnocchi.wasm"), "").unwrap();
        let conf = folder.path().join("ceilometer.conf");
        let text_of_conf =
            "[service_credentials]\nauth_url = http://k:5000\nauth_type = v3kerberos\n";
        std::fs::write(&conf, text_of_conf).unwrap();
        let with = |publisher: &str| {
            let pipeline = format!(
                "sources: [{{name: s, meters: ['*'], sinks: [k]}}]\n\
                 sinks: [{{name: k, publishers: ['{publisher}']}}]\n"
            );
            let inputs = Inputs {
                config: text("n.yaml", ""),
                pipeline: text("p.yaml", &pipeline),
                ceilometer: Some(conf.clone()),
                components: vec![folder.path().to_owned()],
                hostname: "h".to_owned(),
                ..Inputs::default()
            };
            load(&inputs).map(|_| ()).map_err(|error| error.to_string())
        };
        with("test://").unwrap();
        let error = with("gnocchi://").unwrap_err();
        assert!(error.contains("`auth_type` is \"v3kerberos\""), "{error}");
    }
}
