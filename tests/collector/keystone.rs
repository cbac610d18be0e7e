//! Tokens of a real Keystone on the v2 API.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::api::{Served, served};
use crate::harness::{Cloud, Collector, PATIENCE, closed_port, cloud, eventually, request};

/// `api.keystone` with the collector's own user.
fn collector(cloud: &Cloud, name: &str) -> Collector {
    Collector::new(name).set("api.access", "keystone").set("api.keystone", cloud.password())
}

fn get(address: &str, path: &str, token: &str) -> crate::harness::Reply {
    request(address, "GET", path, &[&format!("X-Auth-Token: {token}")], "")
}

/// A new user with one role in a new project; its token and the id of its project.
fn member(cloud: &Cloud, name: &str, role: &str) -> (String, String) {
    let admin = cloud.token("admin", "admin-password", "admin");
    let create = |kind: &str, body: Value| {
        let made = cloud.keystone("POST", &format!("/{kind}s"), &admin, &json!({kind: body}));
        made[kind]["id"].as_str().unwrap().to_owned()
    };
    let project = create("project", json!({"name": name, "domain_id": "default"}));
    let user =
        create("user", json!({"name": name, "password": "password", "domain_id": "default"}));
    let list = cloud.keystone("GET", &format!("/roles?name={role}"), &admin, &Value::Null);
    let role = match list["roles"][0]["id"].as_str() {
        Some(id) => id.to_owned(),
        None => create("role", json!({"name": role})),
    };
    let path = format!("/projects/{project}/users/{user}/roles/{role}");
    cloud.keystone("PUT", &path, &admin, &Value::Null);
    (cloud.token(name, "password", name), project)
}

#[test]
fn projects_and_roles_of_keystone_decide() {
    let cloud = cloud();
    let collector = collector(cloud, "collector-keystone");
    let Served { running, address, collector: _collector, .. } = served(collector);
    let (own, project) = member(cloud, "keystone-member", "member");
    let (auditor, _) = member(cloud, "keystone-auditor", "auditor");
    let admin = cloud.token("admin", "admin-password", "admin");
    let count = |token: &str| get(&address, "/v2/samples", token).body.as_array().unwrap().len();
    assert_eq!([&own, &auditor, &admin].map(|token| count(token)), [0, 3, 3]);
    let sample = json!([{"counter_name": "x", "counter_type": "gauge", "counter_unit": "",
        "counter_volume": 1, "resource_id": "r"}])
    .to_string();
    let post = |token: &str, body: &str| {
        request(&address, "POST", "/v2/meters/x", &[&format!("X-Auth-Token: {token}")], body)
    };
    let posted = post(&own, &sample);
    assert_eq!((posted.status, &posted.body[0]["project_id"]), (201, &json!(project)));
    assert_eq!(post(&auditor, &sample).status, 403);
    assert_eq!([&own, &auditor, &admin].map(|token| count(token)), [1, 4, 4]);
    let foreign = get(&address, "/v2/meters?q.field=project_id&q.op=eq&q.value=p2", &own);
    assert_eq!((foreign.status, foreign.fault()), (401, "Not Authorized to access project p2"));
    for wrong in ["wrong", "gAAAAABwrong", "x y", &"x".repeat(20_000)] {
        assert_eq!(get(&address, "/v2/meters", wrong).status, 401, "{wrong:.20}");
    }
    assert_eq!(request(&address, "GET", "/v2/meters", &[], "").status, 401);
    assert_eq!(request(&address, "GET", "/health", &[], "").status, 200);
    // Roles of a domain, and tokens without scope, are for nothing here.
    let unscoped = cloud.token_with(
        &json!({"methods": ["password"], "password": {"user":
        {"name": "keystone-member", "domain": {"id": "default"}, "password": "password"}}}),
        None,
    );
    assert_eq!(get(&address, "/v2/meters", &unscoped).status, 401);
    running.stop().code(0);
}

