//! Meters and resources that a component has made, by the numbers that it gave them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::size;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use nephometer_model::{Bound, Meter, Resource};

/// Numbers from here on are assigned by the component.
pub(super) const OWN: u32 = 1 << 31;

/// The `source` of a new resource without one.
const SOURCE: &str = "openstack";

/// Which entries these are.
#[derive(Debug, Clone, Copy)]
struct EntryKind {
    bound: Bound,
    what: &'static str,
}

const METER: EntryKind = EntryKind { bound: Bound::OwnMeters, what: "meter" };
const RESOURCE: EntryKind = EntryKind { bound: Bound::OwnResources, what: "resource" };

/// What one instance has made.
#[derive(Default)]
pub(super) struct Own {
    pub(super) meters: Entries<Meter>,
    pub(super) resources: Entries<Resource>,
}

/// Entries of one kind, each with its size.
pub(super) struct Entries<T> {
    all: Vec<(Arc<T>, Size)>,
    total: Size,
}

/// What an entry costs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// Bytes in a message.
    pub(super) bytes: usize,
    /// Values in its metadata.
    values: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { all: Vec::new(), total: Size::default() }
    }
}

impl<T> Entries<T> {
    /// The entry of a number that is not the host's, counted from [`OWN`].
    pub(super) fn get(&self, index: u32) -> Option<&(Arc<T>, Size)> {
        self.all.get(index as usize)
    }

    fn put(&mut self, number: u32, entry: T, size: Size, kind: EntryKind) -> Result<(), String> {
        let (next, EntryKind { bound, what }) = (self.all.len(), kind);
        let Some(index) = number.checked_sub(OWN) else {
            return Err(format!("new {what}: number {number:#x} is below {OWN:#x}"));
        };
        match index as usize {
            index if index < next => {
                let Size { bytes, values } = self.all[index].1;
                self.total.bytes -= bytes;
                self.total.values -= values;
                self.all[index] = (Arc::new(entry), size);
            }
            index if index == next => {
                bound.check(next + 1).map_err(|exceeded| exceeded.to_string())?;
                self.all.push((Arc::new(entry), size));
            }
            _ => {
                return Err(format!(
                    "new {what}: number {number:#x} leaves a gap (the next one is {:#x})",
                    OWN as usize + next
                ));
            }
        }
        self.total.bytes += size.bytes;
        self.total.values += size.values;
        Ok(())
    }
}

impl Own {
    /// Takes what an answer brings. The error names what is wrong, with the amount.
    pub(super) fn take(
        &mut self,
        meters: Vec<NumberedMeterResult>,
        resources: Vec<NumberedResourceResult>,
    ) -> Result<(), String> {
        if meters.is_empty() && resources.is_empty() {
            return Ok(());
        }
        size::entries(&meters, &resources).map_err(|exceeded| exceeded.to_string())?;
        for NumberedMeterResult { number, entry } in meters {
            if entry.name.is_empty() {
                return Err(format!("new meter {number:#x} has no name"));
            }
            let size = Size { bytes: entry.name.len() + entry.unit.len(), values: 0 };
            let meter = Meter::new(entry.name, super::kind(entry.type_), entry.unit);
            self.meters.put(number, meter, size, METER)?;
        }
        for NumberedResourceResult { number, entry } in resources {
            if entry.id.is_empty() {
                return Err(format!("new resource {number:#x} has no id"));
            }
            let metadata: Map<String, Value> =
                serde_json::from_str(&entry.metadata).map_err(|error| {
                    format!("new resource {number:#x}: metadata is not a JSON object: {error}")
                })?;
            let source = if entry.source.is_empty() { SOURCE } else { entry.source.as_str() };
            let resource = Resource {
                id: entry.id.into(),
                source: source.into(),
                project_id: entry.project_id.map(Into::into),
                user_id: entry.user_id.map(Into::into),
                metadata,
            };
            let values = size::values(&entry.metadata);
            let size = Size { bytes: size::weight(&resource), values };
            self.resources.put(number, resource, size, RESOURCE)?;
        }
        let (meters, resources) = (&self.meters, &self.resources);
        Bound::OwnBytes
            .check(meters.total.bytes + resources.total.bytes)
            .and_then(|()| Bound::OwnValues.check(resources.total.values))
            .map_err(|exceeded| {
                let (meters, resources) = (meters.all.len(), resources.all.len());
                format!("{exceeded} ({meters} meters, {resources} resources of its own)")
            })
    }
}
