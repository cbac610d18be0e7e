//! The resources and their metadata, key by key as in Ceilometer.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha224};

use super::server;
use nephometer_config::{DiscoveryMethod, DiscoverySpec};
use nephometer_model::{
    DiskDevice, Domain, DomainState, Flavor, NicDevice, Nova, Release, Resource, Server,
};

/// The settings shared by all resources of one agent.
#[derive(Debug, Clone)]
pub(crate) struct ResourceContext {
    /// The compute host's name: `instance_host`, and an input of the hash `host`.
    pub host: Arc<str>,
    /// `source` of every resource.
    pub source: Arc<str>,
    /// The Ceilometer release that defines the keys.
    pub release: Release,
    /// Where owner and metadata come from.
    pub discovery: Arc<DiscoverySpec>,
}

/// The instance itself, with what Nova's API knows of it.
pub(crate) fn vm(
    context: &ResourceContext,
    domain: &Domain,
    state: DomainState,
    server: Option<&Server>,
) -> Resource {
    let mut metadata = match server {
        Some(server) if context.discovery.method == DiscoveryMethod::Naive => {
            server::naive_metadata(server, context.release)
        }
        _ => metadata(context, domain, state, server),
    };
    if let Some(server) = server {
        server::add_user_metadata(server, &context.discovery, &mut metadata);
    }
    resource(context, domain, domain.uuid.to_string(), metadata)
}

/// The instance with `cpu_number`, as in samples of the meter `cpu`; null if unknown.
pub(crate) fn cpu(vm: &Resource, cpu_number: Option<u64>) -> Resource {
    let mut resource = vm.clone();
    resource.metadata.insert("cpu_number".to_owned(), json!(cpu_number));
    resource
}

/// One disk of an instance.
pub(crate) fn disk(vm: &Resource, disk: &DiskDevice) -> Resource {
    let mut resource = vm.clone();
    resource.id = disk_id(vm, disk);
    resource.metadata.insert("disk_name".to_owned(), disk.target.clone().into());
    resource
}

/// All disks of an instance together.
pub(super) fn disks<'a>(vm: &Resource, disks: impl Iterator<Item = &'a DiskDevice>) -> Resource {
    let mut resource = vm.clone();
    let names: Vec<&str> = disks.map(|disk| disk.target.as_str()).collect();
    resource.metadata.insert("device".to_owned(), json!(names));
    resource
}

/// An indexed part of an instance, such as `vcpu.0`.
pub(super) fn part(vm: &Resource, part: &str) -> Resource {
    let mut resource = vm.clone();
    resource.id = part_id(vm, part);
    resource.metadata.insert("part".to_owned(), json!(part));
    resource
}

/// One network interface of an instance. Its name replaces that of the instance.
pub(crate) fn nic(
    context: &ResourceContext,
    vm: &Resource,
    domain: &Domain,
    nic: &NicDevice,
) -> Resource {
    let mut resource = vm.clone();
    resource.id = nic_id(vm, domain, nic);
    let mut parameters = nic.parameters.clone();
    if context.release == Release::Liberty {
        // Since Ceilometer 13.
        parameters.retain(|key, _| key != "interfaceid" && key != "bridge");
    }
    let vnic_name = nic.filterref.as_ref().unwrap_or(&nic.target);
    for (key, value) in [
        ("name", json!(nic.target)),
        ("mac", json!(nic.mac)),
        ("fref", json!(nic.filterref)),
        ("parameters", Value::Object(parameters)),
        ("vnic_name", json!(vnic_name)),
    ] {
        resource.metadata.insert(key.to_owned(), value);
    }
    resource
}

fn part_id(vm: &Resource, part: &str) -> Arc<str> {
    format!("{}-{part}", vm.id).into()
}

pub(super) fn disk_id(vm: &Resource, disk: &DiskDevice) -> Arc<str> {
    format!("{}-{}", vm.id, disk.target).into()
}

pub(super) fn nic_id(vm: &Resource, domain: &Domain, nic: &NicDevice) -> Arc<str> {
    match &nic.filterref {
        Some(filter) => filter.as_str().into(),
        None => format!("{}-{}-{}", domain.name, vm.id, nic.target).into(),
    }
}

fn resource(
    context: &ResourceContext,
    domain: &Domain,
    id: String,
    metadata: Map<String, Value>,
) -> Resource {
    let nova = domain.nova.as_ref();
    let named = nova.filter(|_| context.discovery.identity_names);
    Resource {
        id: id.into(),
        source: Arc::clone(&context.source),
        project_id: nova.map(|nova| nova.project_id.as_str().into()),
        user_id: nova.map(|nova| nova.user_id.as_str().into()),
        project_name: named.and_then(|nova| nova.project_name.as_deref().map(Into::into)),
        user_name: named.and_then(|nova| nova.user_name.as_deref().map(Into::into)),
        metadata,
    }
}

