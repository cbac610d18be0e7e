//! Dead letters of a transformer: listed, shown, and retried through the chain.

use super::{agent, bytes, install, logged, pipeline, samples};
use crate::harness::{PATIENCE, eventually};

#[test]
fn dead_letters_are_listed_shown_and_retried() {
    let with = |mode: &str| format!("[{{name: misbehaving, parameters: {{mode: {mode}}}}}]");
    let agent = agent("letters", &with("trap-transform"))
        .set("components.by_name.misbehaving.on_error", "drop");
    install(&agent, "misbehaving", &bytes("misbehaving"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let letters = |arguments: &[&str]| {
        let mut all = vec!["dead-letters"];
        all.extend(arguments);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(all).args(["--config", "nephometer.yaml"]).current_dir(agent.folder.path());
        agent.start(command, None).ended(PATIENCE)
    };
    let has_first = |table: &str| table.lines().any(|line| line.starts_with("1 "));
    let listed = eventually("a dead letter", PATIENCE, || {
        let listed = letters(&["ls"]).code(0).stdout;
        has_first(&listed).then_some(listed)
    });
    assert!(listed.starts_with("NUMBER ") && listed.contains("this mode traps"), "{listed}");
    let shown = letters(&["show", "1"]).code(0).stdout;
    let count = shown.lines().count();
    assert!(count > 0 && shown.lines().all(|line| line.contains("\"name\": \"cpu\"")), "{shown}");
    letters(&["show", "99999"]).code(64);

    pipeline(&agent, &with("passthrough"));
    logged(&running, "transformers replaced", 2);
    let printed = letters(&["retry", "1"]).code(0).stdout;
    assert_eq!(printed, format!("ok: {count} samples published\n"));
    assert!(!has_first(&letters(&["ls"]).code(0).stdout));
    letters(&["replay", "1"]).code(78).reports("there is no dead letter 1");
    running.wait_for_cycles(1);
    running.stop().code(0);
    let first = samples(&agent, "raw")[0]["id"].clone();
    assert!(
        samples(&agent, "out").iter().any(|one| one["id"] == first),
        "the first sample was not published"
    );
}

// Retried samples were once published, and missing from the state after the next failure, reload or
// restart.
#[test]
fn a_dead_letter_stays_until_the_state_after_its_retry_can_be_saved() {
    let with = |mode: &str| format!("[{{name: misbehaving, parameters: {{mode: {mode}}}}}]");
    let agent = agent("unsaved", &with("trap-transform"))
        .set("components.by_name.misbehaving.on_error", "drop");
    install(&agent, "misbehaving", &bytes("misbehaving"));
    let running = agent.run();
    let listed = || {
        let listed = agent.execute(&["dead-letters", "ls"]).code(0).stdout;
        listed.lines().any(|line| line.starts_with("1 "))
    };
    eventually("a dead letter", PATIENCE, || listed().then_some(()));
    let first = samples(&agent, "raw")[0]["id"].clone();
    let published = || samples(&agent, "out").iter().filter(|one| one["id"] == first).count();

    pipeline(&agent, &with("save-fails"));
    logged(&running, "transformers replaced", 2);
    agent.execute(&["dead-letters", "replay", "1"]).code(78).reports("cannot be saved");
    assert_eq!((listed(), published()), (true, 0));

    pipeline(&agent, &with("counter"));
    logged(&running, "transformers replaced", 3);
    agent.execute(&["dead-letters", "replay", "1"]).code(0);
    running.stop().code(0);
    assert_eq!(published(), 1);
}
