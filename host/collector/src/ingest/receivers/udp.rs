//! `udp://`: a message in each datagram.

use std::pin::Pin;

use nephometer_model::Bound;
use nephometer_telemetry::events::collector as events;
use tokio::net::UdpSocket;

use super::Inlet;
use super::batch::PackedBatch;

/// The largest datagram, in bytes.
const DATAGRAM: usize = 65_536;

/// A commit that is under way.
type Commit = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Receives until the collector ends. While a batch is committed, the next one is filled.
pub(super) async fn run(socket: UdpSocket, inlet: Inlet) {
    let mut ending = inlet.ending.clone();
    let mut buffer = vec![0; DATAGRAM];
    let mut batch = PackedBatch::default();
    let mut commit: Option<Commit> = None;
    loop {
        if commit.is_none() && !batch.is_empty() {
            commit = Some(Box::pin(std::mem::take(&mut batch).commit(inlet.clone())));
        }
        let full = batch.bytes() >= Bound::ReceiverBacklog.size();
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            received = socket.recv(&mut buffer), if !full => match received {
                Ok(length) => {
                    batch.add(&buffer[..length]);
                    drain(&socket, &mut buffer, &mut batch);
                }
                // Such as a lack of memory: it passes.
                Err(error) => events::receiver_failed(&inlet.origin, &error.to_string()),
            },
            going_on = committed(&mut commit) => {
                commit = None;
                if !going_on {
                    return;
                }
            }
        }
    }
    // What has arrived before the end is stored as well.
    drain(&socket, &mut buffer, &mut batch);
    // From now on senders are refused, and keep what they have.
    drop(socket);
    if let Some(commit) = commit {
        commit.await;
    }
    batch.commit(inlet).await;
}

/// Takes what has arrived.
fn drain(socket: &UdpSocket, buffer: &mut [u8], batch: &mut PackedBatch) {
    while batch.bytes() < Bound::ReceiverBacklog.size() {
        match socket.try_recv(buffer) {
            Ok(length) => batch.add(&buffer[..length]),
            Err(_) => return,
        }
    }
}

/// The end of the commit that is under way; never without one.
async fn committed(commit: &mut Option<Commit>) -> bool {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}