/// The metadata values `state` and `status` of a domain state.
fn state_and_status(state: DomainState) -> (&'static str, &'static str) {
    match state {
        DomainState::NoState => ("pending", "building"),
        DomainState::Running | DomainState::Blocked => ("running", "active"),
        DomainState::Paused => ("paused", "paused"),
        DomainState::ShuttingDown | DomainState::ShutOff => ("shutdown", "stopped"),
        DomainState::Crashed => ("crashed", "error"),
        DomainState::Suspended => ("suspended", "suspended"),
    }
}

fn metadata(
    context: &ResourceContext,
    domain: &Domain,
    state: DomainState,
    server: Option<&Server>,
) -> Map<String, Value> {
    let nova = domain.nova.as_ref();
    let (vm_state, status) = state_and_status(state);
    let project = nova.map_or("", |nova| nova.project_id.as_str());
    let mut metadata = Map::new();
    let mut put = |key: &str, value: Value| {
        metadata.insert(key.to_owned(), value);
    };
    put("display_name", json!(nova.map_or(&domain.name, |nova| &nova.name)));
    put("name", json!(domain.name));
    put("instance_id", json!(domain.uuid.to_string()));
    if let Some(nova) = nova {
        put("instance_type", json!(nova.flavor.name));
    }
    put("host", json!(host_id(project, &context.host)));
    if context.release != Release::Liberty {
        put("instance_host", json!(&*context.host));
    }
    if let Some(nova) = nova {
        put("flavor", flavor(&nova.flavor, context.release));
    }
    put("status", json!(status));
    put("state", json!(vm_state));
    if context.release != Release::Liberty {
        put("task_state", json!(""));
    }
    if let Some(nova) = nova {
        image(nova, context.release, &mut put);
    }
    let zone = server.filter(|_| context.discovery.method == DiscoveryMethod::Merged);
    for (key, value) in [
        ("architecture", domain.architecture.as_ref().map(|text| json!(text))),
        ("OS-EXT-AZ:availability_zone", zone.map(|server| server.availability_zone.clone())),
        ("os_type", domain.os_type.as_ref().map(|text| json!(text))),
    ] {
        if let Some(value) = value {
            put(key, value);
        }
    }
    sizes(domain, &mut put);
    metadata
}

fn image(nova: &Nova, release: Release, put: &mut impl FnMut(&str, Value)) {
    put("image", nova.image.as_ref().map_or(Value::Null, |id| json!({ "id": id })));
    put("image_ref", json!(nova.image));
    put("image_ref_url", Value::Null);
    if let Some(meta) = nova.image_meta.as_ref().filter(|meta| !meta.is_empty())
        // Since Ceilometer 25.
        && release == Release::Current
    {
        put("image_meta", Value::Object(meta.clone()));
    }
}

/// The sizes of the flavor; without Nova's metadata, those of the domain XML.
fn sizes(domain: &Domain, put: &mut impl FnMut(&str, Value)) {
    if let Some(Nova { flavor, .. }) = &domain.nova {
        put("vcpus", json!(flavor.vcpus));
        put("memory_mb", json!(flavor.ram));
        put("disk_gb", json!(flavor.disk));
        put("ephemeral_gb", json!(flavor.ephemeral));
        put("root_gb", json!(flavor.disk.saturating_sub(flavor.ephemeral)));
        return;
    }
    if let Some(vcpus) = domain.vcpus {
        put("vcpus", json!(vcpus));
    }
    if let Some(kib) = domain.memory_kib {
        put("memory_mb", json!(kib / 1024));
    }
}

/// The flavor. Without an id in the XML, Ceilometer falls back to the name as well if it may not
/// query Nova. Before release 25 it read neither id nor extra specs; release 5 has no swap.
fn flavor(flavor: &Flavor, release: Release) -> Value {
    let current = release == Release::Current;
    let mut value = json!({
        "id": flavor.id.as_ref().filter(|_| current).unwrap_or(&flavor.name),
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
    });
    if release != Release::Liberty {
        value["swap"] = json!(flavor.swap);
    }
    if let Some(specs) = flavor.extra_specs.as_ref().filter(|_| current) {
        value["extra_specs"] = Value::Object(specs.clone());
    }
    value
}

