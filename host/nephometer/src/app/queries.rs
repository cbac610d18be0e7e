//! Answers about what is held and what is missing: of a running agent, or of a store that nobody has open.

use serde_json::{Value, json};

use crate::control::{Request, Response};
use nephometer_model::{Gap, Timestamp};
use nephometer_store::{Gaps, Place, SpoolSummary, Spools};

/// One answer to one of the questions about spools and gaps.
pub async fn answer(spools: &Spools, gaps: &Gaps, request: Request) -> Response {
    let answered = match request {
        Request::Spools => list(spools).await,
        Request::SpoolPage { spool, after } => page(spools, &spool, after).await,
        Request::SpoolCheck => spools.check().await.map(|problems| json!(problems)),
        Request::SpoolRequeue { from, to } => {
            spools.requeue(&from, &to).await.map(|moved| json!(moved))
        }
        Request::Gaps => gaps.all().await.map(|gaps| gaps.iter().map(gap).collect()),
        _ => Err("not a request about spools or gaps".to_owned()),
    };
    answered.map_or_else(Response::failed, Response::well)
}

async fn list(spools: &Spools) -> Result<Value, String> {
    let row = |spool: &SpoolSummary| {
        json!({
            "spool": spool.name,
            "held": spool.held,
            "samples": spool.samples,
            "bytes": spool.bytes,
            "oldest": spool.oldest.map(|time| Timestamp::from_nanos(time).iso()),
            "set_aside": spool.set_aside,
            "publisher": spools.is_open(&spool.name),
        })
    };
    Ok(spools.list().await?.iter().map(row).collect())
}

async fn page(spools: &Spools, spool: &str, after: Option<(bool, u64)>) -> Result<Value, String> {
    if after.is_none() && !spools.list().await?.iter().any(|known| known.name == *spool) {
        return Err(format!("there is no spool {spool}"));
    }
    let after = after.map(|(refused, sequence)| Place { refused, sequence });
    let kept = spools.page(spool, after).await?;
    let next = kept.last().map(|one| (one.place().refused, one.place().sequence));
    let lines: Vec<Value> = kept.iter().map(|one| one.json(spool)).collect();
    Ok(json!({ "envelopes": lines, "next": next }))
}

fn gap(gap: &Gap) -> Value {
    let lasts = gap.until.as_nanos().saturating_sub(gap.begin.as_nanos());
    json!({
        "resource": gap.resource,
        "source": gap.source,
        "meters": gap.meters,
        "from": gap.begin.iso(),
        "until": gap.until.iso(),
        "seconds": std::time::Duration::from_nanos(lasts).as_secs_f64(),
        "reason": gap.reason.as_str(),
    })
}
