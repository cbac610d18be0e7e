//! Where owners and metadata of instances come from, and how OpenStack's APIs are reached.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// `discovery`
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoverySpec {
    /// `discovery.method`
    pub method: DiscoveryMethod,
    /// `discovery.identity_name_discovery`: whether samples have the names of project and user.
    pub identity_names: bool,
    /// `discovery.fetch_extra_metadata`: whether `libvirt_metadata` adds the metadata of servers.
    pub fetch_extra_metadata: bool,
    /// `discovery.server_groups`: whether the server groups of Nova become `server_group`.
    pub server_groups: bool,
    /// Which metadata of servers become `user_metadata`.
    pub reserved: ReservedMetadata,
    /// `discovery.refresh`: time between two questions for changes.
    pub refresh: Duration,
    /// `discovery.full_refresh`: time between two complete lists.
    pub full_refresh: Duration,
    /// `service_credentials`, if Nova is asked.
    pub nova: Option<CloudSpec>,
}

impl DiscoverySpec {
    /// Whether any setting needs Nova's API.
    pub(super) fn asks_nova(&self) -> bool {
        self.method != DiscoveryMethod::LibvirtMetadata
            || self.fetch_extra_metadata
            || self.server_groups
    }
}

impl Default for DiscoverySpec {
    fn default() -> Self {
        Self {
            method: DiscoveryMethod::default(),
            identity_names: true,
            fetch_extra_metadata: false,
            server_groups: false,
            reserved: ReservedMetadata::default(),
            refresh: Duration::from_secs(60),
            full_refresh: Duration::from_secs(3600),
            nova: None,
        }
    }
}

/// `instance_discovery_method` of Ceilometer, and one of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiscoveryMethod {
    /// What Nova wrote into libvirt's metadata.
    #[default]
    LibvirtMetadata,
    /// The servers that Nova's API lists, as `naive` and `workload_partitioning` have them.
    Naive,
    /// State and numbers of libvirt, owner and metadata of Nova's API.
    Merged,
}

/// Which metadata of a server become `user_metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedMetadata {
    /// `discovery.reserved_metadata_namespace`: prefixes, which are removed.
    pub namespaces: Vec<String>,
    /// `discovery.reserved_metadata_keys`: whole keys.
    pub keys: Vec<String>,
    /// `discovery.reserved_metadata_length`: characters of a value that are kept.
    pub length: usize,
}

impl Default for ReservedMetadata {
    fn default() -> Self {
        Self { namespaces: vec!["metering.".to_owned()], keys: Vec::new(), length: 256 }
    }
}

/// `service_credentials`: how Keystone is asked for a token, and where the services are.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudSpec {
    /// `auth_url`, as given: with or without `/v3`.
    pub auth_url: String,
    /// `auth_type` with its options.
    pub identity: CloudIdentity,
    /// `region_name`; `None`: the first one of the catalog.
    pub region: Option<String>,
    /// `interface`
    pub interface: CloudInterface,
    /// `cafile`: authorities to trust instead of those of the system.
    pub ca: Option<PathBuf>,
    /// `compute_endpoint`: Nova's URL, instead of that of the catalog.
    pub compute: Option<String>,
    /// `timeout`: of one request.
    pub timeout: Duration,
}

/// What a token is requested with.
#[derive(Debug, Clone, PartialEq)]
pub enum CloudIdentity {
    /// `password` and `v3password`
    Password {
        /// The user.
        user: CloudName,
        /// The password.
        password: Secret,
        /// The project.
        project: CloudName,
    },
    /// `v3applicationcredential`
    ApplicationCredential {
        /// Which one.
        credential: CredentialKey,
        /// The secret.
        secret: Secret,
    },
    /// `token` and `v3token`
    Token {
        /// The token that the new one is made from.
        token: Secret,
        /// The project; `None`: that of the token.
        project: Option<CloudName>,
    },
}

/// An application credential: its id, or its name and owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialKey {
    /// The id.
    Id(String),
    /// The name, unique for its owner.
    Of {
        /// The name.
        name: String,
        /// The owner.
        user: CloudName,
    },
}

/// The id of a user or project, or its name and domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudName {
    /// The id.
    Id(String),
    /// The name.
    Name {
        /// The name itself.
        name: String,
        /// Its domain.
        domain: CloudDomain,
    },
}

/// A domain of Keystone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudDomain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// Which of the URLs of a service in the catalog is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloudInterface {
    /// `public`
    #[default]
    Public,
    /// `internal`
    Internal,
    /// `admin`
    Admin,
}

impl CloudInterface {
    /// The name in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}
