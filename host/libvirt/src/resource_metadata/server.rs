//! What Nova's API adds to a domain: its owner and flavor, and the metadata of the server.

use serde_json::{Map, Value, json};

use nephometer_config::{DiscoveryMethod, DiscoverySpec, ReservedMetadata};
use nephometer_model::{Domain, Flavor, Nova, Release, Server};

/// The domain with what Nova's API knows better than its XML.
pub(super) fn overlay(domain: &Domain, server: &Server, spec: &DiscoverySpec) -> Domain {
    let mut domain = domain.clone();
    let before = domain.nova.take();
    // Part of the ids of network interfaces. They differ where `instance_name_template` changed.
    if let (DiscoveryMethod::Naive, Some(name)) = (spec.method, server.instance_name.as_str()) {
        name.clone_into(&mut domain.name);
    }
    domain.nova = match (spec.method, before) {
        (DiscoveryMethod::LibvirtMetadata, before) => {
            before.map(|nova| with_flavor_id(nova, server))
        }
        // Nova's list has no sizes, which are those of the XML.
        (DiscoveryMethod::Merged, before) => before.map(|nova| {
            let nova = owned(with_flavor_id(nova, server), server);
            Nova { name: server.name.clone(), ..nova }
        }),
        (DiscoveryMethod::Naive, before) => Some(of_server(server, before.as_ref())),
    };
    domain
}

/// What Nova's API says, and the names of the owner if the XML has the same owner.
fn of_server(server: &Server, before: Option<&Nova>) -> Nova {
    let user = before.filter(|nova| nova.user_id == server.user_id);
    let project = before.filter(|nova| nova.project_id == server.project_id);
    Nova {
        name: server.name.clone(),
        flavor: flavor(server),
        image: image_id(server).and_then(|id| id.as_str().map(str::to_owned)),
        image_meta: None,
        user_id: server.user_id.clone(),
        project_id: server.project_id.clone(),
        user_name: user.and_then(|nova| nova.user_name.clone()),
        project_name: project.and_then(|nova| nova.project_name.clone()),
    }
}

/// The owner of the server. Names in the XML are those of the owner there.
fn owned(nova: Nova, server: &Server) -> Nova {
    let same_user = nova.user_id == server.user_id || nova.user_id.is_empty();
    let same_project = nova.project_id == server.project_id || nova.project_id.is_empty();
    Nova {
        user_name: nova.user_name.filter(|_| same_user),
        project_name: nova.project_name.filter(|_| same_project),
        user_id: server.user_id.clone(),
        project_id: server.project_id.clone(),
        ..nova
    }
}

fn with_flavor_id(nova: Nova, server: &Server) -> Nova {
    let listed = server.flavor.get("id").and_then(Value::as_str).map(str::to_owned);
    let id = nova.flavor.id.clone().or(listed);
    Nova { flavor: Flavor { id, ..nova.flavor }, ..nova }
}

fn flavor(server: &Server) -> Flavor {
    let number = |key: &str| server.flavor.get(key).and_then(Value::as_i64).unwrap_or_default();
    let text = |key: &str| server.flavor.get(key).and_then(Value::as_str).map(str::to_owned);
    Flavor {
        id: text("id"),
        name: text("name").unwrap_or_default(),
        vcpus: number("vcpus"),
        ram: number("ram"),
        disk: number("disk"),
        ephemeral: number("ephemeral"),
        swap: 0,
        extra_specs: None,
    }
}

fn image_id(server: &Server) -> Option<&Value> {
    server.image.as_ref()?.get("id")
}

/// The metadata of a server as Ceilometer has them with `naive`: all of them are Nova's.
pub(super) fn naive_metadata(server: &Server, release: Release) -> Map<String, Value> {
    let current = release == Release::Current;
    let mut metadata = Map::new();
    let mut put = |key: &str, value: Value| {
        metadata.insert(key.to_owned(), value);
    };
    let of_flavor = |key: &str| server.flavor.get(key).cloned().unwrap_or_default();
    put("display_name", json!(server.name));
    put("name", server.instance_name.clone());
    put("instance_id", json!(server.uuid.to_string()));
    put("instance_type", of_flavor("name"));
    put("host", json!(server.host_id));
    if release != Release::Liberty {
        put("instance_host", server.host.clone());
    }
    put("flavor", Value::Object(server.flavor.clone()));
    put("status", json!(server.status.to_lowercase()));
    put("state", server.vm_state.clone());
    if release != Release::Liberty {
        put("task_state", server.task_state.clone());
    }
    put("image", server.image.clone().map_or(Value::Null, Value::Object));
    put("image_ref", image_id(server).cloned().unwrap_or_default());
    let links = server.image.as_ref().and_then(|image| image.get("links"));
    put("image_ref_url", links.map_or(Value::Null, |links| links[0]["href"].clone()));
    // Since Ceilometer 25.
    if current && !server.image_meta.is_empty() {
        put("image_meta", Value::Object(server.image_meta.clone()));
    }
    put("OS-EXT-AZ:availability_zone", server.availability_zone.clone());
    let [kernel, ramdisk] = server.boot.clone();
    put("kernel_id", kernel);
    put("ramdisk_id", ramdisk);
    for (key, from) in [
        ("vcpus", "vcpus"),
        ("memory_mb", "ram"),
        ("disk_gb", "disk"),
        ("ephemeral_gb", "ephemeral"),
    ] {
        put(key, of_flavor(from));
    }
    let sizes = flavor(server);
    put("root_gb", json!(sizes.disk.saturating_sub(sizes.ephemeral)));
    metadata
}

