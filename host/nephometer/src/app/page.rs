//! The agent's page: its routes, and the state that they serve.
//!
//! The files of the page are open to everybody who can connect. Everything else has names of projects
//! and domains, and needs a known caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::admin::AdminService;
use super::page_state::state;
use super::{queries, support};
use nephometer_http::{Method, Reply, Request, Router, StatusCode};
use nephometer_model::Bound;
use nephometer_page::{AGENT_PAGE, POLICY};
use nephometer_view::View;

/// Between two states in a stream.
const PERIOD: Duration = Duration::from_secs(1);
/// States that wait for a slow client; the next ones wait with it.
const WAITING: usize = 1;
/// Domains in one reply at most.
const DOMAINS: usize = 1000;
/// Gaps in one reply at most, the newest ones.
const GAPS: usize = 2000;
/// Answers a query with these fields.
type Query = fn(&View, &HashMap<String, String>) -> Value;

/// Adds the page to the routes of the agent's own endpoint.
pub(super) fn with_page(mut router: Router, admin: &Arc<AdminService>, view: &Arc<View>) -> Router {
    for file in AGENT_PAGE {
        let reply = move |_| async move {
            Reply::new(file.content_type, file.content).header("content-security-policy", POLICY)
        };
        router = router.route(Method::GET, file.path, reply).open();
    }
    let streams = Arc::new(Semaphore::new(Bound::PageStreams.size()));
    let parts = (Arc::clone(admin), Arc::clone(view));
    router = router
        .route(Method::GET, "/v1/events", move |_| {
            let ((admin, view), streams) = (parts.clone(), Arc::clone(&streams));
            async move { events(&admin, view, &streams) }
        })
        .private();
    let parts = (Arc::clone(admin), Arc::clone(view));
    router = router
        .route(Method::GET, "/v1/gaps", move |_| {
            let (admin, view) = parts.clone();
            async move { gaps(&admin, &view).await }
        })
        .private();
    let parts = (Arc::clone(admin), Arc::clone(view));
    router = router
        .route(Method::GET, "/support", move |_| {
            let (admin, view) = parts.clone();
            async move { support::reply(&admin, &view).await }
        })
        .private();
    let queries: [(&str, Query); 3] = [
        ("/v1/domains", |view, query| {
            let most = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(DOMAINS);
            view.domains(field(query, "text"), most.min(DOMAINS))
        }),
        ("/v1/series", |view, query| view.series(field(query, "domain"))),
        ("/v1/values", |view, query| view.values(field(query, "meter"), field(query, "resource"))),
    ];
    for (path, answer) in queries {
        let view = Arc::clone(view);
        let reply = move |request: Request| {
            let view = Arc::clone(&view);
            async move { Reply::json(&answer(&view, &query(&request.query))) }
        };
        router = router.route(Method::GET, path, reply).private();
    }
    router
}

/// The fields of a query; the last one of a name counts.
fn query(text: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn field<'a>(query: &'a HashMap<String, String>, name: &str) -> &'a str {
    query.get(name).map_or("", String::as_str)
}

/// The state every second, as server-sent events, until the client or the agent ends it.
fn events(admin: &Arc<AdminService>, view: Arc<View>, streams: &Arc<Semaphore>) -> Reply {
    let Ok(permit) = Arc::clone(streams).try_acquire_owned() else {
        return Reply::error(StatusCode::SERVICE_UNAVAILABLE, &Bound::PageStreams.refusal());
    };
    let (parts, receiver) = mpsc::channel(WAITING);
    // Weak: a client that stays must not keep the agent's store open at its end.
    let admin = Arc::downgrade(admin);
    tokio::spawn(async move {
        while let Some(admin) = admin.upgrade() {
            let event = format!("data: {}\n\n", state(&admin, &view).await);
            drop(admin);
            if parts.send(Bytes::from(event)).await.is_err() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = parts.closed() => break,
            }
        }
        drop(permit);
    });
    Reply::stream("text/event-stream", receiver)
}

/// The newest gaps, with the names of their domains.
async fn gaps(admin: &AdminService, view: &View) -> Reply {
    let mut gaps = match admin.resources.gaps.all().await {
        Ok(gaps) => gaps,
        Err(reason) => return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &reason),
    };
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.until));
    let names = view.names();
    let listed = gaps.iter().take(GAPS).map(|gap| {
        let mut listed = queries::gap(gap);
        listed["name"] = json!(names.get(&gap.resource));
        listed
    });
    Reply::json(&json!({ "gaps": listed.collect::<Vec<_>>(), "count": gaps.len() }))
}
