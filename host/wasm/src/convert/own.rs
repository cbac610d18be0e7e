//! The meters and resources of a component's own, by the numbers that it assigned. Enforces their
//! bounds.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::size;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use nephometer_model::{Bound, Meter, Resource};

/// Numbers from here on are assigned by the component.
pub(super) const FIRST_OWN: u32 = 1 << 31;

/// The `source` of a new resource without one.
const SOURCE: &str = "openstack";

/// The kind of an entry, for errors.
#[derive(Debug, Clone, Copy)]
struct EntryKind {
    bound: Bound,
    name: &'static str,
}

const METER: EntryKind = EntryKind { bound: Bound::OwnMeters, name: "meter" };
const RESOURCE: EntryKind = EntryKind { bound: Bound::OwnResources, name: "resource" };

/// The own entries of one instance.
#[derive(Default)]
pub(super) struct OwnEntries {
    pub(super) meters: OwnTable<Meter>,
    pub(super) resources: OwnTable<Resource>,
}

/// Entries of one kind, each with its size.
pub(super) struct OwnTable<T> {
    all: Vec<(Arc<T>, EntrySize)>,
    total: EntrySize,
}

/// The size of an entry.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EntrySize {
    /// Bytes in a message.
    pub(super) bytes: usize,
    /// Values in its metadata.
    values: usize,
}

impl<T> Default for OwnTable<T> {
    fn default() -> Self {
        Self { all: Vec::new(), total: EntrySize::default() }
    }
}

impl<T> OwnTable<T> {
    /// The entry of an own number, counted from [`FIRST_OWN`].
    pub(super) fn get(&self, index: u32) -> Option<&(Arc<T>, EntrySize)> {
        self.all.get(index as usize)
    }

    fn put(
        &mut self,
        number: u32,
        entry: T,
        size: EntrySize,
        kind: EntryKind,
    ) -> Result<(), String> {
        let (next, EntryKind { bound, name }) = (self.all.len(), kind);
        let Some(index) = number.checked_sub(FIRST_OWN) else {
            return Err(format!("new {name}: number {number:#x} is below {FIRST_OWN:#x}"));
        };
        match index as usize {
            index if index < next => {
                let EntrySize { bytes, values } = self.all[index].1;
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
                    "new {name}: number {number:#x} leaves a gap (the next number is {:#x})",
                    FIRST_OWN as usize + next
                ));
            }
        }
        self.total.bytes += size.bytes;
        self.total.values += size.values;
        Ok(())
    }
}

impl OwnEntries {
    /// Adds the new entries of an answer.
    ///
    /// # Errors
    /// Names the entry and what is wrong, or the exceeded bound with the amount.
    pub(super) fn add(
        &mut self,
        meters: Vec<NumberedMeterResult>,
        resources: Vec<NumberedResourceResult>,
    ) -> Result<(), String> {
        if meters.is_empty() && resources.is_empty() {
            return Ok(());
        }
        size::check_entries(&meters, &resources).map_err(|exceeded| exceeded.to_string())?;
        for NumberedMeterResult { number, entry } in meters {
            if entry.name.is_empty() {
                return Err(format!("new meter {number:#x} has no name"));
            }
            let size = EntrySize { bytes: entry.name.len() + entry.unit.len(), values: 0 };
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
                // The contract has ids only.
                ..Resource::default()
            };
            let values = size::count_values(&entry.metadata);
            let size = EntrySize { bytes: size::resource_bytes(&resource), values };
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
