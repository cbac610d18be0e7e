//! Audits on the collector's page, of what a real agent has sent: the result, its reasons, and the file of
//! evidence, which is verified alone.

use serde_json::Value;

use super::page::wait_until_hidden;
use crate::audit::{Recorded, recorded, verified};
use crate::harness::{Browser, Collector, PATIENCE, api_of, eventually, request};
use crate::page::look;

/// Opens the page of a collector and audits the times of a recording.
fn audit(browser: &Browser, collector: &Collector, recorded: &Recorded) -> crate::harness::Running {
    let running = collector.run();
    browser.open(&format!("http://{}/", api_of(&running)));
    wait_until_hidden(browser, "#content", false);
    let [from, to] = recorded.times().map(|time| time[..19].to_owned());
    browser.script(&format!(
        "const set = (id, value) => {{ const node = document.querySelector(id); node.value = value; node.dispatchEvent(new Event('change')); }};
         set('#audit-project', '{}'); set('#audit-month', ''); set('#audit-from', '{from}'); set('#audit-to', '{to}');
         document.querySelector('#audit-form button').click()",
        recorded.project()
    ));
    wait_until_hidden(browser, "#audit-result", false);
    assert!(browser.text("#audit-scope").contains(&recorded.project()));
    running
}

/// The number of a fact.
fn fact(browser: &Browser, name: &str) -> u64 {
    let facts = browser.text("#audit-facts");
    let mut lines = facts.lines().skip_while(|line| *line != name);
    let value = lines.nth(1).unwrap_or_else(|| panic!("{name}: {facts}"));
    value.replace(',', "").parse().unwrap()
}

/// Presses the button for the file; its content.
fn evidence(browser: &Browser) -> String {
    browser.script(
        "window.kept = null; const made = URL.createObjectURL.bind(URL);
         URL.createObjectURL = (blob) => { blob.text().then((text) => { window.kept = text; }); return made(blob); };
         document.querySelector('#audit-file').click()",
    );
    eventually("the file of evidence", PATIENCE, || {
        browser.script("return window.kept").as_str().map(str::to_owned)
    })
}

#[test]
fn an_audit_shows_its_result_with_reasons_and_gives_the_evidence() {
    let browser = Browser::start("browser-audit");
    let whole = recorded("audit-page", &[6]);
    let collector = whole.collector("audit-page-collector", &whole.messages);
    let running = audit(&browser, &collector, &whole);
    assert_eq!(browser.text("#audit-verdict"), "complete");
    let proved = fact(&browser, "Samples proved");
    assert!(proved > 50 && fact(&browser, "Samples not proved") == 0, "{proved}");
    assert_eq!(fact(&browser, "Streams"), 1);
    assert!(!browser.text("#audit-tables").contains("Fault"));
    look(&browser, "collector-audit");
    let file = collector.folder.write("evidence", evidence(&browser));
    let found = verified(&collector, &file, &["--format", "json"]).code(0);
    let found: Value = serde_json::from_str(found.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(found["result"], "complete", "{found:#}");
    let samples = found["series"].as_array().unwrap().iter();
    assert_eq!(samples.map(|one| one["sums"]["samples"].as_u64().unwrap()).sum::<u64>(), proved);
    // The months that are over can be chosen, the newest first.
    let month = "return document.querySelector('#audit-month').options[0].text";
    assert_eq!(browser.script(month).as_str().map(str::len), Some(7));
    let mistake = "document.querySelector('#audit-to').value = document.querySelector('#audit-from').value; document.querySelector('#audit-form button').click()";
    browser.script(mistake);
    browser.wait_for("#audit-problem", "has to end after it begins");
    running.stop().code(0);

    // The agent was killed between.
    let killed = recorded("audit-page-killed", &[3, 3]);
    let collector = killed.collector("audit-page-gaps", &killed.messages);
    let running = audit(&browser, &collector, &killed);
    assert_eq!(browser.text("#audit-verdict"), "complete with declared gaps");
    let tables = browser.text("#audit-tables");
    assert!(tables.contains("Gaps of the streams") && tables.contains("unclean_stop"), "{tables}");
    look(&browser, "collector-audit-gaps");
    running.stop().code(0);

    // A message with samples was removed.
    let samples = |one: &String| one.contains(&whole.project());
    let removed = whole.messages.iter().filter(|one| samples(one)).nth(2).unwrap();
    let others: Vec<String> =
        whole.messages.iter().filter(|one| *one != removed).cloned().collect();
    let collector = whole.collector("audit-page-removed", &others);
    let running = audit(&browser, &collector, &whole);
    assert_eq!(browser.text("#audit-verdict"), "not provable");
    let tables = browser.text("#audit-tables");
    assert!(tables.contains("Faults") && tables.contains("hole_undeclared"), "{tables}");
    look(&browser, "collector-audit-faults");
    running.stop().code(0);
}

/// The file is for those who may see the project.
#[test]
fn evidence_is_given_to_the_project_itself() {
    let recorded = recorded("evidence-rights", &[5]);
    let collector = recorded.collector("evidence-rights-collector", &recorded.messages);
    let project = recorded.project();
    let made = [(&*project, "member"), ("other", "member"), ("other", "auditor")]
        .map(|(project, roles)| super::api::token(&collector, project, roles));
    let lines: String = made.iter().map(|(_, line)| format!("{line}\n")).collect();
    let file = collector.folder.write("tokens", lines);
    let collector = collector.set("api.access", "tokens").set("api.tokens", file.to_str().unwrap());
    let running = collector.run();
    let address = api_of(&running);
    let [from, to] = recorded.times();
    let path = format!("/v1/audit/evidence?project={project}&from={from}&to={to}");
    let replies = made.map(|(token, _)| {
        request(&address, "GET", &path, &[&format!("X-Auth-Token: {token}")], "")
    });
    assert_eq!(replies.each_ref().map(|reply| reply.status), [200, 401, 200]);
    let own = collector.folder.write("own", replies[0].body.as_str().unwrap());
    verified(&collector, &own, &[]).code(0).reports("ok: complete");
    assert_eq!(request(&address, "GET", &path, &[], "").status, 401);
    running.stop().code(0);
}
