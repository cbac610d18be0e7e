//! Which meter belongs to which type of resource, with which archive policy and attributes: what
//! Ceilometer 27 ships as `gnocchi_resources.yaml`, for the meters of compute hosts.

use nephometer_guest::{FxHashMap, metadata_value};
use serde_json::Value;

use crate::ordered::Ordered;

/// The archive policies that Ceilometer creates, as bodies of requests.
pub const ARCHIVE_POLICIES: [&str; 4] = [
    r#"{"name":"ceilometer-low","aggregation_methods":["mean"],"back_window":0,"definition":[{"granularity":"5 minutes","timespan":"30 days"}]}"#,
    r#"{"name":"ceilometer-low-rate","aggregation_methods":["mean","rate:mean"],"back_window":0,"definition":[{"granularity":"5 minutes","timespan":"30 days"}]}"#,
    r#"{"name":"ceilometer-high","aggregation_methods":["mean"],"back_window":0,"definition":[{"granularity":"1 second","timespan":"1 hour"},{"granularity":"1 minute","timespan":"1 day"},{"granularity":"1 hour","timespan":"365 days"}]}"#,
    r#"{"name":"ceilometer-high-rate","aggregation_methods":["mean","rate:mean"],"back_window":0,"definition":[{"granularity":"1 second","timespan":"1 hour"},{"granularity":"1 minute","timespan":"1 day"},{"granularity":"1 hour","timespan":"365 days"}]}"#,
];

const LOW: &str = "ceilometer-low";
const LOW_RATE: &str = "ceilometer-low-rate";

/// A type of resource.
#[derive(Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// Its name in Gnocchi.
    pub name: &'static str,
    /// Meters with the usual archive policy.
    metrics: &'static [&'static str],
    /// Meters whose archive policy also keeps rates.
    counters: &'static [&'static str],
    /// Attributes, each with the paths of its value: the first that is there.
    attributes: &'static [(&'static str, &'static [&'static str])],
}

const TYPES: [ResourceType; 3] = [
    ResourceType {
        name: "instance",
        metrics: &[
            "memory",
            "memory.available",
            "memory.usage",
            "memory.resident",
            "memory.swap.in",
            "memory.swap.out",
            "vcpus",
            "power.state",
            "disk.root.size",
            "disk.ephemeral.size",
            "disk.latency",
            "disk.iops",
            "disk.capacity",
            "disk.allocation",
            "disk.usage",
            "compute.instance.booting.time",
            "perf.cpu.cycles",
            "perf.instructions",
            "perf.cache.references",
            "perf.cache.misses",
        ],
        counters: &["cpu"],
        attributes: &[
            ("host", &["instance_host", "host"]),
            ("image_ref", &["image_ref"]),
            ("launched_at", &["launched_at"]),
            ("created_at", &["created_at"]),
            ("deleted_at", &["deleted_at"]),
            ("display_name", &["display_name"]),
            ("flavor_id", &["instance_flavor_id", "flavor.id", "flavor_id"]),
            ("flavor_name", &["instance_type", "flavor.name", "flavor_name"]),
            ("server_group", &["user_metadata.server_group"]),
        ],
    },
    ResourceType {
        name: "instance_network_interface",
        metrics: &[],
        counters: &[
            "network.outgoing.packets",
            "network.incoming.packets",
            "network.outgoing.packets.drop",
            "network.incoming.packets.drop",
            "network.outgoing.packets.error",
            "network.incoming.packets.error",
            "network.outgoing.bytes",
            "network.incoming.bytes",
        ],
        attributes: &[("name", &["vnic_name"]), ("instance_id", &["instance_id"])],
    },
    ResourceType {
        name: "instance_disk",
        metrics: &[
            "disk.device.read.latency",
            "disk.device.write.latency",
            "disk.device.capacity",
            "disk.device.allocation",
            "disk.device.usage",
        ],
        counters: &[
            "disk.device.read.requests",
            "disk.device.write.requests",
            "disk.device.read.bytes",
            "disk.device.write.bytes",
        ],
        attributes: &[("name", &["disk_name"]), ("instance_id", &["instance_id"])],
    },
];

