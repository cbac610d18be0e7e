//! Runs name lookups of publishers on their own threads.
//!
//! The system's lookup cannot be cancelled: an abandoned one keeps its thread and its permits until
//! it ends. Owns those threads. Only publishers may use it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::budget::Refusals;
use nephometer_model::Bound;

/// Limits the lookups of all publishers of a host: one thread each.
#[derive(Debug, Clone)]
pub(super) struct Resolver(Arc<Semaphore>);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(Bound::TotalLookups.size())))
    }
}

/// Limits the lookups of one publisher, over all its instances.
#[derive(Debug)]
pub(super) struct Lookups {
    own: Arc<Semaphore>,
    all: Resolver,
    refusals: Arc<Refusals>,
}

/// Why a lookup failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookupError {
    /// It took too long, time in the queue included.
    TimedOut,
    /// The error of the system.
    Failed(String),
}

impl Lookups {
    pub(super) fn new(all: &Resolver, refusals: &Arc<Refusals>) -> Self {
        let own = Arc::new(Semaphore::new(Bound::Lookups.size()));
        Self { own, all: all.clone(), refusals: Arc::clone(refusals) }
    }

    /// A permit for one more lookup, if within the bound of the publisher.
    pub(super) fn try_start(&self) -> Option<Lookup> {
        if let Ok(own) = Arc::clone(&self.own).try_acquire_owned() {
            return Some(Lookup { own, all: self.all.clone() });
        }
        // Counts the refusal.
        self.refusals.allow(Bound::Lookups, Bound::Lookups.size() + 1);
        None
    }
}

/// A permit for one lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    own: OwnedSemaphorePermit,
    all: Resolver,
}

impl Lookup {
    /// Looks up the addresses of a name.
    ///
    /// # Errors
    /// If the lookup times out or fails.
    pub(super) async fn addresses(
        self,
        name: String,
        port: u16,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        self.within(Duration::from_millis(Bound::LookupTime.most()), move || {
            Ok((name.as_str(), port).to_socket_addrs()?.collect())
        })
        .await
    }

    async fn within<T: Send + 'static>(
        self,
        limit: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, LookupError> {
        timeout(limit, self.on_a_thread(work)).await.unwrap_or(Err(LookupError::TimedOut))
    }

    async fn on_a_thread<T: Send + 'static>(
        self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, LookupError> {
        let failed = |error: &dyn std::fmt::Display| LookupError::Failed(error.to_string());
        let Self { own, all } = self;
        let all = all.0.acquire_owned().await.map_err(|error| failed(&error))?;
        let (sender, receiver) = oneshot::channel();
        let run = move || {
            let found = work();
            // Released before the reply: the receiver may start the next lookup at once.
            drop((own, all));
            // The receiver is gone after a timeout.
            let _ = sender.send(found);
        };
        let thread = thread::Builder::new().name("lookup".to_owned()).spawn(run);
        drop(thread.map_err(|error| failed(&error))?);
        match receiver.await {
            Ok(found) => found.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::digest::Digest;
    use crate::stats::ComponentCounters;

    const LONG: Duration = Duration::from_secs(60);

    fn guest(all: &Resolver) -> (Lookups, Arc<ComponentCounters>) {
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        let refusals = Arc::new(Refusals::new(&Arc::from("curious"), &counters));
        (Lookups::new(all, &refusals), counters)
    }

    #[tokio::test]
    async fn abandoned_lookup_keeps_its_permit_until_it_ends() {
        let (lookups, counters) = guest(&Resolver::new());
        let (end, ended) = mpsc::channel::<()>();
        let silent = move || ended.recv().map_err(io::Error::other);
        let first = lookups.try_start().unwrap().within(Duration::from_millis(20), silent).await;
        assert_eq!(first, Err(LookupError::TimedOut));
        let more: Vec<Lookup> =
            (1..Bound::Lookups.size()).map_while(|_| lookups.try_start()).collect();
        assert_eq!(more.len(), Bound::Lookups.size() - 1);
        assert!(lookups.try_start().is_none());
        assert_eq!(counters.stats().refused, 1);
        end.send(()).unwrap();
        while lookups.own.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let found =
            lookups.try_start().unwrap().addresses("localhost".to_owned(), 7).await.unwrap();
        assert!(found.iter().all(|address| address.port() == 7 && address.ip().is_loopback()));
        assert_eq!(counters.stats().refused, 1);
    }

    #[tokio::test]
    async fn lookups_of_all_publishers_are_bounded_and_excess_ones_wait() {
        let all = Resolver::new();
        let guests: Vec<Lookups> = (0..5).map(|_| guest(&all).0).collect();
        let (begun, begins) = mpsc::channel();
        let ends: Vec<mpsc::Sender<()>> = guests
            .iter()
            .flat_map(|guest| (0..Bound::Lookups.size()).map_while(|_| guest.try_start()))
            .map(|lookup| {
                let (end, ended) = mpsc::channel::<()>();
                let begun = begun.clone();
                let work = move || {
                    begun.send(()).map_err(io::Error::other)?;
                    ended.recv().map_err(io::Error::other)
                };
                tokio::spawn(lookup.within(LONG, work));
                end
            })
            .collect();
        assert_eq!(ends.len(), 5 * Bound::Lookups.size());
        let most = Bound::TotalLookups.size();
        let (first, at_once) = tokio::task::spawn_blocking(move || {
            let first = (0..most).map_while(|_| begins.recv_timeout(LONG).ok()).count();
            (first, begins.try_recv().is_ok())
        })
        .await
        .unwrap();
        assert_eq!((first, at_once), (most, false));
        drop(ends);
    }

    #[tokio::test]
    async fn invalid_name_is_reported_as_a_system_error() {
        let (lookups, _) = guest(&Resolver::new());
        let result = lookups.try_start().unwrap().addresses("no name".to_owned(), 1).await;
        assert!(matches!(result, Err(LookupError::Failed(_))), "{result:?}");
    }
}
