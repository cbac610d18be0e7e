//! The `nova:instance` element of a domain's metadata.

use roxmltree::Node;
use serde_json::{Map, Value};

use super::element::{XmlError, attribute, child};
use nephometer_model::{Flavor, Nova};

/// In order of preference.
const NAMESPACES: [&str; 2] =
    ["http://openstack.org/xmlns/libvirt/nova/1.1", "http://openstack.org/xmlns/libvirt/nova/1.0"];

/// Reads Nova's metadata; `None` if the domain has none.
pub(super) fn find(domain: Node<'_, '_>) -> Result<Option<Nova>, XmlError> {
    let Some(metadata) = child(domain, "metadata") else { return Ok(None) };
    let instance = NAMESPACES.iter().find_map(|namespace| {
        metadata
            .children()
            .find(|node| node.is_element() && node.tag_name().namespace() == Some(namespace))
    });
    instance.map(read).transpose()
}

fn read(instance: Node<'_, '_>) -> Result<Nova, XmlError> {
    let owner = required(instance, "owner", "nova owner")?;
    let user = required(owner, "user", "nova owner/user")?;
    let project = required(owner, "project", "nova owner/project")?;
    let root = nova_children(instance, "root")
        .find(|root| root.attribute("type") == Some("image"))
        .map(|root| attribute(root, "uuid", "nova root/@uuid"))
        .transpose()?;
    Ok(Nova {
        name: text(required(instance, "name", "nova name")?),
        user_id: attribute(user, "uuid", "nova owner/user/@uuid")?,
        project_id: attribute(project, "uuid", "nova owner/project/@uuid")?,
        user_name: name(user),
        project_name: name(project),
        flavor: flavor(required(instance, "flavor", "nova flavor")?)?,
        image: root,
        image_meta: nova_child(instance, "image").map(image_meta).transpose()?,
    })
}

fn flavor(flavor: Node<'_, '_>) -> Result<Flavor, XmlError> {
    let extra_specs = nova_child(flavor, "extraSpecs")
        .map(|specs| named(specs, "extraSpec", "nova extraSpec/@name"))
        .transpose()?;
    Ok(Flavor {
        id: flavor.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned),
        name: attribute(flavor, "name", "nova flavor/@name")?,
        vcpus: integer(flavor, "vcpus")?,
        ram: integer(flavor, "memory")?,
        disk: integer(flavor, "disk")?,
        ephemeral: integer(flavor, "ephemeral")?,
        swap: integer(flavor, "swap")?,
        extra_specs,
    })
}

fn image_meta(image: Node<'_, '_>) -> Result<Map<String, Value>, XmlError> {
    let mut meta = Map::new();
    if let Some(uuid) = image.attribute("uuid") {
        meta.insert("base_image_ref".to_owned(), uuid.into());
    }
    for (element, key) in [
        ("containerFormat", "container_format"),
        ("diskFormat", "disk_format"),
        ("minDisk", "min_disk"),
        ("minRam", "min_ram"),
    ] {
        if let Some(node) = nova_child(image, element) {
            meta.insert(key.to_owned(), text_or_null(node));
        }
    }
    if let Some(properties) = nova_child(image, "properties") {
        meta.extend(named(properties, "property", "nova property/@name")?);
    }
    Ok(meta)
}

/// The texts of all children `element`, by their attribute `name`.
fn named(
    parent: Node<'_, '_>,
    element: &str,
    what: &'static str,
) -> Result<Map<String, Value>, XmlError> {
    nova_children(parent, element)
        .map(|node| Ok((attribute(node, "name", what)?, text_or_null(node))))
        .collect()
}

/// A number of the flavor. A missing element counts as 0; an empty one is an error.
fn integer(flavor: Node<'_, '_>, element: &'static str) -> Result<i64, XmlError> {
    let Some(node) = nova_child(flavor, element) else { return Ok(0) };
    let text = text(node);
    text.trim().parse().map_err(|_| XmlError::NotANumber { what: element, text })
}

fn required<'a, 'i>(
    parent: Node<'a, 'i>,
    element: &str,
    what: &'static str,
) -> Result<Node<'a, 'i>, XmlError> {
    nova_child(parent, element).ok_or(XmlError::Missing(what))
}

fn nova_child<'a, 'i>(parent: Node<'a, 'i>, element: &str) -> Option<Node<'a, 'i>> {
    nova_children(parent, element).next()
}

/// Children in the parent's own namespace, whatever the prefix.
fn nova_children<'a, 'i>(
    parent: Node<'a, 'i>,
    element: &str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    let namespace = parent.tag_name().namespace();
    parent.children().filter(move |node| {
        node.tag_name().name() == element && node.tag_name().namespace() == namespace
    })
}

fn text(node: Node<'_, '_>) -> String {
    node.text().unwrap_or_default().to_owned()
}

/// The text of an element, unless it is empty.
fn name(node: Node<'_, '_>) -> Option<String> {
    node.text().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn text_or_null(node: Node<'_, '_>) -> Value {
    node.text().map_or(Value::Null, Value::from)
}
