//! Images, in the form that Ceilometer gets them from openstacksdk.
//!
//! Its `image_meta` are the attributes of openstacksdk's class `Image`: their names and order, their
//! values as texts of Python, properties without an attribute in one text, and where the library was
//! connected to. Receivers have seen nothing else.

use serde_json::{Map, Value};

use crate::error::CloudError;
use crate::http::HttpClient;
use crate::keystone::Keystone;
use crate::nova::{Api, Path, bounded};
use nephometer_wire::Notation;

/// Name of the attribute and of the key in Glance's API, in openstacksdk's order.
const ATTRIBUTES: [(&str, &str); 60] = [
    ("checksum", "checksum"),
    ("container_format", "container_format"),
    ("created_at", "created_at"),
    ("disk_format", "disk_format"),
    ("is_hidden", "os_hidden"),
    ("is_protected", "protected"),
    ("hash_algo", "os_hash_algo"),
    ("hash_value", "os_hash_value"),
    ("min_disk", "min_disk"),
    ("min_ram", "min_ram"),
    ("owner", "owner"),
    ("owner_id", "owner"),
    ("properties", "properties"),
    ("size", "size"),
    ("store", "store"),
    ("status", "status"),
    ("updated_at", "updated_at"),
    ("virtual_size", "virtual_size"),
    ("visibility", "visibility"),
    ("file", "file"),
    ("locations", "locations"),
    ("direct_url", "direct_url"),
    ("url", "url"),
    ("architecture", "architecture"),
    ("hypervisor_type", "hypervisor_type"),
    ("instance_type_rxtx_factor", "instance_type_rxtx_factor"),
    ("instance_uuid", "instance_uuid"),
    ("needs_config_drive", "img_config_drive"),
    ("kernel_id", "kernel_id"),
    ("os_distro", "os_distro"),
    ("os_version", "os_version"),
    ("needs_secure_boot", "os_secure_boot"),
    ("os_shutdown_timeout", "os_shutdown_timeout"),
    ("ramdisk_id", "ramdisk_id"),
    ("vm_mode", "vm_mode"),
    ("hw_cpu_sockets", "hw_cpu_sockets"),
    ("hw_cpu_cores", "hw_cpu_cores"),
    ("hw_cpu_threads", "hw_cpu_threads"),
    ("hw_disk_bus", "hw_disk_bus"),
    ("hw_cpu_policy", "hw_cpu_policy"),
    ("hw_cpu_thread_policy", "hw_cpu_thread_policy"),
    ("hw_rng_model", "hw_rng_model"),
    ("hw_machine_type", "hw_machine_type"),
    ("hw_scsi_model", "hw_scsi_model"),
    ("hw_serial_port_count", "hw_serial_port_count"),
    ("hw_video_model", "hw_video_model"),
    ("hw_video_ram", "hw_video_ram"),
    ("hw_watchdog_action", "hw_watchdog_action"),
    ("os_command_line", "os_command_line"),
    ("hw_vif_model", "hw_vif_model"),
    ("is_hw_vif_multiqueue_enabled", "hw_vif_multiqueue_enabled"),
    ("is_hw_boot_menu_enabled", "hw_boot_menu"),
    ("vmware_adaptertype", "vmware_adaptertype"),
    ("vmware_ostype", "vmware_ostype"),
    ("has_auto_disk_config", "auto_disk_config"),
    ("os_type", "os_type"),
    ("os_admin_user", "os_admin_user"),
    ("hw_qemu_guest_agent", "hw_qemu_guest_agent"),
    ("os_require_quiesce", "os_require_quiesce"),
    ("schema", "schema"),
];
/// Keys of Glance's API that are no property of the image and that Ceilometer leaves out.
const ELSEWHERE: [&str; 5] = ["id", "name", "self", "tags", "metadata"];

/// What is kept of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Image {
    pub name: Value,
    pub meta: Map<String, Value>,
    /// `kernel_id` and `ramdisk_id`
    pub boot: [Value; 2],
}

