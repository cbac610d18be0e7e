//! Handles requests about spools, gaps and keys, for a running agent and for a store that no agent has open.

use serde_json::{Value, json};

use crate::control::{Request, Response};
use nephometer_model::{Gap, Timestamp};
use nephometer_proof::KeyState;
use nephometer_store::{Gaps, Identity, PageCursor, SpoolSummary, Spools, StoreError};
use nephometer_telemetry::Chain;

/// Handles one request about spools, gaps or keys. Any other request is an error response.
pub async fn handle_store_request(
    spools: &Spools,
    gaps: &Gaps,
    identity: Option<&Identity>,
    request: Request,
) -> Response {
    let result = match request {
        Request::Spools => list(spools).await,
        Request::SpoolPage { spool, after } => page(spools, &spool, after).await,
        Request::SpoolCheck => spools.check().await.map(|problems| json!(problems)),
        Request::SpoolRequeue { from, to } => {
            spools.requeue(&from, &to).await.map(|requeued| json!(requeued))
        }
        Request::Gaps => gaps.all().await.map(|gaps| gaps.iter().map(gap).collect()),
        Request::Keys => keys(identity),
        Request::RotateKey => change_key(identity, Identity::rotate),
        Request::RevokeKey { key, since } => {
            let since = since.as_deref().map(Timestamp::parse).transpose();
            since.and_then(|since| change_key(identity, |known| known.revoke(&key, since)))
        }
        _ => Err("not a request about spools, gaps or keys".to_owned()),
    };
    result.map_or_else(Response::failed, Response::ok)
}

/// The spools, as `spool ls` has them.
pub(super) async fn list(spools: &Spools) -> Result<Value, String> {
    let summary = |spool: &SpoolSummary| {
        json!({
            "spool": spool.name,
            "held": spool.pending,
            "samples": spool.samples,
            "bytes": spool.bytes,
            "oldest": spool.oldest.map(|time| Timestamp::from_nanos(time).iso()),
            "set_aside": spool.rejected,
            "publisher": spools.is_open(&spool.name),
        })
    };
    Ok(spools.list().await?.iter().map(summary).collect())
}

async fn page(spools: &Spools, spool: &str, after: Option<(bool, u64)>) -> Result<Value, String> {
    if after.is_none() && !spools.list().await?.iter().any(|known| known.name == *spool) {
        return Err(format!("unknown spool {spool}"));
    }
    let after = after.map(|(refused, sequence)| PageCursor { rejected: refused, sequence });
    let envelopes = spools.page(spool, after).await?;
    let next = envelopes.last().map(|one| (one.cursor().rejected, one.cursor().sequence));
    let envelopes: Vec<Value> = envelopes.iter().map(|one| one.json(spool)).collect();
    Ok(json!({ "envelopes": envelopes, "next": next }))
}

const NO_STORE: &str = "this agent has no store on disk, and so no keys";

fn keys(identity: Option<&Identity>) -> Result<Value, String> {
    Ok(json!(identity.ok_or(NO_STORE)?.keys()))
}

fn change_key(
    identity: Option<&Identity>,
    change: impl FnOnce(&Identity) -> Result<KeyState, StoreError>,
) -> Result<Value, String> {
    let changed = change(identity.ok_or(NO_STORE)?);
    changed.map(|key| json!(key)).map_err(|error| Chain(&error).to_string())
}

/// A gap, as `gaps` has it.
pub(super) fn gap(gap: &Gap) -> Value {
    let nanos = gap.until.as_nanos().saturating_sub(gap.begin.as_nanos());
    json!({
        "resource": gap.resource,
        "source": gap.source,
        "meters": gap.meters,
        "from": gap.begin.iso(),
        "until": gap.until.iso(),
        "seconds": std::time::Duration::from_nanos(nanos).as_secs_f64(),
        "reason": gap.reason.as_str(),
    })
}