/// Where the measures of a meter go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The type of the resource.
    pub resource_type: &'static ResourceType,
    /// The archive policy of a metric that does not exist yet.
    pub archive_policy: String,
}

/// All meters that are published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definitions {
    metrics: FxHashMap<String, Metric>,
}

impl Definitions {
    /// Those of Ceilometer, all with this archive policy if there is one.
    pub fn new(archive_policy: Option<&str>) -> Self {
        let mut definitions = Self::default();
        for resource_type in &TYPES {
            let low = resource_type.metrics.iter().map(|name| (name, LOW));
            let rates = resource_type.counters.iter().map(|name| (name, LOW_RATE));
            for (name, usual) in low.chain(rates) {
                let archive_policy = archive_policy.unwrap_or(usual).to_owned();
                let metric = Metric { resource_type, archive_policy };
                definitions.metrics.insert((*name).to_owned(), metric);
            }
        }
        definitions
    }

    /// Adds or replaces a meter. Returns false if there is no such type of resource.
    pub fn add(&mut self, meter: &str, resource_type: &str, archive_policy: Option<&str>) -> bool {
        let Some(resource_type) = TYPES.iter().find(|one| one.name == resource_type) else {
            return false;
        };
        let archive_policy = archive_policy.unwrap_or(LOW).to_owned();
        self.metrics.insert(meter.to_owned(), Metric { resource_type, archive_policy });
        true
    }

    /// The names of the types.
    pub fn types() -> [&'static str; 3] {
        [TYPES[0].name, TYPES[1].name, TYPES[2].name]
    }

    /// Where a meter goes; `None` if Gnocchi does not get it.
    pub fn metric(&self, meter: &str) -> Option<&Metric> {
        self.metrics.get(meter)
    }

    /// The metadata that attributes are made of.
    pub fn metadata() -> Vec<String> {
        let attributes = TYPES.iter().flat_map(|one| one.attributes);
        let paths = attributes.flat_map(|(_, paths)| paths.iter());
        let mut paths: Vec<String> = paths.map(|path| (*path).to_owned()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

impl ResourceType {
    /// Sets the attributes that this metadata has.
    pub(crate) fn set_attributes(&self, metadata: &Value, attributes: &mut Ordered<Value>) {
        for (name, paths) in self.attributes {
            if let Some(value) = paths.iter().find_map(|path| metadata_value(metadata, path)) {
                attributes.set(name, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_has_its_type_and_policy() {
        let usual = Definitions::new(None);
        let of = |meter: &str| {
            usual.metric(meter).map(|one| (one.resource_type.name, one.archive_policy.as_str()))
        };
        assert_eq!(of("cpu"), Some(("instance", LOW_RATE)));
        assert_eq!(of("memory.usage"), Some(("instance", LOW)));
        assert_eq!(of("network.incoming.bytes"), Some(("instance_network_interface", LOW_RATE)));
        assert_eq!(of("disk.device.read.latency"), Some(("instance_disk", LOW)));
        assert_eq!(of("cpu_util"), None);
        let mut own = Definitions::new(Some("low"));
        assert!(own.add("cpu_util", "instance", None) && !own.add("x", "nothing", None));
        assert_eq!(own.metric("cpu").map(|one| one.archive_policy.as_str()), Some("low"));
        assert_eq!(own.metric("cpu_util").map(|one| one.archive_policy.as_str()), Some(LOW));
        assert!(Definitions::metadata().contains(&"flavor.id".to_owned()));
    }

    #[test]
    fn the_first_path_that_has_a_value_is_taken() {
        let metadata = serde_json::json!({
            "host": "compute-1", "instance_host": null, "flavor": {"id": "1", "name": "m1.tiny"},
            "instance_type": "other", "user_metadata": {"server_group": "g"},
        });
        let mut attributes = Ordered::default();
        TYPES[0].set_attributes(&metadata, &mut attributes);
        let wanted =
            r#"{"host":"compute-1","flavor_id":"1","flavor_name":"other","server_group":"g"}"#;
        assert_eq!(serde_json::to_string(&attributes).expect("JSON"), wanted);
    }
}
