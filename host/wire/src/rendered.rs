//! The parts that all messages about one resource share, rendered once per revision of the
//! resource.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::fields::Part;
use nephometer_model::Resource;

/// Maximum size of the parts that are kept, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The parts that all messages about one resource share.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// Fields from `user_id` to `resource_id`.
    pub(crate) owner: Part,
    /// The value of `resource_metadata`.
    pub(crate) metadata: Box<[u8]>,
    /// The signed text from `project_id` to `source`.
    pub(crate) signed: Box<[u8]>,
    /// The signed text from `user_id` on.
    pub(crate) signed_user: Box<[u8]>,
}

/// Keeps the parts of resources for as long as something else refers to them.
#[derive(Debug, Default)]
pub(crate) struct RenderedResources {
    /// By the address of the resource, which is not reused while the weak reference exists.
    kept: HashMap<usize, (Weak<Resource>, Rendered)>,
    /// The size of `kept` in bytes.
    bytes: usize,
    /// Resources to be rendered before the next sweep: as many as the last one left, so that
    /// sweeping costs less than rendering.
    until_sweep: usize,
    /// The last resource for which there was no space.
    unkept: Rendered,
}

impl RenderedResources {
    /// The parts of a resource, which `render` makes if they are not kept.
    pub(crate) fn of(
        &mut self,
        resource: &Arc<Resource>,
        render: impl FnOnce() -> Rendered,
    ) -> &Rendered {
        let address = Arc::as_ptr(resource).addr();
        if !self.kept.contains_key(&address) {
            self.add(address, resource, render());
        }
        self.kept.get(&address).map_or(&self.unkept, |(_, rendered)| rendered)
    }

    fn add(&mut self, address: usize, resource: &Arc<Resource>, rendered: Rendered) {
        match self.until_sweep.checked_sub(1) {
            Some(left) => self.until_sweep = left,
            None => self.sweep(),
        }
        if self.bytes > MAX_BYTES {
            self.unkept = rendered;
            return;
        }
        self.bytes += rendered.size();
        self.kept.insert(address, (Arc::downgrade(resource), rendered));
    }

    /// Drops the parts of resources that nothing refers to.
    fn sweep(&mut self) {
        self.kept.retain(|_, (resource, _)| resource.strong_count() > 0);
        self.until_sweep = self.kept.len();
        self.bytes = self.kept.values().map(|(_, rendered)| rendered.size()).sum();
    }
}

impl Rendered {
    /// The approximate size in bytes.
    fn size(&self) -> usize {
        size_of::<Self>()
            + self.owner.len()
            + self.metadata.len()
            + self.signed.len()
            + self.signed_user.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(mark: u8, length: usize) -> Rendered {
        Rendered { metadata: vec![mark; length].into(), ..Rendered::default() }
    }

    #[test]
    fn each_revision_is_rendered_once() {
        let mut rendered = RenderedResources::default();
        let (one, other) = (Arc::new(Resource::default()), Arc::new(Resource::default()));
        for _ in 0..2 {
            assert_eq!(*rendered.of(&one, || parts(1, 1)).metadata, [1]);
            assert_eq!(*rendered.of(&other, || parts(2, 1)).metadata, [2]);
        }
        assert_eq!(*rendered.of(&one, || unreachable!("rendered before")).metadata, [1]);
    }

    /// A later resource may have the address of an earlier one, and must not get its parts.
    #[test]
    fn parts_of_dropped_resources_are_dropped_and_never_used_again() {
        let mut rendered = RenderedResources::default();
        let current = Arc::new(Resource::default());
        for mark in 0..200 {
            rendered.of(&current, || parts(255, 1));
            let passing = Arc::new(Resource::default());
            assert_eq!(*rendered.of(&passing, || parts(mark, 1)).metadata, [mark]);
            assert!(rendered.kept.len() < 10, "{}", rendered.kept.len());
        }
        let sizes = rendered.kept.values().map(|(_, rendered)| rendered.size());
        assert_eq!(rendered.bytes, sizes.sum::<usize>());
        assert_eq!(*rendered.of(&current, || unreachable!("still in use")).metadata, [255]);
    }

    #[test]
    fn parts_beyond_the_bound_are_rendered_each_time() {
        let mut rendered = RenderedResources::default();
        let resources: Vec<_> = (0..4).map(|_| Arc::new(Resource::default())).collect();
        for round in 0..2 {
            for (mark, resource) in (0..).zip(&resources) {
                let mut again = false;
                let parts = rendered.of(resource, || {
                    again = true;
                    parts(mark, MAX_BYTES / 2)
                });
                assert_eq!(parts.metadata[0], mark);
                assert_eq!(again, round == 0 || mark > 1, "{round} {mark}");
            }
        }
        assert!(rendered.bytes < MAX_BYTES * 3 / 2);
    }
}
