//! The v2 API as a client sees it: the answers of the real API 9.0.7 to the same requests, and who
//! may see what.

use serde_json::{Value, json};

use crate::harness::{Collector, Folder, Running, api_of, request};

/// Three samples: two of one project, a day ago.
fn samples() -> (Vec<String>, String) {
    let day = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let date = day.strftime("%Y-%m-%d").to_string();
    let sample = |number: u32, meter: &str, project: &str, resource: &str, time: &str| {
        json!({
            "message_id": format!("3a5f2c1e-6821-41e5-9d70-{number:012}"),
            "counter_name": meter, "counter_type": "gauge", "counter_unit": "%",
            "counter_volume": f64::from(number) + 0.5, "user_id": "u1", "project_id": project,
            "resource_id": resource, "source": "openstack",
            "timestamp": format!("{date}T{time}"),
            "resource_metadata": {"display_name": resource, "flavor": {"id": "1", "ram": 96},
                "instance_type": "m1.tiny", "list": ["a"], "none": null},
        })
        .to_string()
    };
    let lines = vec![
        sample(1, "cpu_util", "p1", "r1", "10:00:00"),
        sample(2, "cpu_util", "p1", "r1", "10:10:00"),
        sample(3, "cpu_util", "p2", "inst-1-tap/with space", "10:20:00"),
    ];
    (lines, date)
}

pub(super) struct Served {
    pub(super) collector: Collector,
    pub(super) running: Running,
    pub(super) address: String,
    pub(super) date: String,
}

/// A running collector with the samples.
pub(super) fn served(collector: Collector) -> Served {
    let (lines, date) = samples();
    let file = collector.folder.write("samples", lines.join("\n"));
    collector
        .execute(&["import", "--unsigned", file.to_str().unwrap()])
        .code(0)
        .reports("ok: 3 stored");
    let running = collector.run();
    let address = api_of(&running);
    Served { collector, running, address, date }
}

#[test]
fn requests_have_the_answers_of_the_real_api() {
    let Served { running, address, date, collector: _collector } =
        served(Collector::new("collector-api"));
    let get = |path: &str| request(&address, "GET", path, &[], "");
    faults(&address, &get);
    meters_and_samples(&get, &date);
    statistics(&get, &date);
    let filter = json!({"and": [{"=": {"meter": "cpu_util"}}, {">": {"volume": 2}}]}).to_string();
    let body = json!({"filter": filter, "orderby": "[{\"volume\": \"ASC\"}]", "limit": "7"});
    let found = request(&address, "POST", "/v2/query/samples", &[], &body.to_string()).body;
    let volumes: Vec<f64> =
        found.as_array().unwrap().iter().map(|one| one["volume"].as_f64().unwrap()).collect();
    assert_eq!(volumes, [2.5, 3.5]);
    let posted = json!([{"counter_name": "foo", "counter_type": "gauge", "counter_unit": "B",
        "counter_volume": "3", "resource_id": "r9", "project_id": "p", "user_id": "u"}]);
    let reply = request(&address, "POST", "/v2/meters/foo", &[], &posted.to_string());
    assert_eq!((reply.status, &reply.body[0]["source"]), (201, &json!("p:openstack")), "{reply:?}");
    assert_eq!(get("/v2/meters/foo").body[0]["counter_volume"], 3.0);
    running.stop().code(0);
}

/// Requests for what does not exist, or with wrong arguments.
fn faults(address: &str, get: &dyn Fn(&str) -> crate::harness::Reply) {
    for (path, status, fault) in [
        ("/v2/resources/nosuch", 404, "Resource nosuch Not Found"),
        ("/v2/samples/nosuch", 404, "Sample nosuch Not Found"),
        ("/v2/meters/cpu?limit=0", 400, "Limit must be positive"),
        ("/v2/meters/cpu?limit=-1", 400, "Limit must be positive"),
        ("/v2/meters/cpu/statistics?period=-1", 400, "Period must be positive."),
        (
            "/v2/meters/cpu/statistics?groupby=bogus",
            400,
            "Unknown argument: \"{'bogus'}\": Invalid groupby fields",
        ),
        (
            "/v2/meters/cpu/statistics?aggregate.func=nope",
            400,
            "Invalid aggregation function: nope",
        ),
        (
            "/v2/meters/cpu/statistics?aggregate.func=cardinality&aggregate.param=bogus",
            400,
            "Bad aggregate: cardinality.bogus",
        ),
        (
            "/v2/meters/cpu?q.field=resource_id&q.op=zz&q.value=1",
            400,
            "Invalid input for field/attribute op. Value: 'zz'. unimplemented operator for resource_id",
        ),
    ] {
        let reply = get(path);
        assert_eq!((reply.status, reply.fault()), (status, fault), "{path}");
    }
    for path in [
        "/v2/meters/nosuch",
        "/v2/meters/nosuch/statistics",
        "/v2/meters/cpu_util/statistics?q.field=timestamp&q.op=ge&q.value=2090-11-28T21:00:00",
    ] {
        let reply = get(path);
        assert_eq!((reply.status, reply.body), (200, json!([])), "{path}");
    }
    for (method, path, status) in [
        ("GET", "/v2", 404),
        ("GET", "/v1", 404),
        ("GET", "/v2/alarms", 410),
        ("GET", "/v2/events", 404),
        ("GET", "/v2/query/samples", 405),
        ("DELETE", "/v2/meters", 405),
    ] {
        let reply = request(address, method, path, &[], "");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body["error_message"].as_str().unwrap().starts_with("<html>"), "{path}");
    }
}