/// Nova's `hostId`: shows a project which of its instances share a host, without naming the host.
fn host_id(project_id: &str, host: &str) -> String {
    let digest = Sha224::new().chain_update(project_id).chain_update(host).finalize();
    hex::encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::describe;

    /// Section 3.6 of the reference, recorded from Ceilometer's agent.
    const NOVA: &str = r#"<domain><name>instance-00000001</name>
<uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><metadata>
<instance xmlns="http://openstack.org/xmlns/libvirt/nova/1.1"><name>test.dom.com</name>
<flavor name="m1.tiny" id="eba4213d-3c6c-4b5f-8158-dd0022d71d62"><memory>512</memory><disk>1</disk>
<swap>0</swap><ephemeral>0</ephemeral><vcpus>1</vcpus>
<extraSpecs><extraSpec name="hw_rng:allowed">true</extraSpec></extraSpecs></flavor>
<image uuid="bdaf114a-35e9-4163-accd-226d5944bf11"><containerFormat>bare</containerFormat>
<diskFormat>raw</diskFormat><minDisk>1</minDisk><minRam>0</minRam><properties>
<property name="os_distro">ubuntu</property><property name="os_type">linux</property></properties></image>
<owner><user uuid="a1f4684e58bd4c88aefd2ecb0783b497"/><project uuid="d99c829753f64057bc0f2030da309943"/></owner>
<root type="image" uuid="bdaf114a-35e9-4163-accd-226d5944bf11"/></instance></metadata>
<memory unit='KiB'>524288</memory><vcpu>2</vcpu><os><type arch="x86_64">hvm</type></os></domain>"#;

    fn context() -> ResourceContext {
        ResourceContext {
            host: "test".into(),
            source: "openstack".into(),
            release: Release::Current,
            discovery: Arc::default(),
        }
    }

    #[test]
    fn metadata_match_ceilometer_byte_for_byte() {
        let vm = vm(&context(), &describe(NOVA).unwrap(), DomainState::Running, None);
        let cpu = cpu(&vm, Some(1));
        let expected = concat!(
            r#"{"display_name":"test.dom.com","name":"instance-00000001","#,
            r#""instance_id":"a75c2fa5-6c03-45a8-bbf7-b993cfcdec27","instance_type":"m1.tiny","#,
            r#""host":"4d0bc931ea7f0513da2efd9acb4cf3a273c64b7bcc544e15c070e662","instance_host":"test","#,
            r#""flavor":{"id":"eba4213d-3c6c-4b5f-8158-dd0022d71d62","name":"m1.tiny","vcpus":1,"ram":512,"#,
            r#""disk":1,"ephemeral":0,"swap":0,"extra_specs":{"hw_rng:allowed":"true"}},"#,
            r#""status":"active","state":"running","task_state":"","#,
            r#""image":{"id":"bdaf114a-35e9-4163-accd-226d5944bf11"},"#,
            r#""image_ref":"bdaf114a-35e9-4163-accd-226d5944bf11","image_ref_url":null,"#,
            r#""image_meta":{"base_image_ref":"bdaf114a-35e9-4163-accd-226d5944bf11","container_format":"bare","#,
            r#""disk_format":"raw","min_disk":"1","min_ram":"0","os_distro":"ubuntu","os_type":"linux"},"#,
            r#""architecture":"x86_64","os_type":"hvm","vcpus":1,"memory_mb":512,"disk_gb":1,"#,
            r#""ephemeral_gb":0,"root_gb":1,"cpu_number":1}"#,
        );
        assert_eq!(serde_json::to_string(&cpu.metadata).unwrap(), expected);
        assert_eq!(cpu.user_id.as_deref(), Some("a1f4684e58bd4c88aefd2ecb0783b497"));
        assert_eq!(cpu.id, vm.id);
    }

    #[test]
    fn a_domain_without_nova_has_its_own_name_and_sizes() {
        let mut domain = describe(NOVA).unwrap();
        domain.nova = None;
        let vm = vm(&context(), &domain, DomainState::Crashed, None);
        assert_eq!((&vm.project_id, &vm.user_id), (&None, &None));
        let keys: Vec<_> = vm.metadata.keys().map(String::as_str).collect();
        assert_eq!(
            keys.join(" "),
            "display_name name instance_id host instance_host status state task_state \
             architecture os_type vcpus memory_mb"
        );
        assert_eq!(vm.metadata["display_name"], "instance-00000001");
        assert_eq!(vm.metadata["status"], "error");
        assert_eq!((&vm.metadata["vcpus"], &vm.metadata["memory_mb"]), (&json!(2), &json!(512)));
    }

    #[test]
    fn network_resource_id_is_the_filter_or_the_device() {
        let domain = describe(NOVA).unwrap();
        let vm = vm(&context(), &domain, DomainState::Running, None);
        let mut device = NicDevice {
            target: "vnet2".to_owned(),
            mac: "m".to_owned(),
            filterref: None,
            parameters: Map::new(),
        };
        let plain = nic(&context(), &vm, &domain, &device);
        assert_eq!(&*plain.id, format!("instance-00000001-{}-vnet2", vm.id));
        assert_eq!(plain.metadata["name"], "vnet2");
        assert_eq!(plain.metadata.keys().position(|key| key == "name"), Some(1));
        assert_eq!(plain.metadata["vnic_name"], "vnet2");
        device.filterref = Some("fa163e71ec6e".to_owned());
        let filtered = nic(&context(), &vm, &domain, &device);
        assert_eq!(&*filtered.id, "fa163e71ec6e");
        assert_eq!(filtered.metadata["vnic_name"], "fa163e71ec6e");
    }

    #[test]
    fn a_volume_booted_instance_has_no_image() {
        let mut domain = describe(NOVA).unwrap();
        let nova = domain.nova.as_mut().unwrap();
        (nova.image, nova.image_meta, nova.flavor.id) = (None, None, None);
        let vm = vm(&context(), &domain, DomainState::Running, None);
        assert_eq!(
            (&vm.metadata["image"], &vm.metadata["image_ref"]),
            (&Value::Null, &Value::Null)
        );
        assert!(!vm.metadata.contains_key("image_meta"));
        assert_eq!(vm.metadata["flavor"]["id"], "m1.tiny");
    }
}
