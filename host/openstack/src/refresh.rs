//! The task that keeps the servers up to date, beside polling and never in its way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff;
use crate::error::CloudError;
use crate::http::HttpClient;
use crate::inventory::Inventory;
use crate::keystone::Keystone;
use crate::memory::{ServerFile, Servers};
use nephometer_config::{CloudSpec, DiscoverySpec};
use nephometer_model::{Bound, ServerInventory, ServerSource};
use nephometer_telemetry::events::openstack as events;

/// Shortest time between two requests for a domain that Nova has not listed yet.
const HASTE: Duration = Duration::from_secs(5);

/// Asks Nova again and again.
pub struct Refresher {
    host: String,
    spec: DiscoverySpec,
    /// `None`: the settings cannot be used, and that was logged.
    inventory: Option<Inventory>,
    /// Changes of the settings while it runs.
    settings: watch::Receiver<CloudSpec>,
    /// Where what is known survives a restart; `None` without a store on disk.
    file: Option<ServerFile>,
    out: watch::Sender<Arc<ServerInventory>>,
    wanted: Arc<Notify>,
    answers: u64,
    failures: u32,
}

/// How Nova is asked: another password, for instance, is used without a restart.
#[derive(Debug)]
pub struct CloudSettings(watch::Sender<CloudSpec>);

impl CloudSettings {
    /// Asks with these from now on, at once if they differ. Servers that are known stay known.
    pub fn replace(&self, new: &CloudSpec) {
        self.0.send_if_modified(|settings| {
            let differs = settings != new;
            if differs {
                settings.clone_from(new);
            }
            differs
        });
    }
}

/// The servers as they are known now.
#[derive(Debug, Clone)]
pub struct ServerFeed {
    servers: watch::Receiver<Arc<ServerInventory>>,
    wanted: Arc<Notify>,
}

impl ServerSource for ServerFeed {
    fn now(&self) -> Arc<ServerInventory> {
        Arc::clone(&self.servers.borrow())
    }

    fn want(&self) {
        self.wanted.notify_one();
    }
}

impl ServerFeed {
    /// Waits for the first answer, or until Nova cannot be asked, but at most this long.
    pub async fn first(&mut self, most: Duration) {
        let known = |servers: &Arc<ServerInventory>| servers.answers > 0 || servers.failing;
        drop(timeout(most, self.servers.wait_for(known)).await);
    }
}

impl Refresher {
    /// A task for the servers of this host; `None` if the settings do not need Nova. With the folder of
    /// the store, what was known before the start is known from the beginning.
    pub fn new(
        host: &str,
        spec: &DiscoverySpec,
        store: Option<&Path>,
    ) -> Option<(Self, ServerFeed, CloudSettings)> {
        let nova = spec.nova.clone()?;
        let (host, spec) = (host.to_owned(), spec.clone());
        let inventory = clients(&nova)
            .map(|(http, keystone)| Inventory::new(host.clone(), spec.clone(), http, keystone));
        let (sender, settings) = watch::channel(nova);
        let file = store.map(ServerFile::new);
        let (out, servers) = watch::channel(Arc::new(ServerInventory {
            servers: file.as_ref().map_or_else(Servers::new, ServerFile::load),
            answers: 0,
            failing: inventory.is_none(),
        }));
        let wanted = Arc::new(Notify::new());
        let feed = ServerFeed { servers, wanted: Arc::clone(&wanted) };
        let (answers, failures) = (0, 0);
        let refresher =
            Self { host, spec, inventory, settings, file, out, wanted, answers, failures };
        Some((refresher, feed, CloudSettings(sender)))
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        loop {
            let Some(mut inventory) = self.inventory.take() else {
                // Nothing but other settings can help.
                self.changed().await;
                self.apply(None);
                continue;
            };
            let limit = Duration::from_millis(Bound::CloudRefresh.most());
            let result = timeout(limit, inventory.refresh()).await;
            let result = result.unwrap_or_else(|_| {
                Err(CloudError::Timeout { host: inventory.url(), after: limit })
            });
            let succeeded = result.is_ok();
            let before = self.servers();
            let delay = self.record(&inventory, result);
            if let Some(file) = self.file.as_ref().filter(|_| succeeded) {
                let now = self.servers();
                if now.servers != before.servers {
                    file.save(now.servers.clone()).await;
                }
            }
            // While Nova fails, only other settings shorten the delay.
            let (start, may_hurry) = (Instant::now(), self.failures == 0);
            let wanted = Arc::clone(&self.wanted);
            let hurried = async {
                sleep(HASTE).await;
                wanted.notified().await;
            };
            let changed = tokio::select! {
                () = sleep_until(start + delay) => false,
                () = hurried, if may_hurry => false,
                () = self.changed() => true,
            };
            if changed {
                self.apply(Some(inventory));
            } else {
                self.inventory = Some(inventory);
            }
        }
    }

    /// Waits for other settings, for ever if nobody can send them any more.
    async fn changed(&mut self) {
        if self.settings.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks with the present settings. Those that cannot be used leave nobody to ask, which is logged.
    fn apply(&mut self, inventory: Option<Inventory>) {
        let cloud = self.settings.borrow_and_update().clone();
        self.spec.nova = Some(cloud.clone());
        self.inventory = clients(&cloud).map(|(http, keystone)| match inventory {
            Some(mut inventory) => {
                inventory.set_cloud(cloud, http, keystone);
                inventory
            }
            None => Inventory::new(self.host.clone(), self.spec.clone(), http, keystone),
        });
        if self.inventory.is_none() {
            self.failures = self.failures.max(1);
            self.set_failing();
        }
    }

    /// What is known stays, and may be out of date.
    fn set_failing(&self) {
        let mut known = ServerInventory::clone(&self.out.borrow());
        known.failing = true;
        self.out.send_replace(Arc::new(known));
    }

    fn servers(&self) -> Arc<ServerInventory> {
        Arc::clone(&self.out.borrow())
    }

    /// Publishes what is known now. Returns how long to wait.
    fn record(&mut self, inventory: &Inventory, result: Result<(), CloudError>) -> Duration {
        match result {
            Ok(()) => {
                if self.failures > 0 || self.answers == 0 {
                    events::nova_reachable(&inventory.url(), inventory.servers.len());
                }
                self.failures = 0;
                self.answers += 1;
                let servers = inventory.servers.clone();
                let answers = self.answers;
                self.out.send_replace(Arc::new(ServerInventory {
                    servers,
                    answers,
                    failing: false,
                }));
                backoff::spread_out(self.spec.refresh)
            }
            Err(error) => {
                if self.failures == 0 {
                    let known = self.servers().servers.len();
                    events::nova_unreachable(&inventory.url(), &error, known);
                }
                self.failures = self.failures.saturating_add(1);
                self.set_failing();
                backoff::after_failures(self.failures, error.retry_after())
            }
        }
    }
}

/// What asks with these settings; `None` if they cannot be used, which is logged.
fn clients(cloud: &CloudSpec) -> Option<(HttpClient, Keystone)> {
    let parts = HttpClient::new(cloud)
        .and_then(|http| Keystone::new(cloud.clone()).map(|keystone| (http, keystone)));
    parts.inspect_err(|error| events::nova_unreachable("", error, 0)).ok()
}
