//! The keys of `nephometer.yaml` about Keystone and Nova.

use super::KeyDefault::{Depends, Nothing, Value};
use super::ValueShape::{AnyText, Path, Text, Time, Truth, Url, Whole, Word};
use super::{COMMAS, KeyTable, closed, key};

/// `discovery`
pub(crate) const DISCOVERY: KeyTable = closed(
    "Owners and metadata of instances; [openstack.md](../openstack.md).",
    &[
        key(
            "method",
            Word(&["libvirt_metadata", "naive", "workload_partitioning", "merged"]),
            Value("libvirt_metadata"),
            "libvirt_metadata: what Nova wrote into libvirt's metadata. merged: state and numbers of \
             libvirt, owner and metadata of Nova's API. naive and workload_partitioning: all metadata of \
             Nova's API. All but the first need service_credentials.",
        ),
        key(
            "identity_name_discovery",
            Truth,
            Depends("`true` with compatibility current"),
            "Put the names of project and user into samples, from libvirt's metadata.",
        ),
        key(
            "fetch_extra_metadata",
            Truth,
            Value("false"),
            "With libvirt_metadata: add the metadata of servers from Nova's API.",
        ),
        key(
            "server_groups",
            Truth,
            Value("false"),
            "Add the name of Nova's server group to user_metadata.",
        ),
        key(
            "reserved_metadata_namespace",
            COMMAS,
            Value("[metering.]"),
            "Metadata of servers that become user_metadata: by prefix, which is removed.",
        ),
        key("reserved_metadata_keys", COMMAS, Value("[]"), "The same by whole key."),
        key(
            "reserved_metadata_length",
            Whole(0, 65_536),
            Value("256"),
            "Characters of a value that are kept.",
        ),
        key("refresh", Time, Value("60s"), "Time between two questions for changes."),
        key("full_refresh", Time, Value("1h"), "Time between two complete lists."),
    ],
);

/// `service_credentials`
pub(crate) const CREDENTIALS: KeyTable = closed(
    "How to reach Keystone, for settings of discovery that need Nova's API.",
    &[
        key("auth_url", Url, Nothing, "Keystone's URL; required if there are credentials."),
        key(
            "auth_type",
            Word(&["password", "v3password", "v3applicationcredential", "token", "v3token"]),
            Value("password"),
            "The kind of credentials.",
        ),
        key("username", Text, Nothing, "The user, by name."),
        key("user_id", Text, Nothing, "The user, by id."),
        key("user_domain_name", Text, Nothing, "The domain of the user, by name."),
        key("user_domain_id", Text, Depends("`default`"), "The domain of the user, by id."),
        key("password", AnyText, Nothing, "The password.").secret(),
        key("password_file", Path, Nothing, "A file that contains it."),
        key("project_name", Text, Nothing, "The project, by name."),
        key("project_id", Text, Nothing, "The project, by id."),
        key("project_domain_name", Text, Nothing, "The domain of the project, by name."),
        key("project_domain_id", Text, Depends("`default`"), "The domain of the project, by id."),
        key("application_credential_id", Text, Nothing, "The application credential, by id."),
        key("application_credential_name", Text, Nothing, "The same by name, with the user."),
        key("application_credential_secret", AnyText, Nothing, "Its secret.").secret(),
        key("application_credential_secret_file", Path, Nothing, "A file that contains it."),
        key("token", AnyText, Nothing, "The token, with auth_type token.").secret(),
        key("token_file", Path, Nothing, "A file that contains it."),
        key("region_name", Text, Nothing, "The region, if the catalog has several."),
        key(
            "interface",
            Word(&["public", "publicURL", "internal", "internalURL", "admin", "adminURL"]),
            Value("public"),
            "Endpoints in the catalog.",
        ),
        key("cafile", Path, Nothing, "Authorities to trust instead of those of the system."),
        key(
            "insecure",
            Truth,
            Value("false"),
            "Refused if it is true: no password is sent to an unverified server.",
        ),
        key("compute_endpoint", Url, Nothing, "Nova's URL instead of that of the catalog."),
        key("timeout", Time, Value("30s"), "Limit of one request."),
    ],
);