fn meters_and_samples(get: &dyn Fn(&str) -> crate::harness::Reply, date: &str) {
    let meters = get("/v2/meters?q.field=resource_id&q.op=eq&q.type=&q.value=r1").body;
    assert_eq!(
        meters,
        json!([{"name": "cpu_util", "type": "gauge", "unit": "%", "resource_id": "r1",
        "project_id": "p1", "user_id": "u1", "source": "openstack", "meter_id": "cjErY3B1X3V0aWw="}])
    );
    let unique = get("/v2/meters?unique=True").body;
    assert_eq!(unique[0]["meter_id"], "Tm9uZStjcHVfdXRpbA==");
    assert_eq!((unique.as_array().unwrap().len(), &unique[0]["resource_id"]), (1, &Value::Null));

    let old = get("/v2/meters/cpu_util?limit=1&q.field=project&q.op=eq&q.value=p1").body;
    assert_eq!(old[0]["timestamp"], format!("{date}T10:10:00"));
    assert_eq!(old[0]["counter_volume"], 2.5);
    let metadata = json!({"display_name": "r1", "flavor.id": "1", "flavor.ram": "96",
        "instance_type": "m1.tiny", "list": "['a']", "none": "None"});
    assert_eq!(old[0]["resource_metadata"], metadata);
    let resource = get("/v2/resources/inst-1-tap/with%20space").body;
    assert_eq!(resource["last_sample_timestamp"], format!("{date}T10:20:00"));
    assert_eq!(resource["links"][1]["rel"], "cpu_util");
    let typed = |kind: &str, value: &str| {
        let path = format!(
            "/v2/samples?q.field=metadata.flavor.ram&q.op=eq&q.type={kind}&q.value={value}"
        );
        get(&path).body.as_array().unwrap().len()
    };
    assert_eq!((typed("", "96"), typed("integer", "96"), typed("string", "96")), (3, 3, 0));
}

/// As the real API prints them: chosen aggregates stand on top and in `aggregate`.
fn statistics(get: &dyn Fn(&str) -> crate::harness::Reply, date: &str) {
    let whole = get("/v2/meters/cpu_util/statistics").body;
    let first = format!("{date}T10:00:00");
    let last = format!("{date}T10:20:00");
    assert_eq!(
        whole,
        json!([{"groupby": null, "unit": "%", "min": 1.5, "max": 3.5, "avg": 2.5,
        "sum": 7.5, "count": 3, "duration": 1200.0, "duration_start": first, "duration_end": last,
        "period": 0, "period_start": first, "period_end": last}])
    );
    // Without times periods begin at the first sample; one exactly at the end of the last is dropped.
    let periods = get("/v2/meters/cpu_util/statistics?period=600").body;
    let counts: Vec<&Value> = periods.as_array().unwrap().iter().map(|one| &one["count"]).collect();
    assert_eq!(counts, [1, 1]);
    assert_eq!(periods[1]["period_end"], last);
    let chosen = get("/v2/meters/cpu_util/statistics?aggregate.func=cardinality&aggregate.param=\
        resource_id&aggregate.func=avg&aggregate.func=stddev")
    .body;
    let one = chosen[0].as_object().unwrap();
    assert_eq!((one["avg"].as_f64(), one.get("max"), one.get("stddev")), (Some(2.5), None, None));
    assert_eq!(one["aggregate"]["cardinality/resource_id"], 2.0);
    assert!((one["aggregate"]["stddev"].as_f64().unwrap() - 0.816_496_580_9).abs() < 1e-9);
    let grouped = get("/v2/meters/cpu_util/statistics?groupby=project_id").body;
    assert_eq!(grouped[0]["groupby"], json!({"project_id": "p1"}));
    let typed = get("/v2/meters/cpu_util/statistics?groupby=resource_metadata.instance_type").body;
    assert_eq!(typed[0]["groupby"], json!({"resource_metadata.instance_type": "m1.tiny"}));
    let clamped = get(&format!(
        "/v2/meters/cpu_util/statistics?q.field=timestamp&q.op=ge&q.value={date}T09:00:00\
         &q.field=timestamp&q.op=lt&q.value={date}T11:00:00&period=3600"
    ))
    .body;
    assert_eq!(clamped[0]["period_start"], format!("{date}T10:00:00"));
    assert_eq!(clamped[0]["duration_start"], first);
}

