//! What `nephometer status --json` prints: the ledger as numbers, equal to its text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Agent, Balance, Ledger, PATIENCE, eventually, text};

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} of {value}"))
}

/// Drops by reason. Every reason is present.
fn reasons(value: &Value) -> BTreeMap<String, u64> {
    let all = value["dropped"].as_object().unwrap();
    assert_eq!(all.len(), 8, "{all:?}");
    all.iter().map(|(reason, count)| (reason.clone(), count.as_u64().unwrap())).collect()
}

fn balance(value: &Value, [entered, left]: [&str; 2]) -> Balance {
    let all = reasons(value);
    Balance {
        entered: count(value, entered),
        left: count(value, left),
        dropped: all.values().sum(),
        // The text has no zeros.
        reasons: all.into_iter().filter(|(_, count)| *count > 0).collect(),
        pending: count(value, "pending"),
        samples: value["samples"].as_u64().unwrap_or_default(),
    }
}

/// Whether the numbers equal those of the text. They are read one after the other while the agent works.
fn equal(numbers: &Value, printed: &Ledger) -> bool {
    let mut same = count(numbers, "polled") == printed.polled
        && count(numbers, "missing") == printed.missing
        && list(&numbers["breaches"]).is_empty();
    for sink in list(&numbers["sinks"]) {
        let name = text(sink, "sink");
        same &= balance(sink, ["entered", "processed"]) == printed.sinks[name];
        for one in list(&sink["transformers"]) {
            let known = &printed.transformers[&format!("{name}/{}", text(one, "component"))];
            let [samples_in, passed, absorbed, created] =
                ["samples_in", "passed", "absorbed", "created"].map(|key| count(one, key));
            let dropped = reasons(one).values().sum::<u64>();
            same &= [samples_in, passed, absorbed, created, dropped]
                == [known.samples_in, known.passed, known.absorbed, known.created, known.dropped];
        }
        for one in list(&sink["publishers"]) {
            let known = &printed.publishers[&format!("{name}/{}", text(one, "publisher"))];
            same &= balance(one, ["encoded", "confirmed"]) == *known;
        }
    }
    same
}

// The only form was a text that scripts had to take apart.
#[test]
fn the_ledger_is_numbers_that_equal_its_text() {
    let agent = Agent::new("status-ledger").through(
        "[{name: accumulator, parameters: {size: 4}}]",
        // Nothing listens there, and the policy drops.
        &["test://", "notifier://?policy=drop"],
    );
    let mut running = agent.run();
    running.wait_for_cycles(1);
    eventually("numbers that equal the text", PATIENCE, || {
        let status = agent.execute(&["status", "--json"]).code(0);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let ledger = &status["ledger"];
        let sink = list(&ledger["sinks"]).first()?;
        assert_eq!(text(sink, "sink"), "out");
        assert_eq!(list(&sink["transformers"]).len(), 1, "{sink}");
        assert_eq!(list(&sink["publishers"]).len(), 2, "{sink}");
        let dropped = list(&sink["publishers"]).iter().any(|one| reasons(one)["policy"] > 0);
        let printed = Ledger::read(text(&status, "ledger_text"));
        (count(ledger, "polled") > 0 && dropped && equal(ledger, &printed)).then_some(())
    });
    let shown = agent.execute(&["status"]).code(0).stdout;
    assert!(Ledger::read(&shown).polled > 0, "{shown}");
}
