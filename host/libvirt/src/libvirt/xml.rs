//! Parses domain XML into the description of a domain.
//!
//! XML is written by whoever owns the guest: limits keep one domain from occupying the agent.

use roxmltree::{Document, Node};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::element::{XmlError, attribute, child, children};
use super::nova;
use nephometer_model::{Bound, DiskDevice, Domain, Exceeded, NicDevice};

/// Parses the XML of one domain, as `virDomainGetXMLDesc` returns it.
pub(crate) fn describe(xml: &str) -> Result<Domain, XmlError> {
    check_limits(xml)?;
    let document = Document::parse(xml)?;
    let domain = document.root_element();
    if domain.tag_name().name() != "domain" {
        return Err(XmlError::Missing("domain"));
    }
    let uuid = text(domain, "uuid").ok_or(XmlError::Missing("uuid"))?;
    let os_type = child(domain, "os").and_then(|os| child(os, "type"));
    let devices = child(domain, "devices");
    let of_kind = move |kind| devices.into_iter().flat_map(move |parent| children(parent, kind));
    // Devices are searched linearly, for each meter and each statistic.
    Bound::XmlDevices.check(of_kind("disk").count() + of_kind("interface").count())?;
    Ok(Domain {
        uuid: Uuid::parse_str(uuid.trim()).map_err(|_| XmlError::NotAUuid(uuid.to_owned()))?,
        name: text(domain, "name").ok_or(XmlError::Missing("name"))?.to_owned(),
        os_type: os_type.and_then(|node| node.text()).map(|text| text.trim().to_owned()),
        architecture: os_type.and_then(|node| node.attribute("arch")).map(str::to_owned),
        nova: nova::find(domain)?,
        vcpus: integer(domain, "vcpu")?,
        memory_kib: memory_kib(domain)?,
        disks: of_kind("disk").filter_map(disk).collect(),
        nics: of_kind("interface")
            .filter_map(|node| nic(node).transpose())
            .collect::<Result<_, _>>()?,
        nics_without_target: of_kind("interface")
            .filter(|one| named_target(*one).is_none())
            .count(),
    })
}

/// Rejects XML that would take the parser too long: its time grows with the square of the
/// attributes of an element, and with elements times namespaces. Counts without parsing and never
/// too low: an element begins with `<`, an attribute has `=` before a quote, a namespace is
/// declared by `xmlns`.
fn check_limits(xml: &str) -> Result<(), Exceeded> {
    Bound::XmlBytes.check(xml.len())?;
    let (mut items, mut namespaces) = (0, 0);
    for tag in xml.split('<').skip(1).filter(|tag| !tag.starts_with('/')) {
        let values = tag.split('=').skip(1);
        let attributes = values.filter(|value| value.trim_start().starts_with(['"', '\''])).count();
        Bound::XmlAttributes.check(attributes)?;
        items += 1 + attributes;
        namespaces += tag.matches("xmlns").count();
    }
    Bound::XmlItems.check(items)?;
    Bound::XmlNamespaces.check(namespaces)
}

fn disk(disk: Node<'_, '_>) -> Option<DiskDevice> {
    Some(DiskDevice {
        target: named_target(disk)?.to_owned(),
        has_source: child(disk, "source").is_some(),
    })
}

fn nic(nic: Node<'_, '_>) -> Result<Option<NicDevice>, XmlError> {
    let mac = child(nic, "mac").and_then(|mac| mac.attribute("address"));
    let (Some(target), Some(mac)) = (named_target(nic), mac) else { return Ok(None) };
    let filterref = child(nic, "filterref");
    let mut parameters = Map::new();
    for parameter in filterref.into_iter().flat_map(|node| children(node, "parameter")) {
        let name = attribute(parameter, "name", "filterref/parameter/@name")?;
        parameters.insert(name.to_lowercase(), text_value(parameter.attribute("value")));
    }
    let port = child(nic, "virtualport").and_then(|port| child(port, "parameters"));
    let interface_id = port.and_then(|node| node.attribute("interfaceid"));
    parameters.insert("interfaceid".to_owned(), text_value(interface_id));
    let bridge = child(nic, "source").and_then(|source| source.attribute("bridge"));
    parameters.insert("bridge".to_owned(), text_value(bridge));
    Ok(Some(NicDevice {
        target: target.to_owned(),
        mac: mac.to_owned(),
        filterref: filterref.and_then(|node| node.attribute("filter")).map(str::to_owned),
        parameters,
    }))
}

fn named_target<'a>(device: Node<'a, '_>) -> Option<&'a str> {
    child(device, "target")?.attribute("dev").filter(|name| !name.is_empty())
}

