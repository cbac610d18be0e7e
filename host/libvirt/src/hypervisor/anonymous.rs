//! Replaces what identifies guests, owners and networks in domain XML. Only elements and attributes
//! that the agent reads are kept, so that nothing unknown is given away.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;

use roxmltree::{Document, Node};
use uuid::Uuid;

/// Pseudonyms of one recording: equal texts have equal ones. The key is random and not kept.
#[derive(Default)]
pub(super) struct Pseudonyms(RandomState);

/// What happens to a text.
#[derive(Clone, Copy)]
enum Rule {
    Keep,
    Name,
    Id,
    Mac,
    Device,
}

/// The elements that are kept, with the rule for their text.
const ELEMENTS: [(&str, Rule); 42] = [
    ("domain", Rule::Keep),
    ("name", Rule::Name),
    ("uuid", Rule::Id),
    ("metadata", Rule::Keep),
    ("instance", Rule::Keep),
    ("flavor", Rule::Keep),
    ("memory", Rule::Keep),
    ("currentMemory", Rule::Keep),
    ("disk", Rule::Keep),
    ("swap", Rule::Keep),
    ("ephemeral", Rule::Keep),
    ("vcpus", Rule::Keep),
    ("vcpu", Rule::Keep),
    ("extraSpecs", Rule::Keep),
    ("extraSpec", Rule::Name),
    ("image", Rule::Keep),
    ("containerFormat", Rule::Keep),
    ("diskFormat", Rule::Keep),
    ("minDisk", Rule::Keep),
    ("minRam", Rule::Keep),
    ("properties", Rule::Keep),
    ("property", Rule::Name),
    ("owner", Rule::Keep),
    ("user", Rule::Name),
    ("project", Rule::Name),
    ("root", Rule::Keep),
    ("os", Rule::Keep),
    ("type", Rule::Keep),
    ("devices", Rule::Keep),
    ("driver", Rule::Keep),
    ("source", Rule::Keep),
    ("target", Rule::Keep),
    ("interface", Rule::Keep),
    ("mac", Rule::Keep),
    ("model", Rule::Keep),
    ("filterref", Rule::Keep),
    ("parameter", Rule::Keep),
    ("virtualport", Rule::Keep),
    ("parameters", Rule::Keep),
    ("creationTime", Rule::Keep),
    ("package", Rule::Keep),
    ("readonly", Rule::Keep),
];

/// The attributes that are kept.
const ATTRIBUTES: [(&str, Rule); 17] = [
    ("type", Rule::Keep),
    ("device", Rule::Keep),
    ("arch", Rule::Keep),
    ("machine", Rule::Keep),
    ("unit", Rule::Keep),
    ("placement", Rule::Keep),
    ("bus", Rule::Keep),
    ("version", Rule::Keep),
    ("name", Rule::Keep),
    ("dev", Rule::Device),
    ("bridge", Rule::Name),
    ("uuid", Rule::Id),
    ("id", Rule::Id),
    ("interfaceid", Rule::Id),
    ("address", Rule::Mac),
    ("filter", Rule::Name),
    ("value", Rule::Name),
];

impl Pseudonyms {
    fn number(&self, text: &str) -> u64 {
        self.0.hash_one(text)
    }

    /// A name for a name.
    pub(super) fn name(&self, text: &str) -> String {
        if text.trim().is_empty() {
            text.to_owned()
        } else {
            format!("n{:012x}", self.number(text) >> 16)
        }
    }

    /// A UUID for a UUID, and a name for another id.
    pub(super) fn id(&self, text: &str) -> String {
        let (one, two) = (self.number(text), self.number(&format!("{text} ")));
        match Uuid::parse_str(text.trim()) {
            Ok(_) if text.contains('-') => Uuid::from_u64_pair(one, two).to_string(),
            Ok(_) => Uuid::from_u64_pair(one, two).simple().to_string(),
            // libvirt's number of a running domain.
            Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.to_owned(),
            Err(_) => self.name(text),
        }
    }

    /// A name for a device that has a part of an address or port in its name, as `tap420008b3-7c`.
    pub(super) fn device(&self, text: &str) -> String {
        match text.strip_prefix("tap") {
            Some(_) => format!("tap{:010x}", self.number(text) >> 24),
            None => text.to_owned(),
        }
    }

