//! Writes what libvirt answers as a recording for `replay:///`: the XML of domains, their statistics
//! and the sizes of their disks. People attach it to reports, so that it can be anonymous.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::calls::Calls;
use super::{HypervisorError, anonymous::Pseudonyms};
use crate::libvirt::{Connection, RawDomain};
use crate::schedule::Clock;
use nephometer_config::LibvirtSpec;
use nephometer_telemetry::events::hypervisor as events;

/// Records a libvirt host.
pub struct RawRecorder {
    calls: Calls,
    clock: Clock,
    folder: PathBuf,
    /// `None`: names and ids are written as they are.
    pseudonyms: Option<Pseudonyms>,
    /// Domains whose XML is written.
    described: BTreeSet<String>,
}

impl RawRecorder {
    /// Creates the folders. With `anonymous`, names and ids of guests, owners, images and addresses are
    /// replaced, the same ones alike.
    ///
    /// # Errors
    /// If `uri` is not libvirt's, or a folder cannot be created.
    pub fn new(
        uri: &str,
        spec: &LibvirtSpec,
        folder: &Path,
        anonymous: bool,
    ) -> Result<Self, HypervisorError> {
        if uri.starts_with("sim:") || uri.starts_with("replay:") {
            return Err(HypervisorError::Uri {
                uri: uri.to_owned(),
                reason: "only answers of libvirt can be recorded, as with qemu:///system"
                    .to_owned(),
            });
        }
        for name in ["xml", "domstats", "domblkinfo"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(|error| failed(&path, &error))?;
        }
        Ok(Self {
            calls: Calls::new(uri.to_owned(), spec.deadline),
            clock: Clock::start(),
            folder: folder.to_owned(),
            pseudonyms: anonymous.then(Pseudonyms::default),
            described: BTreeSet::new(),
        })
    }

    /// Records one cycle. Returns the number of domains.
    ///
    /// # Errors
    /// If libvirt does not answer, or a file cannot be written.
    pub async fn cycle(&mut self) -> Result<usize, HypervisorError> {
        let listing = self.calls.without_monitor("list of domains", |libvirt| libvirt.list());
        let listed = listing.await.map_err(|error| HypervisorError::Libvirt(error.to_string()))?;
        let time = self.clock.now().wall.as_nanos();
        let (mut statistics, mut sizes) = (String::new(), String::new());
        let mut domains = 0;
        for (uuid, name) in listed {
            let Some(permit) = self.calls.monitor_permit().await else { continue };
            let read = move |libvirt: &mut Connection| libvirt.raw(uuid);
            let domain = match self.calls.with_monitor("raw statistics", permit, read).await {
                Ok(domain) => domain,
                // A guest that hangs, or is gone, costs itself only.
                Err(error) => {
                    events::domain_unreadable(&name, &error);
                    continue;
                }
            };
            self.describe(&uuid.to_string(), &domain.xml)?;
            let name = self.name(&name);
            self.add(&name, &domain, &mut statistics, &mut sizes);
            domains += 1;
        }
        let file = format!("{}.{:09}.txt", time / 1_000_000_000, time % 1_000_000_000);
        self.write(&format!("domblkinfo/{file}"), &sizes)?;
        self.write(&format!("domstats/{file}"), &statistics)?;
        Ok(domains)
    }

    fn describe(&mut self, uuid: &str, xml: &str) -> Result<(), HypervisorError> {
        if !self.described.insert(uuid.to_owned()) {
            return Ok(());
        }
        let (uuid, xml) = match &self.pseudonyms {
            None => (uuid.to_owned(), xml.to_owned()),
            Some(pseudonyms) => (pseudonyms.id(uuid), pseudonyms.xml(xml)),
        };
        self.write(&format!("xml/{uuid}.xml"), &xml)
    }

    fn name(&self, name: &str) -> String {
        self.pseudonyms.as_ref().map_or_else(|| name.to_owned(), |all| all.name(name))
    }

    fn add(&self, name: &str, domain: &RawDomain, statistics: &mut String, sizes: &mut String) {
        // Writing to a string does not fail.
        let _ = writeln!(statistics, "Domain: '{name}'");
        for (key, value) in &domain.statistics {
            // The paths of images name instances.
            let is_path = key.ends_with(".path");
            if self.pseudonyms.is_some() && is_path {
                continue;
            }
            let is_device = key.starts_with("net.") && key.ends_with(".name");
            let value = match &self.pseudonyms {
                Some(all) if is_device => all.device(value),
                _ => value.clone(),
            };
            let _ = writeln!(statistics, "  {key}={value}");
        }
        let _ = writeln!(sizes, "Domain: '{name}'");
        for (target, size) in &domain.sizes {
            let [capacity, allocation, physical] =
                size.map(|bytes| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()));
            let _ = writeln!(sizes, " {target} {capacity} {allocation} {physical}");
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), HypervisorError> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> HypervisorError {
    HypervisorError::Recording { path: path.to_owned(), reason: error.to_string() }
}
