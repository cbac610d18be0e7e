//! What one event of a sink makes goes into the spools of all its publishers in one transaction,
//! together with how far the sink is.

use std::sync::Arc;

use super::db::Changes;
use super::medium::Medium;
use super::spool::Untold;
use super::{Envelope, SpoolWriter};

/// Envelopes for the spool of one publisher.
pub type Put<'a> = (&'a SpoolWriter, Vec<Envelope>);

/// Puts them in, and writes them with the other changes; whether that is on disk now. Waits for room
/// only if a spool was made so.
pub(super) async fn put(medium: &Arc<Medium>, puts: Vec<Put<'_>>, mut changes: Changes) -> bool {
    // Before anything is held that a driver needs.
    for (writer, envelopes) in &puts {
        writer.shared.room(envelopes).await;
    }
    let mut prepared = Vec::with_capacity(puts.len());
    // Always in the order of the sink, and a driver holds but its own: nobody waits in a circle.
    for (writer, envelopes) in puts {
        prepared.push(writer.shared.prepare(envelopes).await);
    }
    if !medium.is_durable() {
        return false;
    }
    for one in &mut prepared {
        changes.spools.push(std::mem::take(&mut one.change));
    }
    let untold: Vec<Untold> = changes.spools.iter().map(Untold::of).collect();
    let written = medium.write(changes).await.is_ok();
    for (one, untold) in prepared.into_iter().zip(untold) {
        one.finish((!written).then_some(untold));
    }
    written
}
