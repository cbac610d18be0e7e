//! Owners and metadata of instances from a real Keystone and a real Nova, beside the real
//! `ceilometer-polling` 27.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{
    Agent, Cloud, Consumer, PATIENCE, broker, cloud, eventually, hypervisor, keys, ndjson, root,
    text, verify,
};

/// The instances of a simulation with three domains.
fn instances(agent: &Agent) -> Vec<String> {
    let samples = once(agent, &[]);
    let ids: BTreeSet<&str> =
        samples.iter().map(|sample| text(&sample["resource_metadata"], "instance_id")).collect();
    ids.into_iter().map(str::to_owned).collect()
}

fn once(agent: &Agent, more: &[&str]) -> Vec<Value> {
    let arguments = ["once", "--raw", "--format", "ndjson", "--samples", "1"];
    ndjson(&agent.execute(&[&arguments[..], more].concat()).code(0).stdout)
}

/// An agent of its own simulated host, with one server for each domain.
fn agent_with_servers(cloud: &Cloud, name: &str, seed: u64) -> (Agent, Vec<String>) {
    let agent = Agent::new(name)
        .libvirt(&format!("sim://?domains=3&seed={seed}"))
        .set("host", name)
        .pipeline(
            "sources: [{name: s, interval: 1, meters: [power.state], sinks: [k]}]\n\
             sinks: [{name: k, publishers: ['test://']}]\n",
        );
    let ids = instances(&agent);
    let server = |(number, uuid): (usize, &String)| {
        json!({"uuid": uuid, "name": format!("server-{number}"), "flavor": "2",
            "metadata": {"metering.stack": format!("stack-{number}"), "billing": "yes"}})
    };
    let servers: Vec<Value> = ids.iter().enumerate().map(server).collect();
    let group = json!({"uuid": format!("6d01f524-5958-4899-8000-{seed:012}"),
        "name": format!("group of {name}"), "members": [ids[0]]});
    cloud.seed(&json!({"host": name, "servers": servers, "groups": [group]}));
    (agent, ids)
}

fn by_instance(samples: &[Value]) -> BTreeMap<String, Value> {
    let id = |sample: &Value| text(&sample["resource_metadata"], "instance_id").to_owned();
    samples.iter().map(|sample| (id(sample), sample.clone())).collect()
}

