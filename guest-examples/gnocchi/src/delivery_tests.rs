//! Envelopes against what Ceilometer 27.0.0 and a real Gnocchi 4.7.1 exchanged: the same requests,
//! answered as Gnocchi answered. `tests/requests.jsonl` was captured and must not be edited.
//!
//! Ceilometer had two workers, whose requests alternate in the capture.

use nephometer_guest::{DeliveryBatch, Meter, MeterType, Resource};
use nephometer_guest_http::HttpError;
use serde_json::json;

use super::*;
use crate::session::Call;

/// The captured requests, by their position.
fn captured() -> Vec<Value> {
    let lines = include_str!("../tests/requests.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A receiver that expects captured requests, in this order, and returns what Gnocchi returned.
struct Replay {
    captured: Vec<Value>,
    expected: Vec<usize>,
    next: usize,
}

impl Replay {
    fn of(expected: &[usize]) -> Self {
        Self { captured: captured(), expected: expected.to_vec(), next: 0 }
    }

    fn respond(&mut self, call: &Call<'_>) -> Response {
        let body = String::from_utf8(call.body.clone()).expect("text");
        let at = self.expected.get(self.next);
        let at = *at.unwrap_or_else(|| unreachable!("one more request: {} {body}", call.path));
        self.next += 1;
        let wanted = &self.captured[at];
        let header = |name: &str| {
            let found = call.headers.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(
            (call.method, call.path.as_str()),
            (text(wanted, "method"), text(wanted, "path"))
        );
        assert_eq!(body, text(wanted, "body"), "request {at}");
        assert_eq!(header("content-type"), wanted["content-type"].as_str());
        assert_eq!(header("authorization"), wanted["authorization"].as_str());
        let status = wanted["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        response(status.expect("a status"), text(wanted, "response"))
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a text")
}

fn response(status: u16, body: &str) -> Response {
    Response { status, body: body.as_bytes().to_vec(), ..Response::default() }
}

/// The owner, the name and the flavor of the two instances of the capture.
const INSTANCES: [(&str, &str, &str, &str); 2] = [
    (
        "20b493f5-4995-90d2-c6e3-ecf351c0b75f",
        "499590d2c6e3ecf351c0b75fb11ab6f8",
        "b11ab6f85702d3535edb5436aa367639",
        "instance-2-server-3",
    ),
    (
        "aaaaaaaa-5958-9899-d858-a59fdf0c88cb",
        "59589899d858a59fdf0c88cbe4b5aff3",
        "e4b5aff3f414f53d2ce8e924fdba976b",
        "instance-1-server-2",
    ),
];

/// An envelope with a sample of each instance, or of its disk, in the reverse order of their ids.
fn envelope(id: &str, is_disk: bool, time: &str, volumes: [&str; 2]) -> Delivery {
    let (name, unit) = if is_disk { ("disk.device.read.bytes", "B") } else { ("cpu", "ns") };
    let resource = |(uuid, user, project, name): &(&str, &str, &str, &str)| {
        // The capture was made with a copy of an instance under another id.
        let own = uuid.replace("aaaaaaaa", "5d01f524");
        let metadata = json!({
            "host": "compute-1", "display_name": name, "disk_name": "vda", "instance_id": own,
            "flavor": {"id": "1", "name": "m1.tiny"}, "unused": null,
            "image_ref": "155d900f-4e14-4e4c-a73d-069cbf4541e6",
        });
        Resource {
            id: if is_disk { format!("{uuid}-vda") } else { (*uuid).to_owned() },
            source: "openstack".to_owned(),
            project_id: Some((*project).to_owned()),
            user_id: Some((*user).to_owned()),
            metadata: metadata.to_string(),
        }
    };
    let volume = |at: usize| volumes[at].parse::<f64>().expect("a number");
    let meter =
        Meter { name: name.to_owned(), unit: unit.to_owned(), type_: MeterType::Cumulative };
    let sample = |volume: &str| {
        format!("{{\"volume\": {volume}, \"timestamp\": \"{time}\", \"id\": \"x\"}}")
    };
    Delivery {
        id: id.to_owned(),
        attempt: 1,
        input: DeliveryBatch {
            meters: vec![meter],
            resources: vec![resource(&INSTANCES[1]), resource(&INSTANCES[0])],
            meter: vec![0, 0],
            resource: vec![0, 1],
            time: vec![1, 1],
            monotonic: vec![0, 0],
            volume: vec![volume(1), volume(0)],
            exact: Vec::new(),
            removed: Vec::new(),
        },
        texts: vec![sample(volumes[1]), sample(volumes[0])],
    }
}

fn worker() -> Worker {
    let options = json!({
        "host": "gnocchi", "auth_type": "gnocchi-basic",
        "query": {"archive_policy": ["low"], "enable_filter_project": ["false"]},
    });
    Worker::new(Options::read(&options).expect("good options"))
}

const FIRST: (&str, [&str; 2]) = ("2026-11-28T22:29:32.942766", ["6160000000", "9740000000"]);

#[test]
fn requests_equal_those_of_ceilometer() {
    let mut worker = worker();
    for (delivery, expected) in [
        // Archive policies, measures, the unknown instance, measures, the changed instance.
        (envelope("1", false, FIRST.0, FIRST.1), &EXPECTED[..]),
        // The same for disks.
        (
            envelope("2", true, "2026-11-28T22:29:42.942766", ["1000000512", "1031461888"]),
            &[9, 10, 13, 16],
        ),
        // Everything is known.
        (envelope("3", false, "2026-11-28T22:29:42.942766", ["7160000000", "10740000000"]), &[24]),
        (envelope("4", true, FIRST.0, ["512", "31461888"]), &[25]),
    ] {
        let mut replay = Replay::of(expected);
        let result = worker.deliver(&delivery, &mut |call| Ok(replay.respond(call)), &|| true);
        assert_eq!((result, replay.next), (Ok(()), expected.len()), "envelope {}", delivery.id);
    }
}

const EXPECTED: [usize; 8] = [0, 2, 4, 6, 8, 11, 12, 17];

// Whichever request fails, those that succeeded are not repeated.
#[test]
fn a_failed_delivery_continues_where_it_ended() {
    for fails_at in 0..EXPECTED.len() {
        let mut worker = worker();
        let delivery = envelope("1", false, FIRST.0, FIRST.1);
        let mut replay = Replay::of(&EXPECTED);
        let mut count = 0;
        let mut exchange = |call: &Call<'_>| {
            count += 1;
            if count == fails_at + 1 {
                return Err(HttpError::Failed("away".to_owned()));
            }
            Ok(replay.respond(call))
        };
        let first = worker.deliver(&delivery, &mut exchange, &|| true);
        assert!(matches!(first, Err(Failure::Retryable(_))), "{first:?}");
        assert_eq!(worker.deliver(&delivery, &mut exchange, &|| true), Ok(()));
        assert_eq!(replay.next, EXPECTED.len(), "fails at {fails_at}");
    }
}

#[test]
fn each_call_of_the_host_sends_at_least_one_request() {
    let mut worker = worker();
    let delivery = envelope("1", false, FIRST.0, FIRST.1);
    let mut replay = Replay::of(&EXPECTED);
    for _ in 1..EXPECTED.len() {
        let result = worker.deliver(&delivery, &mut |call| Ok(replay.respond(call)), &|| false);
        assert!(
            matches!(&result, Err(Failure::Retryable(one)) if one.after_ms == Some(0)),
            "{result:?}"
        );
    }
    let result = worker.deliver(&delivery, &mut |call| Ok(replay.respond(call)), &|| false);
    assert_eq!((result, replay.next), (Ok(()), EXPECTED.len()));
}

#[test]
fn a_refused_resource_does_not_cost_the_others() {
    let mut worker = worker();
    let mut paths = Vec::new();
    let unknown = json!({"code": 400, "description": {"cause": "Unknown resources", "detail": [
        {"original_resource_id": INSTANCES[1].0}, {"original_resource_id": "not ours"},
    ]}});
    let mut exchange = |call: &Call<'_>| {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        paths.push(format!("{} {}", call.method, call.path));
        Ok(match call.path.as_str() {
            "/v1/archive_policy/" => response(201, ""),
            BATCH if body.contains(INSTANCES[1].0) => response(400, &unknown.to_string()),
            BATCH => response(202, ""),
            "/v1/resource/instance" => response(400, "host is required"),
            _ => response(200, "{}"),
        })
    };
    let delivery = envelope("1", false, FIRST.0, FIRST.1);
    let result = worker.deliver(&delivery, &mut exchange, &|| true);
    let reason = format!(
        "1 resources were refused, first: Gnocchi refused resource {} with status 400: host is required",
        INSTANCES[1].0
    );
    assert_eq!(result, Err(Failure::Permanent(reason)));
    let update = format!("PATCH /v1/resource/instance/{}", INSTANCES[0].0);
    assert_eq!(paths.last(), Some(&update));
    assert_eq!(paths.iter().filter(|path| path.starts_with("PATCH")).count(), 1);
}

fn with_keystone(more: &Value) -> Worker {
    let mut options = json!({
        "host": "", "auth_type": "password", "auth_url": "http://keystone:5000/v3",
        "username": "u", "password": "p", "project_name": "service", "query": {},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    Worker::new(Options::read(&options).expect("good options"))
}

fn token(name: &str) -> Response {
    let catalog = json!([{"type": "metric", "endpoints": [
        {"interface": "public", "region_id": "north", "url": "http://gnocchi:8041"},
    ]}]);
    let body = json!({"token": {"catalog": catalog}}).to_string();
    let headers = vec![("x-subject-token".to_owned(), name.to_owned())];
    Response { headers, ..response(201, &body) }
}

#[test]
fn keystone_gives_the_token_the_endpoint_and_the_filtered_project() {
    let mut worker = with_keystone(&json!({}));
    let mut seen = Vec::new();
    let mut tokens = 0;
    let mut exchange = |call: &Call<'_>| {
        let header = call.headers.iter().find(|(name, _)| *name == "x-auth-token");
        let used = header.map(|(_, value)| value.clone()).unwrap_or_default();
        seen.push(format!("{} {}{} {used}", call.method, call.service.authority, call.path));
        Ok(match call.path.as_str() {
            "/v3/auth/tokens" => {
                tokens += 1;
                token(&format!("token-{tokens}"))
            }
            "/v3/domains?name=Default" => response(200, "{\"domains\": [{\"id\": \"d\"}]}"),
            "/v3/projects?name=service&domain_id=d" => {
                let body = json!({"projects": [{"id": INSTANCES[1].2}]});
                response(200, &body.to_string())
            }
            // The first token ends.
            BATCH if used == "token-1" => response(401, "Unauthorized"),
            BATCH => {
                assert!(!String::from_utf8_lossy(&call.body).contains(INSTANCES[1].0), "filtered");
                response(202, "")
            }
            _ => response(200, ""),
        })
    };
    let delivery = envelope("1", false, FIRST.0, FIRST.1);
    assert_eq!(worker.deliver(&delivery, &mut exchange, &|| true), Ok(()));
    let policy = "POST gnocchi:8041/v1/archive_policy/ token-1".to_owned();
    let wanted = [
        "POST keystone:5000/v3/auth/tokens ".to_owned(),
        policy.clone(),
        policy.clone(),
        policy.clone(),
        policy,
        "GET keystone:5000/v3/domains?name=Default token-1".to_owned(),
        "GET keystone:5000/v3/projects?name=service&domain_id=d token-1".to_owned(),
        format!("POST gnocchi:8041{BATCH} token-1"),
        "POST keystone:5000/v3/auth/tokens ".to_owned(),
        format!("POST gnocchi:8041{BATCH} token-2"),
        format!("PATCH gnocchi:8041/v1/resource/instance/{} token-2", INSTANCES[0].0),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn a_wrong_password_waits_for_an_operator() {
    for (status, is_broken) in [(401, true), (400, true), (404, true), (503, false)] {
        let mut worker = with_keystone(&json!({}));
        let mut exchange = |_: &Call<'_>| Ok(response(status, "no"));
        let delivery = envelope("1", false, FIRST.0, FIRST.1);
        let result = worker.deliver(&delivery, &mut exchange, &|| true);
        assert_eq!(matches!(result, Err(Failure::Broken(_))), is_broken, "{status}: {result:?}");
        assert!(is_broken || matches!(result, Err(Failure::Retryable(_))));
    }
}

#[test]
fn meters_without_a_definition_are_logged_once() {
    let mut worker = worker();
    let mut delivery = envelope("1", false, FIRST.0, FIRST.1);
    delivery.input.meters[0].name = "cpu_util".to_owned();
    let mut exchange = |call: &Call<'_>| {
        assert_eq!(call.path, "/v1/archive_policy/");
        Ok(response(409, ""))
    };
    for _ in 0..2 {
        assert_eq!(worker.deliver(&delivery, &mut exchange, &|| true), Ok(()));
    }
    let lines = log::taken();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].1, "metric cpu_util is not handled by Gnocchi");
}
