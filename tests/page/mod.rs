//! The agent's page in a real browser: a stuck guest, missing values, a reload, a restart of the agent;
//! and who may see it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Agent, Browser, Lab, PATIENCE, closed_port, eventually, root};

/// An agent with a page.
fn agent_with_page(name: &str) -> (Agent, u16) {
    let port = closed_port();
    let agent = Agent::new(name).set("telemetry.listen", format!("127.0.0.1:{port}"));
    (agent, port)
}

/// What `nephometer page` prints.
fn address(agent: &Agent) -> String {
    let printed = eventually("the page's address", PATIENCE, || {
        let ended = agent.execute(&["page"]);
        ended.status.success().then_some(ended.stdout)
    });
    assert!(printed.contains("/#token="), "{printed}");
    printed.trim().to_owned()
}

/// The status and body of a request to the agent, with these fields.
fn get(port: u16, path: &str, fields: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    stream.write_all(format!("{head}{fields}\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What axe-core finds wrong with the page as it is now.
pub(crate) fn violations(browser: &Browser) -> String {
    let script = root().join("target/tools/axe/axe.min.js");
    let script = fs::read_to_string(&script)
        .unwrap_or_else(|error| panic!("{}: {error}; run: scripts/axe", script.display()));
    // By the driver, because the page's policy allows its own scripts only.
    browser.script(&script);
    let found = browser.script_with_callback(
        "const done = arguments[arguments.length - 1];
         axe.run(document).then((result) => done(result.violations.map((one) =>
           `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; ')}`)), (error) => done([String(error)]));",
    );
    let found = found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
    found.collect::<Vec<_>>().join("\n")
}

/// Pictures for people to look at, kept after the test.
fn picture(name: &str) -> PathBuf {
    let folder = root().join("target/page");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{name}.png"))
}

/// Keeps pictures of the page in light and dark, for desktop and phone; nothing is wider than the window,
/// and axe-core finds nothing.
pub(crate) fn look(browser: &Browser, name: &str) {
    for (dark, scheme) in [(false, "light"), (true, "dark")] {
        for (size, device) in [((1280, 900), "desktop"), ((390, 844), "phone")] {
            browser.emulate(size, dark);
            // The page draws its lines anew.
            std::thread::sleep(std::time::Duration::from_millis(300));
            browser.screenshot(&picture(&format!("{name}-{scheme}-{device}")));
            let wide = browser.script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
            );
            assert_eq!(wide, 0, "{name} {scheme} {device} is wider than the window");
            assert_eq!(violations(browser), "", "{name} {scheme} {device}");
        }
    }
    browser.emulate((1280, 900), false);
}

/// The number of samples that the page shows.
fn samples(browser: &Browser) -> u64 {
    let facts = browser.text("#facts");
    let mut lines = facts.lines().skip_while(|line| *line != "Samples polled").skip(1);
    lines.next().and_then(|number| number.replace(',', "").parse().ok()).unwrap_or(0)
}

#[test]
fn a_newcomer_sees_which_machine_is_stuck_since_when_and_what_is_missing() {
    let options = ["--linux", "0", "--idle", "3", "--paused", "0", "--off", "0", "--no-amqp"];
    let lab = Lab::up("lab-page", &options);
    let uuid = lab.virsh(&["domuuid", "idle-2"]).trim().to_owned();
    let (agent, _) = agent_with_page("page");
    let agent = agent.libvirt(lab.libvirt_uri()).set("libvirt.deadline", "500ms");
    let transformers = |scale: u32| {
        format!(
            "[{{name: unit_conversion, parameters: {{source: {{map_from: {{name: 'cpu'}}}}, target: {{name: cpu_s, unit: s, scale: {scale}}}}}}}]"
        )
    };
    // A picture of this page is in the README: no folder of this machine in it.
    let agent = agent.through(&transformers(1), &["file:///dev/null?json"]);
    let running = agent.run();
    let browser = Browser::start("browser");
    browser.open(&address(&agent));

    browser.wait_for("#attention", "Nothing. All 3 domains");
    browser.wait_for("#connection", "live");
    browser.wait_for("#pipeline", "unit_conversion");
    assert_eq!(browser.script("return location.hash"), "", "the token stays out of the history");
    let before = samples(&browser);
    eventually("numbers that move", PATIENCE, || (samples(&browser) > before).then_some(()));
    look(&browser, "healthy");

    lab.signal_guest("idle-2", "-STOP");
    let line = browser.wait_for("#attention", "is stuck since");
    assert!(line.contains(&uuid) && line.contains("No values of all meters"), "{line}");
    assert!(!line.contains("idle-1") && line.contains("ago)"), "{line}");
    browser.wait_for("#domains", "stuck");
    // The time line.
    eventually("a bar of the gap", PATIENCE, || {
        let label = browser.script("return document.querySelector('#gaps .bar.stuck')?.ariaLabel");
        Some(label.as_str()?.to_owned()).filter(|label| label.contains("stuck, "))
    });

    agent.folder.write(
        "pipeline.yaml",
        fs::read_to_string(agent.folder.at("pipeline.yaml"))
            .unwrap()
            .replace("scale: 1}", "scale: 2}"),
    );
    let reloads = browser.wait_for("#reloads", "sink out");
    assert!(reloads.contains("files"), "{reloads}");
    look(&browser, "stuck");

    // By keyboard: the button of the first domain opens its values.
    browser.script(
        "document.querySelector('#domains button').focus(); document.activeElement.click()",
    );
    browser.wait_for("#details", "Newest value");
    browser.wait_for("#details", "ago");
    look(&browser, "details");
    browser.script("document.querySelector('#details-close').click()");

    lab.signal_guest("idle-2", "-CONT");
    browser.wait_for("#attention", "Nothing. All 3 domains");

    // The page survives a restart of the agent, with the same token.
    running.stop().code(0);
    browser.wait_for("#connection", "No answer from the agent since");
    let running = agent.run();
    browser.wait_for("#connection", "live");
    browser.wait_for("#reloads", "None since the start.");
    browser.wait_for("#gaps", "all domains");
    running.stop().code(0);
}

#[test]
fn the_page_has_no_names_for_those_without_the_token() {
    let (agent, port) = agent_with_page("page-locked");
    let broker = format!("amqp://u:hunter2@127.0.0.1:{}/%2f", closed_port());
    let agent = agent.set("message.telemetry_secret", "hunter2").amqp(&broker);
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let address = address(&agent);
    let (_, token) = address.split_once("#token=").unwrap();
    for path in ["/support", "/v1/events", "/v1/domains", "/v1/series", "/v1/values", "/v1/gaps"] {
        let (status, body) = get(port, path, "");
        assert_eq!(status, 401, "{path}");
        assert!(!body.contains("instance") && !body.contains("project"), "{path}: {body}");
        let wrong = format!("Authorization: Bearer {}\r\n", token.replace(&token[..1], "x"));
        assert_eq!(get(port, path, &wrong).0, 401, "{path}");
    }
    let right = format!("Authorization: Bearer {token}\r\n");
    let (status, body) = get(port, "/v1/domains?text=&limit=2", &right);
    let domains: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &domains["all"]), (200, &3.into()), "{domains}");
    assert_eq!(domains["domains"].as_array().unwrap().len(), 2);
    // Metrics stay open on loopback, and the token is neither in them nor in the log.
    let (status, metrics) = get(port, "/metrics", "");
    assert_eq!(status, 200);
    assert!(!format!("{metrics}{}", running.stderr()).contains(token));

    // The archive for bug reports has all of this, and no secret.
    let archive = agent.folder.at("support.tar.gz");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = "GET /support HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(stream, "{head}{right}\r\n").unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let body = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    fs::write(&archive, &reply[body..]).unwrap();
    let read = "import sys, tarfile\nfor one in tarfile.open(sys.argv[1]): print(one.name, tarfile.open(sys.argv[1]).extractfile(one).read().decode())";
    let output = Command::new("python3").args(["-c", read]).arg(&archive).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in
        ["versions.json", "configuration.txt", "state.json", "gaps.json", "metrics.txt", "log.txt"]
    {
        assert!(text.contains(&format!("nephometer/{name} ")), "{name}: {text}");
    }
    assert!(text.contains("polling cycle finished") && text.contains("nephometer_build"), "{text}");
    assert!(!text.contains(token) && !text.contains("hunter2"), "{text}");

    let browser = Browser::start("browser-locked");
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.wait_for("#door", "nephometer page");
    assert_eq!(violations(&browser), "");
    browser.script(
        "document.querySelector('#token').value = 'wrong'; document.querySelector('#door button').click()",
    );
    browser.wait_for("#door-problem", "does not know this token");
    browser.script(&format!(
        "document.querySelector('#token').value = '{token}'; document.querySelector('#door button').click()"
    ));
    browser.wait_for("#attention", "Nothing. All 3 domains");
    running.stop().code(0).ledger();
}

/// A bound on open pages, which must not be those that scrapes need.
#[test]
fn open_pages_are_bounded_and_scrapes_go_on() {
    let (agent, port) = agent_with_page("page-many");
    let agent = agent.everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let address = address(&agent);
    let (_, token) = address.split_once("#token=").unwrap();
    let open = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n";
        write!(stream, "{head}Authorization: Bearer {token}\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status.to_vec()).unwrap())
    };
    let mut pages: Vec<TcpStream> = Vec::new();
    for _ in 0..8 {
        let (stream, status) = open();
        assert_eq!(status, "HTTP/1.1 200");
        pages.push(stream);
    }
    assert_eq!(open().1, "HTTP/1.1 503");
    assert_eq!(get(port, "/metrics", "").0, 200);
    // Clients that read nothing delay no polling cycle.
    running.wait_for_cycles(3);
    pages.clear();
    eventually("room for a page", PATIENCE, || (open().1 == "HTTP/1.1 200").then_some(()));
    running.stop().code(0).ledger();
}