/// A revoked token ends when the cache ends.
#[test]
fn a_revoked_token_ends_after_the_time_of_the_cache() {
    let cloud = cloud();
    let collector = collector(cloud, "collector-keystone-revoked").set("api.token_cache", "3s");
    let Served { running, address, collector: _collector, .. } = served(collector);
    let (own, _) = member(cloud, "keystone-revoked", "member");
    assert_eq!(get(&address, "/v2/meters", &own).status, 200);
    cloud.revoke(&own);
    eventually("the end of the token", PATIENCE, || {
        let status = get(&address, "/v2/meters", &own).status;
        assert!([200, 401].contains(&status), "{status}");
        (status == 401).then_some(())
    });
    assert_eq!(get(&address, "/v2/meters", &own).status, 401);
    running.stop().code(0);
}

/// The collector's own token ends with its password: nobody is let in until it gets another one.
#[test]
fn the_collector_gets_a_new_token_of_its_own() {
    let cloud = cloud();
    let (_, project) = member(cloud, "keystone-own", "admin");
    let collector = Collector::new("collector-keystone-own");
    let file = collector.folder.write("password", "password\n");
    let credentials = json!({"auth_url": cloud.auth_url(), "username": "keystone-own",
        "password_file": file, "project_id": project});
    let collector = collector
        .set("api.access", "keystone")
        .set("api.token_cache", "1ms")
        .set("api.keystone", credentials);
    let Served { running, address, collector, .. } = served(collector);
    let (client, _) = member(cloud, "keystone-client", "member");
    let status = |expected: u16| {
        eventually("the status", PATIENCE, || {
            let reply = get(&address, "/v2/meters", &client);
            assert!([200, 503].contains(&reply.status), "{reply:?}");
            (reply.status == expected).then_some(())
        });
    };
    status(200);
    let admin = cloud.token("admin", "admin-password", "admin");
    let found = cloud.keystone("GET", "/users?name=keystone-own", &admin, &Value::Null);
    let user = format!("/users/{}", found["users"][0]["id"].as_str().unwrap());
    let change = |password: &str| {
        cloud.keystone("PATCH", &user, &admin, &json!({"user": {"password": password}}))
    };
    change("another");
    status(503);
    change("password");
    status(200);
    assert_eq!(running.logged("keystone unavailable").len(), 1);
    assert_eq!(running.logged("keystone available").len(), 1);
    // Its file has the new password: a reload is enough.
    change("third");
    status(503);
    collector.folder.write("password", "third\n");
    running.signal(Signal::HUP);
    status(200);
    let applied = running.logged("reload applied");
    assert_eq!(applied[0]["changes"], "api.access: counts from the next request on");
    assert!(!running.stderr().contains("third"), "the log has the password");
    running.stop().code(0);
}

#[test]
fn without_keystone_nobody_is_let_in() {
    let cloud = cloud();
    let admin = cloud.token("admin", "admin-password", "admin");
    let nowhere = json!({"auth_url": format!("http://127.0.0.1:{}/v3", closed_port()),
        "username": "ceilometer", "password": "ceilometer-password", "project_name": "service"});
    let mut wrong = cloud.password();
    wrong["password"] = json!("wrong");
    for (name, credentials) in [("away", nowhere), ("password", wrong)] {
        let collector = Collector::new(&format!("collector-keystone-{name}"))
            .set("api.access", "keystone")
            .set("api.keystone", credentials);
        let Served { running, address, collector: _collector, .. } = served(collector);
        for _ in 0..3 {
            let reply = get(&address, "/v2/meters", &admin);
            assert_eq!((reply.status, &reply.body["error"]["code"]), (503, &json!(503)), "{name}");
        }
        assert_eq!(request(&address, "GET", "/health", &[], "").status, 200);
        let logged = running.logged("keystone unavailable");
        assert_eq!(logged.len(), 1, "logged once");
        assert!(!logged[0].to_string().contains("wrong\""), "{}", logged[0]);
        running.stop().code(0);
    }
}