    fn apply(&self, rule: Rule, text: &str) -> String {
        match rule {
            Rule::Keep => text.to_owned(),
            Rule::Name => self.name(text),
            Rule::Id => self.id(text),
            Rule::Device => self.device(text),
            Rule::Mac => {
                let bytes = self.number(text).to_be_bytes();
                let [a, b, c, d, e, ..] = bytes;
                format!("fa:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
            }
        }
    }

    /// The XML of a domain without names, ids and addresses. XML that cannot be parsed is left out.
    pub(super) fn xml(&self, xml: &str) -> String {
        let mut text = String::new();
        match Document::parse(xml) {
            Ok(document) => self.element(document.root_element(), &mut text),
            Err(error) => {
                let _ = writeln!(text, "<!-- not well-formed: {} -->", error.pos());
            }
        }
        text
    }

    fn element(&self, node: Node<'_, '_>, text: &mut String) {
        let name = node.tag_name().name();
        let Some((_, rule)) = ELEMENTS.iter().find(|(known, _)| *known == name) else { return };
        let parent = node.parent().and_then(|parent| parent.tag_name().namespace());
        // Writing to a string does not fail.
        let _ = write!(text, "<{name}");
        let namespace = node.tag_name().namespace();
        if namespace != parent || name == "domain" {
            let _ = write!(text, " xmlns=\"{}\"", escaped(namespace.unwrap_or_default()));
        }
        for attribute in node.attributes() {
            // A source is a path, a pool or a network of the site; the agent reads its bridge only.
            if name == "source" && attribute.name() != "bridge" {
                continue;
            }
            let rule = ATTRIBUTES.iter().find(|(known, _)| *known == attribute.name());
            if let Some((name, rule)) = rule {
                let value = escaped(&self.apply(*rule, attribute.value()));
                let _ = write!(text, " {name}=\"{value}\"");
            }
        }
        text.push('>');
        let mut is_empty = true;
        for child in node.children().filter(Node::is_element) {
            self.element(child, text);
            is_empty = false;
        }
        if let (true, Some(own)) = (is_empty, node.text()) {
            text.push_str(&escaped(&self.apply(*rule, own)));
        }
        let _ = writeln!(text, "</{name}>");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::describe;

    const XML: &str = r#"<domain type='kvm' id='7'><name>secret-vm</name>
<uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><title>secret</title><metadata>
<x:instance xmlns:x="http://openstack.org/xmlns/libvirt/nova/1.1"><x:name>secret.dom</x:name>
<x:flavor name="m1.tiny"><x:memory>512</x:memory></x:flavor><x:ports><x:port uuid="secret"/></x:ports>
<x:owner><x:user uuid="4ad5ee5e00ad400bb5d8d0b6ce6a3a3e">secret</x:user>
<x:project uuid="4ad5ee5e00ad400bb5d8d0b6ce6a3a3f">secret</x:project></x:owner></x:instance></metadata>
<memory unit='KiB'>524288</memory><vcpu>2</vcpu><devices>
<disk type='network'><source protocol='rbd' name='secret/secret'><host name='secret'/></source><target dev='vda'/></disk>
<interface type='bridge'><mac address='fa:16:3e:71:ec:6d'/><source bridge='qbrsecret'/><target dev='tapsecret-7c'/>
<filterref filter='nova-secret'><parameter name='IP' value='secret'/></filterref></interface>
</devices></domain>"#;

    #[test]
    fn identities_are_replaced_and_numbers_kept() {
        let pseudonyms = Pseudonyms::default();
        let xml = pseudonyms.xml(XML);
        for hidden in ["secret", "a75c2fa5", "4ad5ee5e", "71:ec:6d"] {
            assert!(!xml.contains(hidden), "{hidden} in {xml}");
        }
        let (before, after) = (describe(XML).unwrap(), describe(&xml).unwrap());
        assert_eq!((after.vcpus, after.memory_kib), (before.vcpus, before.memory_kib));
        assert_eq!(after.disks, before.disks);
        assert_eq!(after.name, pseudonyms.name("secret-vm"));
        assert_eq!(after.nics[0].target, pseudonyms.device("tapsecret-7c"));
        let nova = after.nova.unwrap();
        assert_eq!(nova.flavor.name, "m1.tiny");
        assert_eq!(nova.user_id.len(), 32);
        assert_ne!(nova.user_id, nova.project_id);
    }
}
