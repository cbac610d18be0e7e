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
use nephometer_config::DiscoverySpec;
use nephometer_model::{Bound, ServerInventory, ServerSource};
use nephometer_telemetry::events::openstack as events;

/// Shortest time between two requests for a domain that Nova has not listed yet.
const HASTE: Duration = Duration::from_secs(5);

/// Asks Nova again and again.
pub struct Refresher {
    /// `None`: the settings cannot be used, and that was logged.
    inventory: Option<Inventory>,
    interval: Duration,
    /// Where what is known survives a restart; `None` without a store on disk.
    file: Option<ServerFile>,
    out: watch::Sender<Arc<ServerInventory>>,
    wanted: Arc<Notify>,
    answers: u64,
    failures: u32,
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
    ) -> Option<(Self, ServerFeed)> {
        let nova = spec.nova.clone()?;
        let interval = spec.refresh;
        let parts = HttpClient::new(&nova)
            .and_then(|http| Keystone::new(nova).map(|keystone| (http, keystone)));
        let inventory = match parts {
            Ok((http, keystone)) => {
                Some(Inventory::new(host.to_owned(), spec.clone(), http, keystone))
            }
            Err(error) => {
                events::nova_unreachable("", &error, 0);
                None
            }
        };
        let file = store.map(ServerFile::new);
        let (out, servers) = watch::channel(Arc::new(ServerInventory {
            servers: file.as_ref().map_or_else(Servers::new, ServerFile::load),
            answers: 0,
            failing: inventory.is_none(),
        }));
        let wanted = Arc::new(Notify::new());
        let feed = ServerFeed { servers, wanted: Arc::clone(&wanted) };
        Some((Self { inventory, interval, file, out, wanted, answers: 0, failures: 0 }, feed))
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        let Some(mut inventory) = self.inventory.take() else {
            return std::future::pending().await;
        };
        loop {
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
            let until = Instant::now() + delay;
            sleep(HASTE.min(delay)).await;
            // While Nova fails, nothing shortens the delay.
            let may_hurry = self.failures == 0;
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.wanted.notified(), if may_hurry => {}
            }
        }
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
                backoff::spread_out(self.interval)
            }
            Err(error) => {
                if self.failures == 0 {
                    let known = self.servers().servers.len();
                    events::nova_unreachable(&inventory.url(), &error, known);
                }
                self.failures = self.failures.saturating_add(1);
                let mut known = ServerInventory::clone(&self.out.borrow());
                known.failing = true;
                self.out.send_replace(Arc::new(known));
                backoff::after_failures(self.failures, error.retry_after())
            }
        }
    }
}
