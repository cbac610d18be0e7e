//! The agent's own endpoint: metrics, health, and who may ask.

use std::process::Command;

use serde_json::Value;

use super::{Prometheus, ask, get, promtool};
use crate::harness::{Agent, PATIENCE, closed_port, eventually, root};

fn telemetry(name: &str) -> (Agent, u16) {
    let port = closed_port();
    (Agent::new(name).set("telemetry.listen", format!("127.0.0.1:{port}")), port)
}

/// The reply with its status, as JSON.
fn health(port: u16, path: &str) -> Option<(String, Value)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let reply = std::panic::catch_unwind(|| ask(port, &request)).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.to_owned();
    Some((status, serde_json::from_str(body).ok()?))
}

/// The value of a series whose line begins so.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The metrics agree with the ledger, are valid, and say nothing about single domains.
#[test]
fn metrics_are_valid_and_agree_with_the_ledger() {
    let (agent, port) = telemetry("own-metrics");
    let agent =
        agent.through("[{name: rate_of_change, parameters: {target: {name: r}}}]", &["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let text = eventually("metrics", PATIENCE * 3, || {
        get(port, "/metrics", "").filter(|text| text.contains("component=\"rate_of_change\""))
    });
    assert_eq!(promtool(&["check", "metrics"], &text), "");
    assert!(!text.contains("instance-") && !text.contains("uuid"), "{text}");
    let samples = value(&text, "nephometer_polling_samples_total{source=\"everything\"}");
    assert!(value(&text, "nephometer_polling_cycle_duration_seconds_count{interval=\"1\"}") >= 3.0);
    assert!(value(&text, "nephometer_polling_domains{interval=\"1\",state=\"healthy\"}") == 3.0);
    let cpu = value(&text, "process_cpu_seconds_total");
    let parts = text.lines().filter(|line| line.starts_with("nephometer_cpu_seconds_total{"));
    let parts: Vec<&str> = parts.collect();
    let part = |line: &&str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let sum: f64 = parts.iter().map(part).sum();
    assert!(cpu > 0.0 && (sum - cpu).abs() <= cpu * 0.05, "{cpu} is not {sum}: {parts:?}");
    for name in ["polling", "router", "sinks", "components", "runtime", "unattributed"] {
        assert!(text.contains(&format!("part=\"{name}\"")), "{name} in {parts:?}");
    }
    let unattributed = value(&text, "nephometer_cpu_seconds_total{part=\"unattributed\"}");
    assert!(unattributed <= cpu * 0.5, "{parts:?}");
    assert_eq!(value(&text, "nephometer_reloads_total{result=\"refused\"}"), 0.0);
    assert!(value(&text, "nephometer_libvirt_reachable") == 1.0);
    assert!(value(&text, "nephometer_sink_state{sink=\"out\",state=\"running\"}") == 1.0);
    for name in [
        "nephometer_publisher_envelopes_total{",
        "nephometer_component_cpu_seconds_total{",
        "nephometer_spool_envelopes{",
    ] {
        assert!(text.contains(name), "{name} in:\n{text}");
    }
    let polled = running.stop().code(0).ledger().polled;
    assert!(
        samples > 0.0 && samples <= f64::from(u32::try_from(polled).unwrap()),
        "{samples} of {polled}"
    );
}

/// Ready after the first cycle; degraded with the reason while a sink fails.
#[test]
fn health_has_reasons() {
    let (agent, port) = telemetry("own-health");
    let traps = "[{name: misbehaving, parameters: {mode: trap-transform}}]";
    let agent = agent.through(traps, &["test://"]);
    let running = agent.run();
    let (status, reply) = eventually("a degraded agent", PATIENCE * 3, || {
        // While its component is compiled the sink is preparing, which is degraded, too.
        health(port, "/readyz").filter(|(_, reply)| {
            let reasons = reply["degraded"].to_string();
            let fails = ["sink out is failing", "sink out is quarantined"];
            reply["status"] == "degraded" && fails.iter().any(|reason| reasons.contains(reason))
        })
    });
    assert_eq!(status, "200");
    assert!(reply["degraded"].is_array(), "{reply}");
    assert_eq!(health(port, "/healthz").unwrap().0, "200");
    running.stop();
    // Before the first cycle, an agent is alive and not ready.
    let (agent, port) = telemetry("own-not-ready");
    let agent = agent.libvirt("qemu+unix:///system?socket=/nonexistent/libvirt.sock");
    let agent = agent.everything_to(&["test://"]);
    let running = agent.run();
    let (status, reply) = eventually("an agent that is down", PATIENCE, || {
        health(port, "/readyz").filter(|(_, reply)| reply["down"].to_string().contains("listed"))
    });
    assert_eq!((status.as_str(), reply["status"].as_str()), ("503", Some("down")), "{reply}");
    assert_eq!(health(port, "/healthz").unwrap().0, "200");
    drop(running);
}

/// Beyond loopback the endpoint needs protection, else the configuration is refused.
#[test]
fn an_open_endpoint_is_refused() {
    let agent = Agent::new("own-open").set("telemetry.listen", "0.0.0.0:9464");
    let agent = agent.everything_to(&["test://"]);
    agent.execute(&["check"]).code(78).reports("everybody who reaches 0.0.0.0:9464 could read");
    let token = agent.folder.write("token", "0123456789abcdef0123");
    let agent = agent.set("telemetry.token_file", token.display().to_string());
    agent.execute(&["check"]).code(0).reports("the token crosses the network to 0.0.0.0:9464");
}

/// The shipped rules are valid and fire as their unit tests say; a real Prometheus evaluates them for
/// a real agent, which is well.
#[test]
fn shipped_rules_hold() {
    let folder = root().join("config/prometheus");
    for arguments in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts-test.yml"]]
    {
        let output =
            Command::new("promtool").args(arguments).current_dir(&folder).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
    }
    let (agent, port) = telemetry("own-rules");
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let rules = folder.join("alerts.yml").display().to_string();
    let server =
        Prometheus::start(&agent.folder, &format!("localhost:{port}"), "scheme: http", &rules);
    server.query("nephometer_polling_cycle_age_seconds", 1);
    let groups = eventually("evaluated rules", PATIENCE, || {
        let answer = server.api("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array()?.clone();
        let evaluated = |rule: &Value| rule["health"] == "ok";
        let all =
            groups.iter().all(|group| group["rules"].as_array().unwrap().iter().all(evaluated));
        (all && !groups.is_empty()).then_some(groups)
    });
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
    // Every metric of the dashboard exists.
    let text = get(port, "/metrics", "").unwrap();
    let dashboard = std::fs::read_to_string(root().join("config/grafana/nephometer.json")).unwrap();
    let name = regex::Regex::new(r"\b(?:nephometer|process)_[a-z_]+\b").unwrap();
    let names: std::collections::BTreeSet<_> =
        name.find_iter(&dashboard).map(|one| one.as_str()).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        // Simulations have no calls of libvirt; this pipeline has no component.
        let elsewhere = name.contains("libvirt_call") || name.contains("component");
        assert!(elsewhere || text.contains(name), "{name} is not in:\n{text}");
    }
    running.stop().code(0);
}