/// Adds `user_metadata`: reserved metadata of the server, as Ceilometer chooses and cuts them, and
/// the name of its group.
pub(super) fn add_user_metadata(
    server: &Server,
    spec: &DiscoverySpec,
    metadata: &mut Map<String, Value>,
) {
    let wanted = spec.method != DiscoveryMethod::LibvirtMetadata || spec.fetch_extra_metadata;
    let mut user = match wanted {
        true => reserved(&server.metadata, &spec.reserved, metadata),
        false => Map::new(),
    };
    // A key of the owner's own wins, as it is what Ceilometer knows.
    if let Some(group) = &server.group
        && !user.contains_key("server_group")
    {
        user.insert("server_group".to_owned(), json!(group));
    }
    if !user.is_empty() {
        metadata.insert("user_metadata".to_owned(), Value::Object(user));
    }
}

fn reserved(
    given: &Map<String, Value>,
    reserved: &ReservedMetadata,
    taken: &Map<String, Value>,
) -> Map<String, Value> {
    let mut user = Map::new();
    let mut add = |key: &str, value: &Value| {
        let key = key.replace('.', "_");
        if taken.contains_key(&key) {
            return;
        }
        let value = match value {
            Value::String(text) => text.chars().take(reserved.length).collect::<String>().into(),
            other => other.clone(),
        };
        user.insert(key, value);
    };
    for prefix in &reserved.namespaces {
        for (key, value) in given {
            if let Some(rest) = key.strip_prefix(prefix.as_str()) {
                add(rest, value);
            }
        }
    }
    for wanted in &reserved.keys {
        if let Some(value) = given.get(wanted) {
            add(wanted, value);
        }
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value} is not an object") };
        map
    }

    /// Case 53 of Ceilometer's own tests, and what its code does beside.
    #[test]
    fn user_metadata_are_chosen_and_cut_as_in_ceilometer() {
        let server = Server {
            metadata: object(json!({
                "metering.autoscale.group": "X".repeat(512), "metering.ephemeral_gb": 42,
                "AWS.a": "ä".repeat(300), "AWS.b": "other", "metering.stack": "s", "other": "o",
            })),
            group: Some("web".to_owned()),
            ..Server::default()
        };
        let mut spec = DiscoverySpec { method: DiscoveryMethod::Naive, ..DiscoverySpec::default() };
        spec.reserved.keys = vec!["AWS.a".to_owned(), "missing".to_owned()];
        let mut metadata = object(json!({"ephemeral_gb": 0}));
        add_user_metadata(&server, &spec, &mut metadata);
        assert_eq!(
            metadata["user_metadata"],
            json!({"autoscale_group": "X".repeat(256), "stack": "s", "AWS_a": "ä".repeat(256),
                "server_group": "web"})
        );
        // Without permission to use metadata only the group is left.
        spec.method = DiscoveryMethod::LibvirtMetadata;
        let mut metadata = Map::new();
        add_user_metadata(&server, &spec, &mut metadata);
        assert_eq!(metadata["user_metadata"], json!({"server_group": "web"}));
        let server = Server { group: None, ..server };
        let mut metadata = Map::new();
        add_user_metadata(&server, &spec, &mut metadata);
        assert!(metadata.is_empty());
    }

    #[test]
    fn names_of_the_xml_stay_with_their_owner() {
        let nova = Nova {
            name: "old".to_owned(),
            user_id: "u".to_owned(),
            project_id: "p".to_owned(),
            user_name: Some("alice".to_owned()),
            project_name: Some("metering".to_owned()),
            flavor: flavor(&Server::default()),
            image: None,
            image_meta: None,
        };
        let domain = Domain { nova: Some(nova), ..Domain::default() };
        let server = Server {
            name: "new".to_owned(),
            user_id: "u".to_owned(),
            project_id: "other".to_owned(),
            flavor: object(json!({"id": "7"})),
            instance_name: json!("instance-7"),
            ..Server::default()
        };
        for method in [DiscoveryMethod::Merged, DiscoveryMethod::Naive] {
            let spec = DiscoverySpec { method, ..DiscoverySpec::default() };
            let nova = overlay(&domain, &server, &spec).nova.unwrap();
            assert_eq!((&*nova.name, &*nova.project_id), ("new", "other"));
            assert_eq!((nova.user_name.as_deref(), nova.project_name), (Some("alice"), None));
            assert_eq!(nova.flavor.id.as_deref(), Some("7"));
        }
        // The XML may lack Nova's metadata, though Nova lists the domain.
        let spec = DiscoverySpec { method: DiscoveryMethod::Naive, ..DiscoverySpec::default() };
        let described = overlay(&Domain::default(), &server, &spec);
        assert_eq!(described.name, "instance-7");
        let nova = described.nova.unwrap();
        assert_eq!((&*nova.name, &*nova.project_id, nova.project_name), ("new", "other", None));
        assert!(overlay(&Domain::default(), &server, &DiscoverySpec::default()).nova.is_none());
        let extra = overlay(&domain, &server, &DiscoverySpec::default()).nova.unwrap();
        assert_eq!((&*extra.name, &*extra.project_id), ("old", "p"));
        assert_eq!(extra.flavor.id.as_deref(), Some("7"));
    }
}