#[test]
fn merged_metadata_come_from_one_list_with_every_kind_of_credentials() {
    let cloud = cloud();
    let (agent, ids) = agent_with_servers(cloud, "cloud-merged", 11);
    let libvirt = by_instance(&once(&agent, &[]));
    let auth = |mut more: Value| {
        more["auth_url"] = cloud.auth_url().into();
        more["interface"] = "internalURL".into();
        more["region_name"] = "RegionOne".into();
        more
    };
    let secret = agent.folder.write("secret", "application-secret\n");
    let credentials = [
        cloud.password(),
        auth(json!({"auth_type": "v3applicationcredential",
            "application_credential_id": cloud.credential("/application_credential"),
            "application_credential_secret_file": secret})),
        auth(json!({"auth_type": "v3token", "token": cloud.credential("/token"),
            "project_name": "service"})),
    ];
    let mut agent = agent.set(
        "discovery",
        json!({"method": "merged", "server_groups": true,
            "reserved_metadata_keys": ["billing"]}),
    );
    for credentials in credentials {
        agent = agent.set("service_credentials", credentials);
        let before = cloud.nova_requests("host=cloud-merged").len();
        let samples = by_instance(&once(&agent, &["--log", "debug"]));
        assert_eq!(samples.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        // Nova's pages have two servers, and no server is asked for by itself. A request is logged
        // after its answer.
        let requests = || cloud.nova_requests("host=cloud-merged").len() - before;
        eventually("the requests", PATIENCE, || (requests() >= 2).then_some(()));
        assert_eq!(requests(), 2);
        assert!(cloud.nova_requests(&ids[0]).iter().all(|path| path.contains("detail")));
        for (number, id) in ids.iter().enumerate() {
            let (own, before) = (&samples[id], &libvirt[id]);
            // Without Nova's metadata in its XML a domain is not Nova's.
            if before["project_id"].is_null() {
                assert!(own["project_id"].is_null(), "{own}");
                continue;
            }
            assert_eq!(own["project_id"], cloud.credential("/projects/demo"));
            assert_eq!(own["user_id"], cloud.credential("/users/demo"));
            let (own, before) = (&own["resource_metadata"], &before["resource_metadata"]);
            assert_eq!(own["display_name"], format!("server-{number}"));
            assert_eq!(
                (&own["flavor"]["id"], &own["flavor"]["ram"]),
                (&json!("2"), &before["flavor"]["ram"])
            );
            assert_eq!((&own["state"], &own["name"]), (&before["state"], &before["name"]));
            let mut user = json!({"stack": format!("stack-{number}"), "billing": "yes"});
            if number == 0 {
                user["server_group"] = "group of cloud-merged".into();
            }
            assert_eq!(own["user_metadata"], user);
        }
    }
}

// Names of projects and users were always null, though Nova writes them into the domain.
#[test]
fn names_of_owners_need_no_call() {
    let agent = Agent::new("owner-names").everything_to(&["test://"]);
    for sample in once(&agent, &[]) {
        assert!(text(&sample, "project_name").starts_with("project-"), "{sample}");
        assert!(text(&sample, "user_name").starts_with("user-"), "{sample}");
    }
    let agent = agent.set("discovery", json!({"identity_name_discovery": false}));
    assert!(once(&agent, &[]).iter().all(|sample| sample["project_name"].is_null()));
    let agent = agent.set("discovery", json!({})).set("compatibility", "zed");
    assert!(once(&agent, &[]).iter().all(|sample| sample["project_name"].is_null()));
}

/// The last sample of each instance in the agent's file.
fn last_samples(agent: &Agent) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(agent.folder.at("samples")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    by_instance(&ndjson(whole))
}

#[test]
fn changes_are_seen_and_an_outage_costs_nothing_that_was_known() {
    let cloud = cloud();
    let (agent, ids) = agent_with_servers(cloud, "cloud-changes", 12);
    let output = agent.folder.at("samples");
    let agent = agent
        .pipeline(&format!(
            "sources: [{{name: s, interval: 1, meters: [power.state], sinks: [k]}}]\n\
             sinks: [{{name: k, publishers: ['file://{}?json']}}]\n",
            output.display()
        ))
        .set("discovery", json!({"method": "naive", "refresh": "1s"}))
        .set("service_credentials", cloud.password());
    let mut running = agent.run();
    let stack = |id: &str| {
        let samples = last_samples(&agent);
        samples.get(id).map(|sample| sample["resource_metadata"]["user_metadata"]["stack"].clone())
    };
    eventually("samples with metadata", PATIENCE, || {
        (stack(&ids[0])? == "stack-0" && stack(&ids[2])? == "stack-2").then_some(())
    });
    let metadata = json!({"metadata": {"metering.stack": "changed"}});
    cloud.nova("POST", &format!("/servers/{}/metadata", ids[0]), &metadata);
    eventually("the change", PATIENCE, || (stack(&ids[0])? == "changed").then_some(()));
    // The complete list was asked for once, everything after it by changes-since.
    let lists = cloud.nova_requests("host=cloud-changes");
    let complete = lists.iter().filter(|path| !path.contains("changes-since")).count();
    assert_eq!(complete, 2, "one list of two pages: {lists:?}");

    let fault = cloud.nova_fault("cloud-changes", "503 Retry-After: 1");
    eventually("the outage", PATIENCE, || {
        (!running.logged("nova unreachable").is_empty()).then_some(())
    });
    running.wait_for_cycles(3);
    fault.becomes("sleep 30");
    running.wait_for_cycles(3);
    assert_eq!(stack(&ids[0]).unwrap(), "changed");
    drop(fault);
    cloud.seed(&json!({"host": "cloud-changes", "servers": [{"uuid": ids[1], "deleted": true}]}));
    let cycles = || last_samples(&agent)[&ids[1]]["timestamp"].clone();
    eventually("the end of a deleted server's samples", PATIENCE, || {
        let before = cycles();
        running.wait_for_cycles(3);
        (cycles() == before).then_some(())
    });
    let log = running.stderr();
    running.stop().code(0);
    // An agent that starts while Nova is away knows what the one before it knew.
    let _away = cloud.nova_fault("cloud-changes", "503 Retry-After: 1");
    std::fs::remove_file(&output).unwrap();
    let mut running = agent.run();
    running.wait_for_cycles(3);
    assert_eq!(stack(&ids[0]).unwrap(), "changed");
    assert!(running.logged("nova reachable").is_empty());
    assert!(!log.contains("ceilometer-password") && !log.contains("gAAAA"), "a secret is logged");
    running.stop().code(0);
}

#[test]
fn samples_without_their_metadata_are_a_gap() {
    let cloud = cloud();
    let (agent, ids) = agent_with_servers(cloud, "cloud-gap", 13);
    let agent = agent
        .set("discovery", json!({"fetch_extra_metadata": true, "refresh": "1s"}))
        .set("service_credentials", cloud.password());
    let fault = cloud.nova_fault("cloud-gap", "429 Retry-After: 1");
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let reasons = || {
        let listed = agent.execute(&["gaps"]).code(0).stdout;
        listed.lines().filter(|line| line.contains("metadata")).count()
    };
    // One of the domains has no metadata of Nova, which it would be asked for.
    eventually("a gap of each instance", PATIENCE, || (reasons() >= ids.len() - 1).then_some(()));
    drop(fault);
    eventually("Nova's answer", PATIENCE, || {
        (!running.logged("nova reachable").is_empty()).then_some(())
    });
    running.stop().code(0);
}

#[test]
fn credentials_that_are_refused_are_logged_with_the_remedy() {
    let cloud = cloud();
    let mut wrong = cloud.password();
    wrong["password"] = "hunter2".into();
    let agent = Agent::new("cloud-refused")
        .everything_to(&["test://"])
        .set("discovery.method", "merged")
        .set("service_credentials", wrong);
    let arguments = ["once", "--raw", "--format", "ndjson", "--samples", "1"];
    let ended = agent.execute(&arguments).code(0);
    assert!(ended.stderr.contains("check service_credentials"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    assert!(!ndjson(&ended.stdout).is_empty(), "polling goes on");
    // Nothing listens at the endpoints of the other region.
    let mut other = cloud.password();
    other["region_name"] = "RegionThree".into();
    let agent = agent.set("service_credentials", other);
    let ended = agent.execute(&arguments).code(0);
    assert!(
        ended.stderr.contains("no compute service with interface internal"),
        "{}",
        ended.stderr
    );
}

/// A program of the Ceilometer that `scripts/ceilometer` installs.
fn ceilometer(name: &str) -> PathBuf {
    let path = root().join("target/tools/ceilometer/bin").join(name);
    assert!(path.is_file(), "{} is missing; install it with: scripts/ceilometer", path.display());
    path
}

/// One cycle of the real polling agent with this ceilometer.conf: its samples.
fn real_polling(agent: &Agent, conf: &str, url: &str, topic: &str) -> Vec<Value> {
    let polling = "sources: [{name: s, interval: 3600, meters: ['*']}]\n";
    agent.folder.write("real-polling.yaml", polling);
    let locks = agent.folder.at("locks");
    std::fs::create_dir(&locks).unwrap();
    let real = format!(
        "{conf}[polling]\ncfg_file = {}\n[oslo_messaging_notifications]\ntopics = {topic}\n\
         [oslo_concurrency]\nlock_path = {}\n",
        agent.folder.at("real-polling.yaml").display(),
        locks.display()
    );
    let transport = url.replacen("amqp://", "rabbit://", 1).replace("%2f", "");
    let real = real.replacen(
        "[DEFAULT]\n",
        &format!("[DEFAULT]\ntransport_url = {transport}\ngraceful_shutdown_timeout = 1\n"),
        1,
    );
    let real = agent.folder.write("real.conf", real);
    let consumer = Consumer::new(url, topic);
    let mut child = Command::new(ceilometer("python"))
        .arg("-Wignore")
        .arg(ceilometer("ceilometer-polling"))
        .args(["--polling-namespaces", "compute", "--config-file"])
        .arg(real)
        .stdin(Stdio::null())
        .stdout(File::create(agent.folder.at("polling.out")).unwrap())
        .stderr(File::create(agent.folder.at("polling.log")).unwrap())
        .spawn()
        .unwrap();
    let payloads = || {
        let arrivals = consumer.arrivals();
        let payload = |notification: Value| notification["payload"]["samples"].clone();
        let all = arrivals.iter().map(|arrival| payload(arrival.notification()));
        all.flat_map(|samples| samples.as_array().unwrap().clone()).collect::<Vec<Value>>()
    };
    // The last pollsters by name may come first: a cycle is over when nothing more comes.
    let mut last = (0, std::time::Instant::now());
    let samples = eventually("a cycle of ceilometer-polling", 5 * PATIENCE, || {
        let samples = payloads();
        if samples.len() != last.0 {
            last = (samples.len(), std::time::Instant::now());
        }
        let quiet = last.1.elapsed() > std::time::Duration::from_secs(6);
        (!samples.is_empty() && quiet).then_some(samples)
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    eventually("the end of ceilometer-polling", PATIENCE, || child.try_wait().unwrap());
    samples
}

/// The same `ceilometer.conf` for the real agent and for this one, with real guests, real libvirtd,
/// real Keystone, Nova and Glance.
#[test]
fn naive_is_like_ceilometer_polling_27() {
    let (cloud, lab, url) = (cloud(), hypervisor(), broker().amqp_url());
    let server = |name: &str, more: Value| {
        let uuid = lab.virsh(&["domuuid", name]).trim().to_owned();
        let mut server = json!({"uuid": uuid, "name": format!("{name} of Nova")});
        server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server
    };
    cloud.seed(&json!({"host": "cloud-naive", "servers": [
        server("linux-1", json!({"flavor": "2", "image": "6b1f9f3c-5a53-4f0e-9a0b-4f2ad0a3a6de",
            "metadata": {"metering.server_group": "web", "metering.a.b": "x".repeat(255), "other": "no"}})),
        server("linux-2", json!({"image": "00000000-0000-4000-8000-000000000000"})),
    ]}));
    let agent = Agent::new("cloud-naive").amqp(url);
    let conf = format!(
        "[DEFAULT]\nhost = cloud-naive\nlibvirt_uri = {}\ncontrol_exchange = ceilometer\n\
         [compute]\ninstance_discovery_method = naive\n\
         [service_credentials]\nauth_type = password\nauth_url = {}\nusername = ceilometer\n\
         password = ceilometer-password\nproject_name = service\nuser_domain_name = Default\n\
         project_domain_name = Default\nregion_name = RegionOne\ninterface = internalURL\n",
        lab.libvirt_uri(),
        cloud.auth_url()
    );
    // A guest that still starts has fewer statistics, and gets more between the two agents.
    for name in ["linux-1", "linux-2"] {
        eventually("the statistics of a guest", PATIENCE, || {
            lab.virsh(&["dommemstat", name]).contains("usable").then_some(())
        });
    }
    let theirs = real_polling(&agent, &conf, url, "real-naive");
    let own = agent.folder.write("own.conf", &conf);
    // What ceilometer.conf has must not be in nephometer.yaml, which stands above it.
    let agent = agent
        .libvirt(lab.libvirt_uri())
        .set("host", "cloud-naive")
        .set("libvirt.unowned", false)
        .everything_to(&["test://"]);
    let ours = once(&agent, &["--ceilometer-conf", own.to_str().unwrap()]);
    compare(&theirs, &ours);
    assert_eq!(verify(&theirs, "change this for valid signing"), theirs.len());
}

/// Asserts the same series with the same owner and metadata. Numbers of running guests differ.
fn compare(theirs: &[Value], ours: &[Value]) {
    let series = |samples: &[Value], name: &str| -> BTreeMap<(String, String), Value> {
        let key = |sample: &Value| {
            (text(sample, name).to_owned(), text(sample, "resource_id").to_owned())
        };
        samples.iter().map(|sample| (key(sample), sample.clone())).collect()
    };
    let (theirs, ours) = (series(theirs, "counter_name"), series(ours, "name"));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (key, their) in &theirs {
        let our = &ours[key];
        assert_eq!(their["counter_type"], our["type"], "{key:?}");
        assert_eq!(their["counter_unit"], our["unit"], "{key:?}");
        for field in ["source", "user_id", "project_id", "resource_metadata"] {
            assert_eq!(their[field], our[field], "{field} of {key:?}");
        }
        let (theirs, ours) = (&their["resource_metadata"], &our["resource_metadata"]);
        assert_eq!(keys(theirs), keys(ours), "the order of keys of {key:?}");
    }
}
