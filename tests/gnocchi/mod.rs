//! `gnocchi://`: the files of a site as they are, with a real Keystone; and the requests beside what a
//! real Gnocchi had after them (`scripts/gnocchi`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::harness::{
    Agent, Cloud, PATIENCE, Server, certificate, cloud, eventually, ndjson, root, text,
};

/// The receiver in `receiver.py`. With a Keystone it serves TLS, with a certificate for `localhost`.
fn receiver(name: &str, keystone: Option<&str>) -> Server {
    Server::start(name, |folder, port| {
        let mut command = Command::new("python3");
        command.arg(root().canonicalize().unwrap().join("tests/gnocchi/receiver.py"));
        command.arg(port.to_string()).arg(folder.at("requests"));
        if let Some(keystone) = keystone {
            certificate(folder);
            command.arg(keystone).args([folder.at("certificate.pem"), folder.at("key.pem")]);
        }
        command
    })
}

/// The requests so far.
fn requests(server: &Server) -> Vec<Value> {
    let text = fs::read_to_string(server.folder.at("requests")).unwrap_or_default();
    ndjson(text.rfind('\n').map_or("", |end| &text[..end]))
}

/// What Gnocchi has after these requests: by id, each resource with its attributes and measures.
fn contents(requests: &[Value]) -> BTreeMap<String, Value> {
    let mut resources: BTreeMap<String, Value> = BTreeMap::new();
    for request in requests {
        let (path, body) = (text(request, "path"), &request["body"]);
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match (text(request, "method"), &parts[..], request["status"].as_u64().unwrap()) {
            ("POST", ["resource", kind], 201) => {
                let mut resource = body.clone();
                resource["type"] = (*kind).into();
                resource["metrics"] = json!({});
                resources.insert(text(body, "id").to_owned(), resource);
            }
            ("PATCH", ["resource", _, id], 200) => {
                let resource = resources.get_mut(*id).unwrap().as_object_mut().unwrap();
                resource.extend(body.as_object().unwrap().clone());
            }
            ("POST", ["batch", ..], 202) => {
                for (id, metrics) in body.as_object().unwrap() {
                    for (name, metric) in metrics.as_object().unwrap() {
                        let known = &mut resources.get_mut(id).unwrap()["metrics"][name];
                        if known.is_null() {
                            known.clone_from(metric);
                        } else {
                            let more = metric["measures"].as_array().unwrap().clone();
                            known["measures"].as_array_mut().unwrap().extend(more);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    resources
}

/// The command line of a site that has its own files only.
fn site(agent: &Agent, conf: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    command.args(arguments).arg("--ceilometer-conf").arg(conf);
    command.args(["--libvirt", "sim://?domains=3&seed=1"]).current_dir(agent.folder.path());
    command.arg("--components").arg(root().join("target/components").canonicalize().unwrap());
    command.env("NEPHOMETER_STORE__PATH", agent.folder.at("store"));
    command.env("NEPHOMETER_CACHE__PATH", agent.folder.at("cache"));
    command.env("NEPHOMETER_CONTROL__SOCKET", "agent.sock");
    command.env("NEPHOMETER_TELEMETRY__LISTEN", "none");
    command
}

/// Writes the files of a site of kolla-ansible, with these addresses; the rest is as they are there.
fn kolla(agent: &Agent, cloud: &Cloud, cafile: &Path) -> std::path::PathBuf {
    let folder = root().join("tests/gnocchi/kolla");
    for name in ["pipeline.yaml", "polling.yaml"] {
        fs::copy(folder.join(name), agent.folder.at(name)).unwrap();
    }
    let conf = fs::read_to_string(folder.join("ceilometer.conf")).unwrap();
    let conf = conf.replace("{keystone}", cloud.auth_url().trim_end_matches("/v3"));
    let conf = conf.replace("{cafile}", &cafile.display().to_string());
    agent.folder.write("ceilometer.conf", conf)
}

/// Credentials are those of `[service_credentials]`, Gnocchi's address is that of Keystone's catalog,
/// and its certificate is of the authority in `cafile`. Nothing of it has to be written again.
#[test]
fn the_files_of_a_kolla_site_publish_to_gnocchi() {
    let cloud = cloud();
    let gnocchi = receiver("gnocchi-kolla", Some(&cloud.auth_url()));
    cloud.add_service("metric", &format!("https://localhost:{}", gnocchi.port));
    let agent = Agent::new("gnocchi-kolla-agent");
    let conf = kolla(&agent, cloud, &gnocchi.folder.at("certificate.pem"));

    let checked = agent.start(site(&agent, &conf, &["check"]), None).ended(PATIENCE).code(0);
    assert!(!checked.stderr.contains("not understood"), "{}", checked.stderr);
    let printed = format!("{}{}", checked.stdout, checked.stderr);
    assert!(!printed.contains("ceilometer-password"), "{printed}");

    let arguments = ["run", "--log", "debug"];
    let running = agent.start(site(&agent, &conf, &arguments), None);
    eventually("measures in Gnocchi", PATIENCE, || {
        requests(&gnocchi).iter().any(|request| request["status"] == 202).then_some(())
    });
    let ended = running.stop().code(0);
    for secret in ["ceilometer-password", "gAAAA"] {
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{secret}");
    }
    let count = ended.ledger().publisher("gnocchi").clone();
    assert!(count.left > 0 && count.dropped == 0 && count.pending == 0, "{count:?}");

    let requests = requests(&gnocchi);
    assert!(requests.iter().all(|request| request["status"] != 401), "{requests:?}");
    let contents = contents(&requests);
    let kinds: BTreeSet<&str> = contents.values().map(|one| text(one, "type")).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["instance", "instance_disk", "instance_network_interface"]
    );
    let with_cpu = contents.values().filter(|one| one["metrics"].get("cpu").is_some());
    assert_eq!(with_cpu.count(), 3);
}

/// What is wrong with the credentials is in the log, not what they are; and nothing is lost.
#[test]
fn credentials_that_keystone_refuses_keep_everything_pending() {
    let cloud = cloud();
    let agent = Agent::new("gnocchi-refused").everything_to(&["gnocchi://"]);
    let mut wrong = cloud.password();
    wrong["password"] = "hunter2hunter2".into();
    let agent = agent.set("service_credentials", wrong).set("shutdown_grace", "1s");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    eventually("the refusal", PATIENCE, || {
        running.stderr().contains("check service_credentials").then_some(())
    });
    let ended = running.stop();
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    let count = ended.ledger().publisher("gnocchi").clone();
    assert!(count.left == 0 && count.dropped == 0 && count.pending > 0, "{count:?}");
    // They are not granted to others, whatever these are called in.
    let agent = agent.set("components.by_name.gnocchi.grants.service_credentials", false);
    agent.execute(&["check"]).code(78).reports("gnocchi");
}

/// The mean of the volumes that were sent for a period of Gnocchi.
fn mean(measures: &[Value], begin: &str, granularity: f64) -> f64 {
    let seconds = |text: &str| {
        let text = text.trim_end_matches("+00:00").to_owned() + "Z";
        text.parse::<jiff::Timestamp>().unwrap().as_nanosecond() as f64 / 1e9
    };
    let begin = seconds(begin);
    let inside = measures.iter().filter(|one| {
        let time = seconds(text(one, "timestamp"));
        (begin..begin + granularity).contains(&time)
    });
    let volumes: Vec<f64> = inside.map(|one| one["value"].as_f64().unwrap()).collect();
    volumes.iter().sum::<f64>() / volumes.len() as f64
}

/// The requests for a recording are those after which a real Gnocchi had what `answers.jsonl` has,
/// from this agent and from Ceilometer's own publisher alike (`scripts/gnocchi`).
#[test]
fn requests_lead_to_what_a_real_gnocchi_had() {
    let gnocchi = receiver("gnocchi-golden", None);
    let agent = Agent::new("gnocchi-golden-agent")
        .libvirt(&format!("replay://{}", root().join("tests/golden/27.0.0").display()))
        .set("shutdown_grace", "60s")
        .set(
            "components.by_name.gnocchi.options",
            json!({"auth_type": "gnocchi-basic", "user": "admin"}),
        );
    let pipeline = fs::read_to_string(root().join("tests/gnocchi/pipeline.yaml")).unwrap();
    let pipeline = pipeline
        .replace("{samples}", &agent.folder.at("samples").display().to_string())
        .replace("{gnocchi}", &format!("127.0.0.1:{}", gnocchi.port));
    let agent = agent.pipeline(&pipeline);
    agent.execute(&["run"]).code(0);
    let ours = contents(&requests(&gnocchi));
    let answers = fs::read_to_string(root().join("tests/gnocchi/answers.jsonl")).unwrap();
    let answers = ndjson(&answers);
    let id = |answer: &Value| text(answer, "original_resource_id").to_owned();
    let ids: BTreeSet<String> = answers.iter().map(id).collect();
    assert_eq!(ours.keys().cloned().collect::<BTreeSet<_>>(), ids);
    for answer in &answers {
        let own = &ours[&id(answer)];
        for (key, value) in answer.as_object().unwrap() {
            match key.as_str() {
                "metrics" => {}
                "original_resource_id" => assert_eq!(*value, own["id"]),
                // Attributes that were never sent are null.
                _ => assert_eq!(*value, *own.get(key).unwrap_or(&Value::Null), "{key} of {own}"),
            }
        }
        let (metrics, own) =
            (answer["metrics"].as_object().unwrap(), own["metrics"].as_object().unwrap());
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(metrics), names(own));
        for (name, metric) in metrics {
            let own = &own[name];
            assert_eq!(metric["unit"], own["unit"], "{name}");
            assert_eq!(metric["archive_policy"], own["archive_policy_name"], "{name}");
            let sent = own["measures"].as_array().unwrap();
            let measures = metric["measures"].as_array().unwrap();
            assert!(!measures.is_empty(), "{name}");
            for measure in measures {
                let (begin, granularity) =
                    (measure[0].as_str().unwrap(), measure[1].as_f64().unwrap());
                let (value, expected) =
                    (mean(sent, begin, granularity), measure[2].as_f64().unwrap());
                assert!(
                    (value - expected).abs() <= expected.abs() * 1e-12,
                    "{name} {measure}: {value}"
                );
            }
        }
    }
}
