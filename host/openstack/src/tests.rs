//! Services that are wrong, slow or hostile, as far as a real Keystone and a real Nova cannot be made
//! to be: `tests/openstack.rs` has those.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::error::CloudError;
use crate::http::HttpClient;
use crate::inventory::Inventory;
use crate::keystone::Keystone;
use crate::{Refresher, ServerFeed};
use nephometer_config::{
    CloudIdentity, CloudInterface, CloudName, CloudSpec, DiscoveryMethod, DiscoverySpec,
};
use nephometer_model::{Bound, Secret, ServerSource};

/// What answers one request after the other: each answer as it goes over the wire.
struct Service {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    let mut bytes = [0; 4096];
                    match stream.read(&mut bytes).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => request.extend_from_slice(&bytes[..count]),
                    }
                }
                seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                let Some(answer) = answers.next() else {
                    // Nothing more: the client waits.
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    continue;
                };
                let answer = String::from_utf8_lossy(&answer)
                    .replace("HERE", &format!("http://127.0.0.1:{port}"));
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        Self { port, requests }
    }

    fn cloud(&self) -> CloudSpec {
        CloudSpec {
            auth_url: format!("http://127.0.0.1:{}/v3", self.port),
            identity: CloudIdentity::Password {
                user: CloudName::Id("u".to_owned()),
                password: Secret::new("hunter2"),
                project: CloudName::Id("p".to_owned()),
            },
            region: None,
            interface: CloudInterface::Public,
            ca: None,
            compute: None,
            timeout: Duration::from_millis(500),
        }
    }

    fn inventory(&self, method: DiscoveryMethod) -> Inventory {
        let spec = self.cloud();
        let http = HttpClient::new(&spec).unwrap();
        let keystone = Keystone::new(spec.clone()).unwrap();
        let spec = DiscoverySpec { method, nova: Some(spec), ..DiscoverySpec::default() };
        Inventory::new("h".to_owned(), spec, http, keystone)
    }

    /// The first lines of the requests.
    fn lines(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let line = |request: &String| request.lines().next().unwrap_or_default().to_owned();
        requests.iter().map(|request| line(request).replace(" HTTP/1.1", "")).collect()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn answer(status: &str, headers: &str, body: &Value) -> Vec<u8> {
    // The end of the connection ends the body.
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn token() -> Vec<u8> {
    let endpoint = json!({"interface": "public", "region_id": "r", "url": "HERE/v2.1"});
    let image = json!({"interface": "public", "region_id": "r", "url": "HERE"});
    let body = json!({"token": {
        "issued_at": "2026-11-29T20:00:00.000000Z", "expires_at": "2026-11-29T21:00:00.000000Z",
        "project": {"id": "p"},
        "catalog": [{"type": "compute", "endpoints": [endpoint]},
            {"type": "image", "endpoints": [image]}],
    }});
    answer("201 Created", "x-subject-token: T0KEN\r\n", &body)
}

fn servers(numbers: std::ops::Range<u128>, next: Option<&str>) -> Vec<u8> {
    let one = |number| {
        json!({"id": Uuid::from_u128(number).to_string(), "name": format!("vm-{number}"),
            "OS-EXT-STS:vm_state": "active", "flavor": {"id": "1"}, "image": ""})
    };
    let servers: Vec<Value> = numbers.map(one).collect();
    let mut body = json!({ "servers": servers });
    if let Some(next) = next {
        body["servers_links"] = json!([{"rel": "next", "href": next}]);
    }
    answer("200 OK", "date: Sun, 29 Nov 2026 20:00:00 GMT\r\n", &body)
}

fn text(error: &CloudError) -> String {
    nephometer_telemetry::Chain(error).to_string()
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let refused = || answer("401 Unauthorized", "", &json!({}));
    let service = Service::start(vec![
        token(),
        refused(),
        token(),
        servers(0..2, None),
        refused(),
        token(),
        refused(),
    ])
    .await;
    let mut inventory = service.inventory(DiscoveryMethod::Merged);
    inventory.refresh().await.unwrap();
    assert_eq!(inventory.servers.len(), 2);
    let error = inventory.refresh().await.unwrap_err();
    assert!(error.is_status(401), "{error}");
    assert_eq!(inventory.servers.len(), 2, "nothing known is lost");
    let list = "GET /v2.1/servers/detail?all_tenants=True&host=h";
    let since = format!("{list}&changes-since=2026-11-29T19%3A59%3A30Z");
    let auth = "POST /v3/auth/tokens";
    assert_eq!(service.lines(), [auth, list, auth, list, &since, auth, &since]);
    let requests = service.requests.lock().unwrap();
    assert!(requests[1].contains("x-auth-token: T0KEN"), "{}", requests[1]);
}

#[tokio::test]
async fn all_pages_are_read_and_the_token_stays_with_its_host() {
    let next = "http://127.0.0.2:1/v2.1/servers/detail?host=h&marker=x";
    let service = Service::start(vec![
        token(),
        servers(0..2, Some(next)),
        servers(2..3, Some(next)),
        servers(0..0, Some(next)),
    ])
    .await;
    let mut inventory = service.inventory(DiscoveryMethod::Merged);
    inventory.refresh().await.unwrap();
    assert_eq!(inventory.servers.len(), 3);
    assert_eq!(service.lines()[2], "GET /v2.1/servers/detail?host=h&marker=x");
}

#[tokio::test]
async fn whatever_fails_leaves_the_servers_as_they_were() {
    let deep = "[".repeat(100_000);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (answer("503 Service Unavailable", "retry-after: 7\r\n", &json!({})), "status 503"),
        (answer("302 Found", "location: HERE/elsewhere\r\n", &json!({})), "status 302"),
        (answer("200 OK", "", &json!({"servers": 7})), "it has no servers"),
        (answer("200 OK", "", &json!({"servers": [{"id": "x"}]})), "no uuid"),
        (answer("200 OK", "", &Value::Null), "it has no servers"),
        (b"HTTP/1.1 200 OK\r\n\r\n{\"servers\": [".to_vec(), "not JSON"),
        (format!("HTTP/1.1 200 OK\r\n\r\n{deep}").into_bytes(), "not JSON"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "does not answer in HTTP"),
        (Vec::new(), "does not answer in HTTP"),
        (vec![b'x'; Bound::CloudHead.size() + 1], "does not answer in HTTP"),
    ];
    let mut answers = vec![token(), servers(0..2, None)];
    answers.extend(cases.iter().map(|(answer, _)| answer.clone()));
    let service = Service::start(answers).await;
    let mut inventory = service.inventory(DiscoveryMethod::Merged);
    inventory.refresh().await.unwrap();
    for (_, expected) in &cases {
        let error = inventory.refresh().await.unwrap_err();
        assert!(text(&error).contains(expected), "{expected}: {}", text(&error));
        let wait = (*expected == "status 503").then(|| Duration::from_secs(7));
        assert_eq!(error.retry_after(), wait);
        assert_eq!(inventory.servers.len(), 2);
        assert!(!text(&error).contains("T0KEN") && !text(&error).contains("hunter2"));
    }
    // The service has no more answers.
    let begun = Instant::now();
    let error = inventory.refresh().await.unwrap_err();
    assert!(text(&error).contains("did not answer within"), "{}", text(&error));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn hostile_sizes_are_refused() {
    let body = Bound::CloudBody.size() + 1;
    let large = format!("HTTP/1.1 200 OK\r\n\r\n\"{}\"", "x".repeat(body)).into_bytes();
    let pages = vec![servers(0..1, Some("http://x/?marker=m")); Bound::CloudPages.size()];
    let wait = "retry-after: 99999999999\r\n";
    let mut answers = vec![token(), large, answer("429 Too Many", wait, &json!({}))];
    answers.extend(pages);
    let service = Service::start(answers).await;
    let mut inventory = service.inventory(DiscoveryMethod::Merged);
    let error = inventory.refresh().await.unwrap_err();
    assert!(text(&error).contains("too large"), "{}", text(&error));
    let error = inventory.refresh().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    let error = inventory.refresh().await.unwrap_err();
    assert!(text(&error).contains("openstack_pages"), "{}", text(&error));
    assert!(inventory.servers.is_empty());
}

#[tokio::test]
async fn a_token_that_is_too_long_or_no_header_is_refused() {
    let long = "x".repeat(Bound::CloudToken.size() + 1);
    let long = answer("201 Created", &format!("x-subject-token: {long}\r\n"), &json!({}));
    let service = Service::start(vec![long, answer("201 Created", "", &json!({}))]).await;
    let mut inventory = service.inventory(DiscoveryMethod::Merged);
    let error = inventory.refresh().await.unwrap_err();
    assert!(text(&error).contains("openstack_token_bytes"), "{}", text(&error));
    let error = inventory.refresh().await.unwrap_err();
    assert!(text(&error).contains("no X-Subject-Token"), "{}", text(&error));
}

#[tokio::test]
async fn flavors_and_images_that_are_gone_have_names_and_are_asked_for_once() {
    let one = |number: u128| {
        json!({"id": Uuid::from_u128(number).to_string(), "OS-EXT-STS:vm_state": "active",
            "flavor": {"id": "f"}, "image": {"id": "i"}})
    };
    let list = answer("200 OK", "", &json!({"servers": [one(1), one(2)]}));
    let gone = || answer("404 Not Found", "", &json!({}));
    let service = Service::start(vec![token(), list, gone(), gone()]).await;
    let mut inventory = service.inventory(DiscoveryMethod::Naive);
    inventory.refresh().await.unwrap();
    let server = &inventory.servers[&Uuid::from_u128(2)];
    let expected = json!({"id": "f", "name": "unknown-id-f", "vcpus": 0, "ram": 0, "disk": 0,
        "ephemeral": 0});
    assert_eq!(json!(server.flavor), expected);
    assert_eq!(json!(server.image), json!({"id": "i", "name": "unknown-id-i"}));
    assert!(server.image_meta.is_empty());
    assert_eq!(service.lines()[2..], ["GET /v2.1/flavors/f", "GET /v2/images/i"]);
}

/// Credentials that Keystone refuses are replaced while the task waits after the failure.
#[tokio::test]
async fn other_settings_are_used_at_once() {
    let wrong = Service::start(vec![answer("401 Unauthorized", "", &json!({}))]).await;
    let right = Service::start(vec![token(), servers(0..2, None)]).await;
    let spec = DiscoverySpec {
        method: DiscoveryMethod::Merged,
        nova: Some(wrong.cloud()),
        ..DiscoverySpec::default()
    };
    let (refresher, feed, settings) = Refresher::new("h", &spec, None).unwrap();
    tokio::spawn(refresher.run());
    let until = async |what: fn(&ServerFeed) -> bool| {
        let waiting = async {
            while !what(&feed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    };
    until(|feed| feed.now().failing).await;
    let asked = wrong.lines().len();
    // The same settings are no reason to ask.
    settings.replace(&wrong.cloud());
    settings.replace(&CloudSpec { auth_url: "no URL".to_owned(), ..right.cloud() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(feed.now().failing);
    settings.replace(&right.cloud());
    until(|feed| !feed.now().failing && feed.now().servers.len() == 2).await;
    assert_eq!(wrong.lines().len(), asked);
}