/// A token of the command `token`, and its line.
pub(super) fn token(collector: &Collector, project: &str, roles: &str) -> (String, String) {
    let made = collector.execute(&["token", "--project", project, "--roles", roles]).code(0).stdout;
    let line = |name: &str| {
        made.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    (line("token:"), line("line:"))
}

#[test]
fn a_project_sees_its_own_samples_and_roles_see_more() {
    let folder = Folder::new("collector-tokens");
    let collector = Collector::new("collector-access");
    let [member, admin, auditor] = [("p1", "member"), ("p0", "admin"), ("p0", "auditor")]
        .map(|(project, roles)| token(&collector, project, roles));
    let lines = [&*member.1, &admin.1, &auditor.1].join("\n");
    let file = folder.write("tokens", lines);
    let collector = collector.set("api.access", "tokens").set("api.tokens", file.to_str().unwrap());
    let Served { running, address, collector: _collector, .. } = served(collector);
    let get = |path: &str, token: &str| {
        let header = format!("X-Auth-Token: {token}");
        request(&address, "GET", path, &[&header], "")
    };
    assert_eq!(request(&address, "GET", "/v2/meters", &[], "").status, 401);
    assert_eq!(get("/v2/meters", "wrong").status, 401);
    assert_eq!(request(&address, "GET", "/health", &[], "").status, 200);
    let count = |token: &str| get("/v2/samples", token).body.as_array().unwrap().len();
    assert_eq!([&member, &admin, &auditor].map(|(token, _)| count(token)), [2, 3, 3]);
    let foreign = get("/v2/meters?q.field=project_id&q.op=eq&q.value=p2", &member.0);
    assert_eq!((foreign.status, foreign.fault()), (401, "Not Authorized to access project p2"));
    let other = "/v2/resources/inst-1-tap/with%20space";
    assert_eq!((get(other, &member.0).status, get(other, &admin.0).status), (404, 200));
    let id = "/v2/samples/3a5f2c1e-6821-41e5-9d70-000000000003";
    assert_eq!((get(id, &member.0).status, get(id, &auditor.0).status), (404, 200));
    let filter = json!({"filter": json!({"=": {"project": "p2"}}).to_string()}).to_string();
    let post = |path: &str, token: &str, body: &str| {
        let header = format!("X-Auth-Token: {token}");
        request(&address, "POST", path, &[&header], body)
    };
    assert_eq!(post("/v2/query/samples", &member.0, &filter).status, 401);
    let sample = json!([{"counter_name": "x", "counter_type": "gauge", "counter_unit": "",
        "counter_volume": 1, "resource_id": "r", "project_id": "p2"}])
    .to_string();
    assert_eq!(post("/v2/meters/x", &member.0, &sample).status, 400);
    assert_eq!(post("/v2/meters/x", &auditor.0, &sample).status, 403);
    assert_eq!(post("/v2/meters/x", &admin.0, &sample).status, 201);
    running.stop().code(0);
}

/// Requests that would read or hold too much are refused with the way to narrow them.
#[test]
fn requests_are_bounded() {
    let collector = Collector::new("collector-bounds").set("api.rows", 2);
    let Served { running, address, collector: _collector, .. } = served(collector);
    let reply = request(
        &address,
        "GET",
        "/v2/meters/cpu_util/statistics?groupby=resource_metadata.instance_type",
        &[],
        "",
    );
    assert_eq!(reply.status, 400);
    assert!(reply.fault().contains("more than 2 samples; narrow it by meter"), "{reply:?}");
    let long = "x".repeat(2 << 20);
    assert_eq!(request(&address, "POST", "/v2/query/samples", &[], &long).status, 413);
    let many = "q.field=resource_id&q.op=eq&q.value=r1&".repeat(201);
    let reply = request(&address, "GET", &format!("/v2/samples?{many}"), &[], "");
    assert!(reply.fault().contains("query_terms"), "{reply:?}");
    running.stop().code(0);
}