/// An image by its id.
///
/// # Errors
/// See [`CloudError`]. An image that is gone is none: it has a name made of its id.
pub(crate) async fn image(
    http: &HttpClient,
    keystone: &mut Keystone,
    region: Option<&str>,
    id: &str,
) -> Result<Image, CloudError> {
    keystone.session(http).await?;
    let version = keystone.endpoint("image")?.path().trim_end_matches('/').ends_with("/v2");
    let segments = ["v2", "images", id];
    let segments = if version { &segments[1..] } else { &segments[..] };
    let path = Path { segments, query: &[] };
    let answer = match (Api { http, keystone }).get("image", &path).await {
        Ok(answer) => answer.json,
        Err(error) if error.is_status(404) => {
            return Ok(Image { name: format!("unknown-id-{id}").into(), ..Image::default() });
        }
        Err(error) => return Err(error),
    };
    let Value::Object(found) = answer else {
        let reason = "it is no object".to_owned();
        return Err(crate::http::unusable("GET images", reason));
    };
    let project = keystone.session(http).await?.project_id.clone();
    let meta = meta(id, &found, &location(keystone.host(), region, project.as_deref()));
    let meta = Value::Object(meta);
    bounded("GET images", &meta)?;
    let Value::Object(meta) = meta else { return Ok(Image::default()) };
    let value = |key: &str| found.get(key).cloned().unwrap_or_default();
    Ok(Image { name: value("name"), meta, boot: [value("kernel_id"), value("ramdisk_id")] })
}

fn meta(id: &str, found: &Map<String, Value>, location: &str) -> Map<String, Value> {
    let known = |key: &String| ATTRIBUTES.iter().any(|(_, own)| own == key);
    let unknown = found
        .iter()
        .filter(|(key, _)| !known(key) && !ELSEWHERE.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let unknown = Value::Object(unknown);
    let mut meta = Map::new();
    meta.insert("base_image_ref".to_owned(), id.into());
    for (attribute, key) in ATTRIBUTES {
        let value = if key == "properties" { Some(&unknown) } else { found.get(key) };
        let own = ["kernel_id", "ramdisk_id"].contains(&key);
        if let Some(value) = value.filter(|value| !value.is_null() && !own) {
            meta.insert(attribute.to_owned(), text(value).into());
        }
    }
    meta.insert("location".to_owned(), location.into());
    meta
}

/// Python's `str` of a value.
fn text(value: &Value) -> String {
    if let Value::String(text) = value {
        return text.clone();
    }
    let mut bytes = Vec::new();
    Notation::Repr.value(&mut bytes, value);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What openstacksdk writes into each object: where it is connected to.
fn location(cloud: &str, region: Option<&str>, project: Option<&str>) -> String {
    let quoted =
        |one: Option<&str>| text(&Value::Array(vec![one.map_or(Value::Null, Value::from)]));
    let quoted = |one| quoted(one).trim_start_matches('[').trim_end_matches(']').to_owned();
    format!(
        "Munch({{'cloud': {}, 'region_name': {}, 'zone': None, 'project': Munch({{'id': {}, \
         'name': None, 'domain_id': None, 'domain_name': None}})}})",
        quoted(Some(cloud)),
        quoted(region),
        quoted(project)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Recorded from Ceilometer 27 with Glance 32.
    #[test]
    fn metadata_are_those_of_openstacksdk() {
        let found = json!({
            "kernel_id": "k", "name": "тест", "disk_format": "qcow2", "container_format": "bare",
            "visibility": "public", "size": null, "status": "queued", "protected": false,
            "min_ram": 64, "owner": "2eb4", "os_hidden": false, "id": "6b1f", "tags": ["b", "a"],
            "self": "/v2/images/6b1f", "file": "/v2/images/6b1f/file", "custom": "it's",
        });
        let found = found.as_object().unwrap();
        let location = location("127.0.0.1", Some("RegionOne"), Some("2eb4"));
        let meta = meta("6b1f", found, &location);
        let expected = json!({
            "base_image_ref": "6b1f", "container_format": "bare", "disk_format": "qcow2",
            "is_hidden": "False", "is_protected": "False", "min_ram": "64", "owner": "2eb4",
            "owner_id": "2eb4", "properties": "{'custom': \"it's\"}", "status": "queued",
            "visibility": "public", "file": "/v2/images/6b1f/file",
            "location": "Munch({'cloud': '127.0.0.1', 'region_name': 'RegionOne', 'zone': None, \
                'project': Munch({'id': '2eb4', 'name': None, 'domain_id': None, 'domain_name': None})})",
        });
        assert_eq!(Value::Object(meta).to_string(), expected.to_string());
    }
}
