//! Serves a listener for the life of the agent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::access::{AccessRules, Caller};
use super::connection::{self, Service};
use super::connections::Connections;
use super::exchange::ConnectionState;
use super::listener::{Address, HttpError, Listener, Stream};
use super::router::Router;
use super::tls::{Tls, TlsFiles};
use nephometer_model::Bound;
use nephometer_telemetry::TaskCpu;
use nephometer_telemetry::events::http as events;

/// How long to wait before the address is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long requests that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(1);
const HANDSHAKE_TIME: Duration = Duration::from_millis(Bound::HttpHeadTime.most());

/// A listener.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    /// Its purpose, for the log: `prometheus` or `telemetry`.
    pub name: &'static str,
    /// Where it listens.
    pub address: Address,
    /// TLS, if any.
    pub tls: Option<TlsFiles>,
    /// Who may ask, now and after each change.
    pub access: AccessRules,
    /// Counts the processor time of its connections.
    pub cpu: TaskCpu,
}

/// Serves the routes until `stop` is true. An address that cannot be used, such as a port that is
/// taken, is logged and tried again: the agent goes on without it.
pub async fn serve(spec: ListenerSpec, router: Router, mut stop: watch::Receiver<bool>) {
    let service = Arc::new(Service { router, access: spec.access.clone() });
    let mut reported = false;
    loop {
        match open(&spec).await {
            Ok((listener, tls)) => {
                events::listening(spec.name, &spec.address, spec.tls.is_some());
                let running = Running { listener, tls, service, cpu: spec.cpu.clone(), stop };
                return running.serve().await;
            }
            Err(error) => {
                if !std::mem::replace(&mut reported, true) {
                    events::cannot_listen(spec.name, &error);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn open(spec: &ListenerSpec) -> Result<(Listener, Option<Tls>), HttpError> {
    let tls = match &spec.tls {
        Some(files) => Some(Tls::load(files.clone()).await?),
        None => None,
    };
    Ok((Listener::bind(&spec.address).await?, tls))
}

/// A listener that listens.
pub(super) struct Running {
    pub(super) listener: Listener,
    pub(super) tls: Option<Tls>,
    pub(super) service: Arc<Service>,
    pub(super) cpu: TaskCpu,
    pub(super) stop: watch::Receiver<bool>,
}

impl Running {
    /// Accepts connections until it is stopped, then lets requests finish.
    pub(super) async fn serve(mut self) {
        let mut connections = Connections::new(Bound::HttpConnections.size(), self.cpu.clone());
        loop {
            let mut stop = self.stop.clone();
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = connections.run_until(self.listener.accept()) => accepted,
            };
            match accepted {
                Ok(Some((stream, caller))) if connections.make_room() => {
                    self.accept(&mut connections, stream, caller).await;
                }
                // Its peer may not connect, or all connections are busy: the new one is closed.
                Ok(_) => {}
                Err(error) => {
                    // For example for lack of file descriptors.
                    events::accept_failed(&error);
                    connections.run_until(tokio::time::sleep(Duration::from_secs(1))).await;
                }
            }
        }
        drop(self.listener);
        // What is left, such as streams without an end, is closed.
        drop(timeout(GRACE, connections.finish()).await);
    }

    async fn accept(
        &mut self,
        connections: &mut Connections,
        stream: Box<dyn Stream>,
        caller: Caller,
    ) {
        let state = ConnectionState::new();
        let parts = (Arc::clone(&state), caller);
        let (service, stop) = (Arc::clone(&self.service), self.stop.clone());
        let Some(tls) = &mut self.tls else {
            connections.spawn(state, async move {
                log(connection::serve(stream, parts, service, stop).await);
            });
            return;
        };
        let acceptor = tls.acceptor().await;
        let caller = if tls.knows_clients() { Caller::Certificate } else { caller };
        connections.spawn(state, async move {
            match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    log(connection::serve(stream, (parts.0, caller), service, stop).await);
                }
                Ok(Err(error)) => events::connection_aborted(&error),
                Err(elapsed) => events::connection_aborted(&elapsed),
            }
        });
    }
}

fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        events::connection_aborted(&error);
    }
}