fn integer(domain: Node<'_, '_>, what: &'static str) -> Result<Option<u64>, XmlError> {
    let Some(text) = text(domain, what) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(XmlError::NotANumber { what, text: text.to_owned() }),
    }
}

/// The memory in KiB. libvirt writes KiB; recordings may use other units of its schema.
fn memory_kib(domain: Node<'_, '_>) -> Result<Option<u64>, XmlError> {
    let Some(number) = integer(domain, "memory")? else { return Ok(None) };
    let unit = child(domain, "memory").and_then(|node| node.attribute("unit")).unwrap_or("KiB");
    let unit_bytes: u64 = match unit {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    };
    Ok(u64::try_from(u128::from(number) * u128::from(unit_bytes) / 1024).ok())
}

/// The text of the first child element of this name without a namespace.
fn text<'a>(parent: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(parent, name)?.text()
}

fn text_value(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = r#"<domain type='kvm'><name>instance-00000001</name>
<uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><metadata>
<o:other xmlns:o="urn:other"><o:name>wrong</o:name></o:other>
<x:instance xmlns:x="http://openstack.org/xmlns/libvirt/nova/1.0"><x:name>tést.dom</x:name>
<x:flavor name="m1.tiny" id=""><x:memory> 512 </x:memory><x:disk>1</x:disk><x:extraSpecs/></x:flavor>
<x:owner><x:user uuid="u">a</x:user><x:project uuid="p">b</x:project></x:owner>
<x:root type="volume" uuid="r"/></x:instance></metadata>
<memory unit='MiB'>512</memory><vcpu placement='static'>2</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices>
<disk><source file='f'/><target dev='vda'/></disk><disk device='cdrom'><target dev='hda'/></disk>
<disk><source file='f'/></disk>
<interface><mac address='m0'/></interface><interface><target dev='vnet9'/></interface>
<interface><mac address='fa:16:3e:71:ec:6d'/><source bridge='br0'/><target dev='vnet0'/>
<filterref filter='nova-1'><parameter name='IP' value='10.0.0.2'/><parameter name='PROJMASK' value='255.255.255.0'/></filterref>
<virtualport><parameters interfaceid='port-1'/></virtualport></interface>
<interface><mac address='m2'/><source bridge='qbr420008b3-7c'/><target dev='vnet2'/></interface>
</devices></domain>"#;

    #[test]
    fn reads_a_whole_domain() {
        let domain = describe(FIXTURE).unwrap();
        assert_eq!(domain.name, "instance-00000001");
        assert_eq!((domain.vcpus, domain.memory_kib), (Some(2), Some(524_288)));
        assert_eq!(domain.architecture.as_deref(), Some("x86_64"));
        let disks: Vec<_> = domain.disks.iter().map(|d| (&*d.target, d.has_source)).collect();
        assert_eq!(disks, [("vda", true), ("hda", false)]);
        let nova = domain.nova.unwrap();
        assert_eq!((&*nova.name, &*nova.user_id, &*nova.project_id), ("tést.dom", "u", "p"));
        let names = (nova.user_name.as_deref(), nova.project_name.as_deref());
        assert_eq!(names, (Some("a"), Some("b")));
        assert_eq!((nova.flavor.id, nova.flavor.ram, nova.flavor.swap), (None, 512, 0));
        assert_eq!(nova.flavor.extra_specs, Some(Map::new()));
        assert_eq!((nova.image, nova.image_meta), (None, None));
        assert_eq!(domain.nics_without_target, 1);
    }

    #[test]
    fn parameters_are_lower_case_and_end_with_port_and_bridge() {
        let nics = describe(FIXTURE).unwrap().nics;
        assert_eq!(nics.len(), 2);
        assert_eq!(nics[0].filterref.as_deref(), Some("nova-1"));
        assert_eq!(
            Value::Object(nics[0].parameters.clone()).to_string(),
            r#"{"ip":"10.0.0.2","projmask":"255.255.255.0","interfaceid":"port-1","bridge":"br0"}"#
        );
        assert_eq!(
            Value::Object(nics[1].parameters.clone()).to_string(),
            r#"{"interfaceid":null,"bridge":"qbr420008b3-7c"}"#
        );
    }

    /// A domain with these metadata and devices.
    fn with(metadata: &str, devices: &str) -> String {
        format!(
            "<domain><name>d</name><uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid>\
             <metadata>{metadata}</metadata><devices>{devices}</devices></domain>"
        )
    }

    // 100,000 attributes of one element, or as many disks, once took more than a minute.
    #[test]
    fn oversized_xml_is_rejected_before_parsing() {
        let attributes = |count: usize| {
            let all: String = (0..count).map(|number| format!(" a{number} = '1'")).collect();
            with(&format!("<x:a xmlns:x='u'{all}/>"), "")
        };
        // `xmlns` is an attribute as well.
        let per_element = Bound::XmlAttributes.size() - 1;
        let elements = |count: usize| with(&"<a/>".repeat(count), "");
        // domain, name, uuid, metadata, devices
        let items = Bound::XmlItems.size() - 5;
        let namespaces = |count: usize| {
            with(
                &(0..count).map(|number| format!("<a xmlns:x{number}='u'/>")).collect::<String>(),
                "",
            )
        };
        let disks = |count: usize| {
            let disk = |number| format!("<disk><source/><target dev='d{number}'/></disk>");
            with("", &(0..count).map(disk).collect::<String>())
        };
        let bytes = |count: usize| {
            let empty = with("", "");
            let padding = " ".repeat(count - empty.len());
            empty.replace("</metadata>", &format!("{padding}</metadata>"))
        };
        let checked = |bound: Bound, most: usize, make: &dyn Fn(usize) -> String| {
            describe(&make(most)).unwrap_or_else(|error| panic!("{bound:?}: {error}"));
            let rejected = describe(&make(most + 1)).unwrap_err().to_string();
            assert!(rejected.contains(bound.row().name), "{rejected}");
        };
        checked(Bound::XmlAttributes, per_element, &attributes);
        checked(Bound::XmlItems, items, &elements);
        checked(Bound::XmlNamespaces, Bound::XmlNamespaces.size(), &namespaces);
        checked(Bound::XmlDevices, Bound::XmlDevices.size(), &disks);
        checked(Bound::XmlBytes, Bound::XmlBytes.size(), &bytes);
        for bomb in [attributes(100_000), disks(100_000), elements(1_000_000)] {
            assert!(matches!(describe(&bomb), Err(XmlError::TooMuch(_))));
        }
    }

    #[test]
    fn limits_count_inside_comments_and_values() {
        let many = " a='1'".repeat(2 * Bound::XmlAttributes.size());
        for hidden in [
            format!("<!-- <a \" --><b{many}/>"),
            format!("<b c='\"'{many}/>"),
            format!("<![CDATA[ <a ' ]]><b{}/>", many.replace('=', "\n=\t")),
        ] {
            assert!(
                matches!(describe(&with(&hidden, "")), Err(XmlError::TooMuch(_))),
                "{hidden:.40}"
            );
        }
    }

    #[test]
    fn version_1_1_takes_precedence_over_1_0() {
        let newer = FIXTURE.replace(
            "</metadata>",
            r#"<instance xmlns="http://openstack.org/xmlns/libvirt/nova/1.1"><name>new</name>
<flavor name="f" id="7"/><owner><user uuid="u2"/><project uuid="p2"/></owner>
<root type="image" uuid="i"/><image uuid=""><minDisk>1</minDisk></image></instance></metadata>"#,
        );
        let nova = describe(&newer).unwrap().nova.unwrap();
        assert_eq!((&*nova.name, nova.flavor.id.as_deref()), ("new", Some("7")));
        assert_eq!(nova.image.as_deref(), Some("i"));
        let meta = Value::Object(nova.image_meta.unwrap()).to_string();
        assert_eq!(meta, r#"{"base_image_ref":"","min_disk":"1"}"#);
    }

    #[test]
    fn errors_name_the_missing_element() {
        for (from, to, error) in [
            ("<x:user uuid=\"u\">", "<x:user>", "nova owner/user/@uuid is missing"),
            ("<x:project uuid=\"p\">b</x:project>", "", "nova owner/project is missing"),
            ("<x:name>tést.dom</x:name>", "", "nova name is missing"),
            ("name=\"m1.tiny\"", "", "nova flavor/@name is missing"),
            ("<x:disk>1</x:disk>", "<x:disk/>", "disk is \"\"; expected a whole number"),
            ("a75c2fa5", "z", "uuid is \"z-6c03-45a8-bbf7-b993cfcdec27\"; expected a UUID"),
            ("</domain>", "", "the domain XML cannot be parsed"),
        ] {
            let broken = FIXTURE.replacen(from, to, 1);
            assert_eq!(describe(&broken).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_domain_that_is_not_novas_has_no_owner() {
        let plain =
            "<domain><name>d</name><uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid></domain>";
        let domain = describe(plain).unwrap();
        assert_eq!((domain.nova, domain.vcpus, domain.architecture), (None, None, None));
    }
}
