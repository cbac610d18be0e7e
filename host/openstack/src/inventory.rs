//! What is known of the servers of this host, and how it is brought up to date.
//!
//! A list is applied as a whole or not at all: whatever fails on the way costs nothing that was
//! known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::CloudError;
use crate::glance::{self, Image};
use crate::http::{HttpClient, too_large};
use crate::keystone::Keystone;
use crate::nova::{Api, ListedServer};
use nephometer_config::{CloudSpec, DiscoveryMethod, DiscoverySpec};
use nephometer_model::{Bound, Server, Timestamp};

/// Changes are asked for from this long before the last answer: the clocks of Nova's services may
/// differ, and a change may have been under way. What comes twice is the same.
const OVERLAP_NS: u64 = 30_000_000_000;

/// Servers, flavors and images.
pub(crate) struct Inventory {
    host: String,
    spec: DiscoverySpec,
    http: HttpClient,
    keystone: Keystone,
    pub(crate) servers: HashMap<Uuid, Arc<Server>>,
    flavors: HashMap<String, Map<String, Value>>,
    images: HashMap<String, Image>,
    groups: HashMap<Uuid, String>,
    /// Bytes of all lists since the last complete one.
    bytes: usize,
    /// Nova's time at the last list.
    listed_at: Option<Timestamp>,
    complete_at: Option<Instant>,
}

impl Inventory {
    pub(crate) fn new(
        host: String,
        spec: DiscoverySpec,
        http: HttpClient,
        keystone: Keystone,
    ) -> Self {
        Self {
            host,
            spec,
            http,
            keystone,
            servers: HashMap::new(),
            flavors: HashMap::new(),
            images: HashMap::new(),
            groups: HashMap::new(),
            bytes: 0,
            listed_at: None,
            complete_at: None,
        }
    }

    /// Asks with other credentials, or at another place, from now on. What is known stays until a
    /// complete list replaces it.
    pub(crate) fn set_cloud(&mut self, cloud: CloudSpec, http: HttpClient, keystone: Keystone) {
        (self.http, self.keystone, self.spec.nova) = (http, keystone, Some(cloud));
        self.complete_at = None;
    }

    /// Where Nova is, for log lines.
    pub(crate) fn url(&self) -> String {
        crate::nova::compute_url(&self.keystone)
    }

    /// Asks for a complete list if it is time for one, else for changes.
    ///
    /// # Errors
    /// See [`CloudError`]. Then everything is as before.
    pub(crate) async fn refresh(&mut self) -> Result<(), CloudError> {
        let now = Instant::now();
        let recent = |at: Instant| now.duration_since(at) < self.spec.full_refresh;
        // A complete list has each server once, however often it has changed.
        let small = self.bytes < Bound::CloudTotal.size() / 2;
        let since = self.listed_at.filter(|_| small && self.complete_at.is_some_and(recent));
        let since = since.map(|at| Timestamp::from_nanos(at.as_nanos().saturating_sub(OVERLAP_NS)));
        let host = self.host.clone();
        let list = self.api().servers(&host, since).await?;
        let bytes = list.bytes + if since.is_some() { self.bytes } else { 0 };
        if bytes > Bound::CloudTotal.size() {
            return Err(too_large("GET servers/detail", Bound::CloudTotal));
        }
        // Flavors and images may have changed as well: a complete list looks them up again.
        let (mut flavors, mut images) = match since {
            Some(_) => (self.flavors.clone(), self.images.clone()),
            None => (HashMap::new(), HashMap::new()),
        };
        let changed = !list.servers.is_empty();
        let mut servers = if since.is_some() { self.servers.clone() } else { HashMap::new() };
        for listed in list.servers {
            match listed {
                ListedServer::Gone(uuid) => {
                    servers.remove(&uuid);
                }
                ListedServer::Present(mut server) => {
                    if self.spec.method == DiscoveryMethod::Naive {
                        self.add_flavor(&mut server, &mut flavors).await?;
                        self.add_image(&mut server, &mut images).await?;
                    }
                    servers.insert(server.uuid, Arc::from(server));
                }
            }
        }
        let groups = match self.spec.server_groups && (changed || since.is_none()) {
            true => Some(self.api().server_groups().await?),
            false => None,
        };
        if servers.len() > Bound::CloudServers.size() {
            return Err(too_large("GET servers/detail", Bound::CloudServers));
        }
        // Nothing fails from here on.
        if let Some(groups) = groups {
            self.groups = groups;
        }
        self.complete(&mut servers);
        (self.servers, self.flavors, self.images) = (servers, flavors, images);
        (self.listed_at, self.bytes) = (list.at, bytes);
        if since.is_none() {
            self.complete_at = Some(now);
        }
        Ok(())
    }

    /// Adds the groups of servers. Unchanged servers keep their objects, so that the
    /// resources made from them stay.
    fn complete(&self, servers: &mut HashMap<Uuid, Arc<Server>>) {
        for (uuid, server) in servers {
            if server.group.as_ref() != self.groups.get(uuid) {
                Arc::make_mut(server).group = self.groups.get(uuid).cloned();
            }
            if let Some(known) = self.servers.get(uuid).filter(|known| *known == server) {
                *server = Arc::clone(known);
            }
        }
    }

    fn api(&mut self) -> Api<'_> {
        Api { http: &self.http, keystone: &mut self.keystone }
    }

    async fn add_flavor(
        &mut self,
        server: &mut Server,
        flavors: &mut HashMap<String, Map<String, Value>>,
    ) -> Result<(), CloudError> {
        let id = server.flavor.get("id").map(plain).unwrap_or_default();
        let flavor = match flavors.get(&id) {
            Some(flavor) => flavor.clone(),
            None => {
                let flavor = self.api().flavor(&id).await?;
                make_room(flavors);
                flavors.insert(id, flavor.clone());
                flavor
            }
        };
        server.flavor.extend(flavor);
        Ok(())
    }

    async fn add_image(
        &mut self,
        server: &mut Server,
        images: &mut HashMap<String, Image>,
    ) -> Result<(), CloudError> {
        let Some(own) = &mut server.image else { return Ok(()) };
        let id = own.get("id").map(plain).unwrap_or_default();
        let image = match images.get(&id) {
            Some(image) => image.clone(),
            None => {
                let region = self.spec.nova.as_ref().and_then(|nova| nova.region.as_deref());
                let image = glance::image(&self.http, &mut self.keystone, region, &id).await?;
                make_room(images);
                images.insert(id, image.clone());
                image
            }
        };
        own.insert("name".to_owned(), image.name);
        (server.image_meta, server.boot) = (image.meta, image.boot);
        Ok(())
    }
}

/// Removes all entries at the bound. What is still used is looked up again.
fn make_room<T>(known: &mut HashMap<String, T>) {
    if known.len() >= Bound::CloudLookups.size() {
        known.clear();
    }
}

/// An id as text; Nova's flavors of old have numbers.
fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
