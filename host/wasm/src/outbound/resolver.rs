//! Looking names up, on threads that nothing else waits for.
//!
//! The system's look-up cannot be cancelled: one that is not waited for any more keeps its thread,
//! its publisher's place and its place among all until it ends. Owns those threads; must not be
//! used by anything but publishers.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::budget::Refusals;
use nephometer_model::Bound;

/// The look-ups of all publishers of a host: one thread each, for as long as it takes.
#[derive(Debug, Clone)]
pub(super) struct Resolver(Arc<Semaphore>);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(Bound::TotalLookups.size())))
    }
}

/// The look-ups of one publisher, over all its instances.
#[derive(Debug)]
pub(super) struct Lookups {
    own: Arc<Semaphore>,
    all: Resolver,
    refusals: Arc<Refusals>,
}

/// Why a look-up has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookupError {
    /// It took longer than a look-up may, or waited for so long behind others.
    TimedOut,
    /// In the words of the system.
    Failed(String),
}

impl Lookups {
    pub(super) fn new(all: &Resolver, refusals: &Arc<Refusals>) -> Self {
        let own = Arc::new(Semaphore::new(Bound::Lookups.size()));
        Self { own, all: all.clone(), refusals: Arc::clone(refusals) }
    }

    /// The right to one more look-up, if there is one.
    pub(super) fn begin(&self) -> Option<Lookup> {
        if let Ok(own) = Arc::clone(&self.own).try_acquire_owned() {
            return Some(Lookup { own, all: self.all.clone() });
        }
        // One more than there may be.
        self.refusals.allow(Bound::Lookups, Bound::Lookups.size() + 1);
        None
    }
}

/// The right to one look-up.
#[derive(Debug)]
pub(super) struct Lookup {
    own: OwnedSemaphorePermit,
    all: Resolver,
}

impl Lookup {
    /// The addresses of a name.
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
        let (reply, answer) = oneshot::channel();
        let run = move || {
            let found = work();
            // Before the answer: whoever has it may begin the next one.
            drop((own, all));
            // Nobody waits for one that took too long.
            let _ = reply.send(found);
        };
        let thread = thread::Builder::new().name("lookup".to_owned()).spawn(run);
        drop(thread.map_err(|error| failed(&error))?);
        match answer.await {
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
    use crate::stats::ComponentCount;

    const LONG: Duration = Duration::from_secs(60);

    fn guest(all: &Resolver) -> (Lookups, Arc<ComponentCount>) {
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        let refusals = Arc::new(Refusals::new(&Arc::from("curious"), &count));
        (Lookups::new(all, &refusals), count)
    }

    #[tokio::test]
    async fn an_abandoned_look_up_keeps_its_place_until_it_ends() {
        let (lookups, count) = guest(&Resolver::new());
        let (end, ended) = mpsc::channel::<()>();
        let silent = move || ended.recv().map_err(io::Error::other);
        let first = lookups.begin().unwrap().within(Duration::from_millis(20), silent).await;
        assert_eq!(first, Err(LookupError::TimedOut));
        let more: Vec<Lookup> = (1..Bound::Lookups.size()).map_while(|_| lookups.begin()).collect();
        assert_eq!(more.len(), Bound::Lookups.size() - 1);
        assert!(lookups.begin().is_none());
        assert_eq!(count.numbers().refused, 1);
        end.send(()).unwrap();
        while lookups.own.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let found = lookups.begin().unwrap().addresses("localhost".to_owned(), 7).await.unwrap();
        assert!(found.iter().all(|address| address.port() == 7 && address.ip().is_loopback()));
        assert_eq!(count.numbers().refused, 1);
    }

    #[tokio::test]
    async fn all_guests_together_have_so_many_threads_and_the_rest_waits() {
        let all = Resolver::new();
        let guests: Vec<Lookups> = (0..5).map(|_| guest(&all).0).collect();
        let (begun, begins) = mpsc::channel();
        let ends: Vec<mpsc::Sender<()>> = guests
            .iter()
            .flat_map(|guest| (0..Bound::Lookups.size()).map_while(|_| guest.begin()))
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
    async fn a_name_that_is_none_is_an_error_of_the_system() {
        let (lookups, _) = guest(&Resolver::new());
        let answer = lookups.begin().unwrap().addresses("no name".to_owned(), 1).await;
        assert!(matches!(answer, Err(LookupError::Failed(_))), "{answer:?}");
    }
}
