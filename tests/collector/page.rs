//! The collector's page in a real browser: a project sees its own, gaps with their reason, files that
//! equal the API's answers, and the agents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use nephometer_proof::{
    Checkpoint, DeclaredDrop, Digest, Drops, Record, SigningKey, SourceState, Statement,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::token;
use crate::harness::{Agent, Browser, Collector, PATIENCE, api_of, eventually, request};
use crate::page::{look, violations};

const MINUTE: u64 = 60;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn iso(second: u64) -> String {
    let time = jiff::Timestamp::from_second(second.try_into().unwrap()).unwrap();
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// The file of a `file://` publisher with a stream that can be verified.
struct StreamFile {
    stream: Uuid,
    key: SigningKey,
    host: String,
    sequence: u64,
    text: String,
}

impl StreamFile {
    fn new(number: u128, host: &str) -> Self {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let stream = Uuid::from_u128(number);
        Self { stream, key, host: host.to_owned(), sequence: 0, text: String::new() }
    }

    fn message(&mut self, lines: &str) {
        self.sequence += 1;
        let digest = Digest::start(self.stream).to_string();
        let link = json!({"stream": self.stream, "sequence": self.sequence, "bytes": lines.len(),
            "previous": digest, "digest": digest});
        // The collector looks for this very text, which the agent writes.
        writeln!(self.text, "{lines}{{\"nephometer\": {{\"link\": {link}}}}}").unwrap();
    }

    fn record(&mut self, record: &Record) {
        let signed = record.sign(&self.key);
        self.message(&format!("{}\n", json!({ "nephometer": signed })));
    }

    fn statement(&mut self, interval: f64) {
        let source = SourceState {
            name: "meters".into(),
            interval,
            meters: vec!["*".into()],
            ..SourceState::default()
        };
        let statement = Statement {
            stream: self.stream,
            host_id: Uuid::from_u128(self.stream.as_u128() + 1_000_000),
            host: self.host.clone(),
            sink: "cpu_sink".into(),
            sources: vec![source],
            ..Statement::default()
        };
        self.record(&Record::Statement(Box::new(statement)));
    }

    fn drops(&mut self, meter: &str, [begin, until]: [u64; 2]) {
        let drop = DeclaredDrop {
            reason: "spool_full".into(),
            numbers: None,
            samples: 19,
            meters: BTreeMap::from([(meter.to_owned(), 19)]),
            begin: begin * 1_000_000_000,
            until: until * 1_000_000_000,
        };
        let stream = self.stream;
        self.record(&Record::Drops(Drops { stream, drops: vec![drop], time: iso(until) }));
    }

    fn checkpoint(&mut self, cycle: u64) {
        let (stream, digest) = (self.stream, Digest::start(self.stream));
        let sequence = self.sequence;
        let time = iso(cycle);
        self.record(&Record::Checkpoint(Checkpoint {
            stream,
            sequence,
            digest,
            time,
            batch: None,
        }));
    }
}

fn sample(
    meter: &str,
    kind: &str,
    [project, resource]: [&str; 2],
    time: u64,
    volume: f64,
) -> String {
    let line = json!({
        "message_id": Uuid::new_v4(), "counter_name": meter, "counter_type": kind,
        "counter_unit": if kind == "gauge" { "%" } else { "ns" }, "counter_volume": volume,
        "user_id": "u1", "project_id": project, "resource_id": resource, "source": "openstack",
        "timestamp": iso(time), "resource_metadata": {"display_name": format!("{resource}-name")},
    });
    format!("{line}\n")
}

/// Three hours of two projects, a sample each minute. The first resource lacks 20 minutes that its agent
/// declares as dropped, the second 15 that nobody explains. Returns the beginning.
fn samples(file: &mut StreamFile) -> u64 {
    let end = now() / MINUTE * MINUTE;
    let begin = end - 180 * MINUTE;
    let mut lines = String::new();
    for (minute, time) in (0_u32..).zip((begin..end).step_by(60)) {
        let wave = f64::from(minute) / 9.0;
        let lacks = |from: u32, count: u32| (from..from + count).contains(&minute);
        if !lacks(60, 20) {
            let volume = 35.0 + 20.0 * wave.sin();
            lines += &sample("cpu_util", "gauge", ["p1", "web-01"], time, volume);
            lines += &sample("cpu", "cumulative", ["p1", "web-01"], time, 3e10 * f64::from(minute));
        }
        if !lacks(110, 15) {
            lines += &sample("cpu_util", "gauge", ["p1", "web-02"], time, 60.0 + 15.0 * wave.cos());
        }
        lines += &sample("cpu_util", "gauge", ["p2", "db-secret"], time, 10.0 + wave);
    }
    file.statement(60.0);
    file.message(&lines);
    file.drops("cpu_util", [begin + 60 * MINUTE, begin + 79 * MINUTE]);
    file.checkpoint(now());
    begin
}

fn import(collector: &Collector, name: &str, text: &str) {
    let path = collector.folder.write(name, text);
    collector.execute(&["import", "--unsigned", path.to_str().unwrap()]).code(0).reports("ok: ");
}

/// A store with the samples of two projects, an agent that drops, one that is late, one that is healthy,
/// and a real one that has ended. Returns the tokens of a member of p1 and of an admin as well, and when
/// the samples begin.
fn filled() -> (Collector, [String; 2], u64) {
    let collector = Collector::new("collector-page");
    let agent = Agent::new("collector-page-agent");
    let real = agent.folder.at("real");
    let url = format!("file://{}?json&provable", real.display());
    let agent = agent.everything_to(&[&url]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    import(&collector, "real", &std::fs::read_to_string(&real).unwrap());
    let mut dropping = StreamFile::new(1, "compute-7");
    let begin = samples(&mut dropping);
    let (mut healthy, mut late) =
        (StreamFile::new(2, "compute-8"), StreamFile::new(3, "compute-9"));
    healthy.statement(600.0);
    healthy.checkpoint(now());
    late.statement(600.0);
    late.checkpoint(now() - 7_200);
    for file in [dropping, healthy, late] {
        import(&collector, &file.host, &file.text);
    }
    let made = [("p1", "member"), ("ops", "admin")]
        .map(|(project, roles)| token(&collector, project, roles));
    let lines: String = made.iter().map(|(_, line)| format!("{line}\n")).collect();
    let file = collector.folder.write("tokens", lines);
    let collector = collector.set("api.access", "tokens").set("api.tokens", file.to_str().unwrap());
    (collector, made.map(|(token, _)| token), begin)
}

/// Waits until a part of the page is shown, or hidden. The text of a hidden part can be read as well.
pub(super) fn wait_until_hidden(browser: &Browser, selector: &str, hidden: bool) {
    let script = format!("return document.querySelector('{selector}')?.hidden");
    eventually(&format!("{selector} hidden: {hidden}"), PATIENCE, || {
        (browser.script(&script) == hidden).then_some(())
    });
}

fn enter(browser: &Browser, token: &str) {
    browser.script(&format!(
        "document.querySelector('#token').value = '{token}'; document.querySelector('#door button').click()"
    ));
}

/// Presses a button that gives a file; its content.
fn file(browser: &Browser, button: &str) -> String {
    browser.script(&format!(
        "window.kept = null; const made = URL.createObjectURL.bind(URL);
         URL.createObjectURL = (blob) => {{ blob.text().then((text) => {{ window.kept = text; }}); return made(blob); }};
         document.querySelector('{button}').click()"
    ));
    let content = eventually("a file", PATIENCE, || {
        browser.script("return window.kept").as_str().map(str::to_owned)
    });
    assert!(browser.text("#csv-state").contains("rows in"), "{}", browser.text("#csv-state"));
    content
}

/// What the file has of samples equals what the API answers to the same token.
fn assert_file_equals_api(address: &str, token: &str, csv: &str) {
    let header = format!("X-Auth-Token: {token}");
    let query =
        "/v2/samples?limit=1000&q.field=meter&q.value=cpu_util&q.field=resource_id&q.value=web-01";
    let reply = request(address, "GET", query, &[&header], "");
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(columns[..5], ["timestamp", "meter", "type", "unit", "volume"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let replied = reply.body.as_array().unwrap();
    assert_eq!((rows.len(), replied.len()), (160, 160));
    for (row, sample) in rows.iter().zip(replied) {
        for (column, cell) in columns.iter().zip(row) {
            match &sample[*column] {
                Value::Number(number) => assert_eq!(cell.parse::<f64>().ok(), number.as_f64()),
                other => assert_eq!(json!(cell), *other, "{column}"),
            }
        }
    }
}

fn count(browser: &Browser, selector: &str) -> u64 {
    let found = browser.script(&format!("return document.querySelectorAll('{selector}').length"));
    found.as_u64().unwrap()
}

fn member_sees_its_own(browser: &Browser, address: &str, member: &str, begin: u64) {
    enter(browser, member);
    browser.wait_for("#resources", "web-02-name");
    wait_until_hidden(browser, "#door", true);
    browser.wait_for("#plot-title", "cpu_util, %");
    let whole = browser.script("return document.documentElement.innerHTML");
    let whole = whole.as_str().unwrap();
    assert!(!whole.contains("db-secret") && !whole.contains("p2"), "another project is shown");
    assert!(count(browser, ".chart .series path.line") >= 2, "the line has a gap");
    assert!(count(browser, ".chart circle") >= 160, "samples are drawn");
    // The last samples may be too old by now, which is another gap.
    assert!(count(browser, ".chart .gap") >= 1);
    assert_eq!(count(browser, ".lanes .bar:not(.partial)"), 1);
    // The declaration has no counts for projects.
    let gaps = browser.wait_for("#gaps", "dropped by the agent, spool_full");
    assert!(!gaps.contains("samples of its host"), "{gaps}");
    wait_until_hidden(browser, "#fleet", true);
    let header = format!("X-Auth-Token: {member}");
    let hosts = request(address, "GET", "/v1/agents", &[&header], "");
    assert_eq!(hosts.status, 403, "projects see no hosts");
    assert_file_equals_api(address, member, &file(browser, "#csv-raw"));
    let rollups = file(browser, "#csv-rollups");
    assert!(rollups.starts_with("period_start,period_end,resource_id,unit,count,"), "{rollups}");
    assert_eq!(rollups.lines().nth(1).unwrap().split(',').nth(2), Some("web-01"));
    browser.script("document.querySelectorAll('#resources input')[1].click()");
    let before = iso(begin + 109 * MINUTE).replace('T', " ");
    let gaps = browser.wait_for("#gaps", &before);
    let gap = gaps.lines().find(|line| line.contains(&before)).unwrap();
    assert!(gap.contains("web-02-name") && gap.contains("no sample stored"), "{gap}");
    browser.script("document.querySelector('#span').value = '21600'; document.querySelector('#span').dispatchEvent(new Event('change'))");
    browser.wait_for("#plot-notes", "rollups of 300 s");
    look(browser, "collector-project");
    // A counter by its rate, by keyboard and in the table.
    browser.script("const meter = document.querySelector('#meter'); meter.value = [...meter.options].find((one) => one.text === 'cpu (ns)').value; meter.dispatchEvent(new Event('change'))");
    browser.wait_for("#plot-title", "cpu, ns/s");
    browser.wait_for("#plot .reading", "500,000,000 ns/s");
}

fn admin_sees_all(browser: &Browser, admin: &str) {
    browser.script("document.querySelector('#leave').click()");
    wait_until_hidden(browser, "#door", false);
    enter(browser, admin);
    let agents = eventually("the ended agent is silent", PATIENCE, || {
        browser.script("document.querySelector('#agent-state').dispatchEvent(new Event('change'))");
        Some(browser.text("#agents")).filter(|text| text.contains("silent"))
    });
    wait_until_hidden(browser, "#fleet", false);
    let place = |word: &str| agents.find(word).unwrap_or_else(|| panic!("{word}: {agents}"));
    let hosts = ["compute-1", "compute-7", "compute-9", "compute-8"].map(place);
    assert!(hosts.is_sorted(), "worst first: {agents}");
    assert!(agents.contains("spool_full: 19") && agents.contains("late"), "{agents}");
    let project = "const project = document.querySelector('#project'); project.value = '\"p2\"'; project.dispatchEvent(new Event('change')); return project.value";
    assert_eq!(browser.script(project), "\"p2\"");
    browser.wait_for("#resources", "db-secret");
    look(browser, "collector-admin");
    browser.script("document.querySelector('#agents button').click()");
    browser.wait_for("#details", "file://");
    look(browser, "collector-agent");
}

#[test]
fn a_project_sees_its_own_and_an_admin_all_with_the_agents() {
    let (collector, [member, admin], begin) = filled();
    let running = collector.run();
    let address = api_of(&running);
    let shell = request(&address, "GET", "/", &[], "");
    let shell = shell.body.as_str().unwrap().to_owned();
    assert!(shell.contains("page.js") && !shell.contains("web-01"), "{shell}");
    let browser = Browser::start("browser-collector");
    browser.open(&format!("http://{address}/"));
    wait_until_hidden(&browser, "#door", false);
    wait_until_hidden(&browser, "#content", true);
    assert_eq!(violations(&browser), "");
    enter(&browser, "wrong");
    browser.wait_for("#door-problem", "does not know this token");

    member_sees_its_own(&browser, &address, &member, begin);
    admin_sees_all(&browser, &admin);
    let others = browser.script("return performance.getEntriesByType('resource').filter((one) => !one.name.startsWith(location.origin)).length");
    assert_eq!(others, 0, "requests go to the collector only");
    running.stop().code(0);
}

/// Without authentication on loopback no token is asked for; 10,000 agents are one table of the worst.
#[test]
fn ten_thousand_agents_are_listed_worst_first() {
    let collector = Collector::new("collector-fleet");
    let mut text = String::new();
    for number in 0..10_000 {
        let mut file = StreamFile::new(10_000 + number, &format!("compute-{number:05}"));
        file.statement(600.0);
        // One of a hundred is an hour late.
        file.checkpoint(if number % 100 == 50 { now() - 3_600 } else { now() });
        text += &file.text;
    }
    import(&collector, "fleet", &text);
    import(&collector, "one", &sample("cpu_util", "gauge", ["p1", "web-01"], now() - 5, 1.0));
    let running = collector.run();
    let address = api_of(&running);
    let browser = Browser::start("browser-fleet");
    browser.open(&format!("http://{address}/"));
    browser.wait_for("#agent-count", "10,000 of 10,000, 200 shown, worst first");
    wait_until_hidden(&browser, "#door", true);
    assert_eq!(count(&browser, "#agents tr"), 200);
    let first = browser.text("#agents tr:nth-child(100) td .badge");
    assert_eq!(
        (first.as_str(), browser.text("#agents tr:nth-child(101) td .badge").as_str()),
        ("late", "healthy")
    );
    browser.script("const state = document.querySelector('#agent-state'); state.value = 'late'; state.dispatchEvent(new Event('change'))");
    browser.wait_for("#agent-count", "100 of 10,000");
    let asked = std::time::Instant::now();
    let reply = request(&address, "GET", "/v1/agents?limit=200&text=compute-00050", &[], "");
    assert_eq!((reply.status, &reply.body["count"]), (200, &json!(1)));
    println!("10,000 agents: reply in {:?}", asked.elapsed());
    let wrong = request(&address, "GET", "/v1/gaps?q.field=meter&q.value=cpu", &[], "");
    assert_eq!((wrong.status, wrong.fault().contains("name meter and resource_id")), (400, true));
    running.stop().code(0);
}
