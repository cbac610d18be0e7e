//! Audits of what honest agents and an honest collector have: complete, with declared gaps, and what
//! cannot be proved.

use nephometer_audit::{AuditResult, Fault};
use nephometer_proof::{DeclaredDrop, Numbers};
use serde_json::json;

use super::sender_tests::{CYCLES, HOUR, Sender, message};
use super::tests::{Engine, Fixture, now, on_each_engine, sample, time};

on_each_engine! {
    what_an_agent_sent_is_complete,
    declared_drops_are_gaps_with_their_reason,
    a_kill_is_a_declared_gap_and_its_samples_are_proved,
    an_agent_that_was_away_is_a_gap_and_a_guest_that_was_off_is_none,
    a_guest_that_moves_is_proved_by_both_hosts,
    a_lost_host_id_ends_a_stream_without_an_end,
    what_has_no_signature_is_not_provable,
    samples_that_the_collector_refuses_are_named,
    a_closed_month_is_proved_with_its_corrections_and_after_its_samples_expired,
}

fn faults(findings: &nephometer_audit::Findings) -> Vec<Fault> {
    findings.faults.iter().map(|one| one.id).collect()
}

fn what_an_agent_sent_is_complete(engine: Engine) {
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    // Another project is in the same batches.
    sender.cycles(&CYCLES, &["r1", "r2", "other"]);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(found.result, AuditResult::Complete, "{found:#?}");
    assert_eq!(found.line(), "complete");
    let counts: Vec<_> =
        found.series.iter().map(|one| (&*one.resource, one.sums.samples, one.unproved)).collect();
    assert_eq!(counts, [("r1", 12, 0), ("r2", 12, 0)]);
    assert_eq!(found.series[0].interval, Some(300.0));
    assert_eq!(found.series[0].hosts, ["compute-1"]);
    // Messages that come again change nothing.
    fixture.receive(&sender.sent[3..9]);
    assert_eq!(fixture.audit(&sender.line(), HOUR).result, AuditResult::Complete);
    // By the host's id as well.
    let line = format!("{} {}", sender.statement.host_id, sender.key.public());
    assert_eq!(fixture.audit(&line, HOUR).result, AuditResult::Complete);
}

fn declared_drops_are_gaps_with_their_reason(engine: Engine) {
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    sender.cycles(&CYCLES[..5], &["r1", "r2"]);
    // Two batches are dropped; of the third, only the first sample.
    let first = sender.next;
    let from = sender.sent.len();
    sender.cycles(&CYCLES[5..8], &["r1", "r2"]);
    let dropped = sender.sent.drain(from..from + 7).count() as u64;
    let numbers = Some(Numbers { first, last: first + dropped - 1, count: dropped });
    let reason = "spool_full".to_owned();
    let drop = DeclaredDrop { reason, numbers, samples: 5, ..DeclaredDrop::default() };
    let samples = sender.samples("10:35", &["r1", "r2"]);
    sender.batch_declaring(drop, "10:35", &samples);
    sender.cycles(&CYCLES[9..], &["r1", "r2"]);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(found.result, AuditResult::CompleteWithDeclaredGaps, "{found:#?}");
    assert!(found.gaps.iter().all(|gap| gap.reason == "spool_full"), "{:?}", found.gaps);
    let series: Vec<_> = found
        .series
        .iter()
        .map(|one| (one.sums.samples, one.unproved, one.missing.len()))
        .collect();
    // The sample that was left of the third batch cannot be proved by itself.
    assert_eq!(series, [(9, 0, 1), (9, 1, 1)], "{found:#?}");
    assert!(found.series.iter().all(|one| one.missing[0].reason == "spool_full"));
}

/// After a kill, the agent sends again what may not have arrived, under new numbers.
fn a_kill_is_a_declared_gap_and_its_samples_are_proved(engine: Engine) {
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    sender.cycles(&CYCLES[..6], &["r1"]);
    let (next, digest) = (sender.next, sender.digest);
    // Sent before the kill: a whole batch, and half of the next.
    let [whole, half] = [6, 7].map(|at| sender.samples(CYCLES[at], &["r1", "r2"]));
    sender.batch(CYCLES[6], &whole);
    sender.batch(CYCLES[7], &half);
    sender.sent.truncate(sender.sent.len() - 2);
    // After it.
    sender.next = 1 << 20;
    sender.digest = digest;
    let numbers = Some(Numbers { first: next, last: (1 << 20) - 1, count: (1 << 20) - next });
    let reason = "unclean_stop".to_owned();
    let drop = DeclaredDrop { reason, numbers, ..DeclaredDrop::default() };
    sender.batch_declaring(drop, CYCLES[6], &whole);
    sender.batch(CYCLES[7], &half);
    sender.cycles(&CYCLES[8..], &["r1"]);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(found.result, AuditResult::CompleteWithDeclaredGaps, "{found:#?}");
    assert_eq!(found.gaps[0].reason, "unclean_stop");
    let counts: Vec<_> = found.series.iter().map(|one| (one.sums.samples, one.unproved)).collect();
    assert_eq!(counts, [(12, 0), (2, 0)], "each sample counts once");
}

fn an_agent_that_was_away_is_a_gap_and_a_guest_that_was_off_is_none(engine: Engine) {
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    sender.cycles(&CYCLES[..5], &["r1"]);
    sender.cycles(&CYCLES[5..8], &["r2"]);
    sender.cycles(&CYCLES[8..], &["r1"]);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(found.result, AuditResult::Complete, "{found:#?}");
    assert_eq!(found.series[0].missing[0].reason, "not_sampled");
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    sender.cycles(&CYCLES[..5], &["r1"]);
    sender.cycles(&CYCLES[8..], &["r1"]);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(found.result, AuditResult::CompleteWithDeclaredGaps, "{found:#?}");
    assert_eq!(found.series[0].missing[0].reason, "agent_silent");
    assert_eq!(found.gaps.len(), 1);
}

/// Live migration: both hosts have the guest for a while. Cold: neither has it between.
fn a_guest_that_moves_is_proved_by_both_hosts(engine: Engine) {
    for (until, from, missing) in [(8, 6, None), (6, 9, Some("moved"))] {
        let (mut fixture, mut senders) = (Fixture::on(engine), [Sender::new(1), Sender::new(2)]);
        senders[0].cycles(&CYCLES[..until], &["r1"]);
        senders[0].cycles(&CYCLES[until..], &[]);
        senders[1].cycles(&CYCLES[..from], &[]);
        senders[1].cycles(&CYCLES[from..], &["r1"]);
        senders.iter().for_each(|sender| fixture.receive(&sender.sent));
        let keys: String = senders.iter().map(Sender::line).collect();
        let found = fixture.audit(&keys, HOUR);
        assert_eq!(found.result, AuditResult::Complete, "{found:#?}");
        assert_eq!(found.series[0].hosts, ["compute-1", "compute-2"]);
        assert!(found.notes[0].starts_with("r1 was on compute-1, then compute-2."));
        let reasons = found.series[0].missing.iter().map(|one| &*one.reason);
        assert_eq!(reasons.collect::<Vec<_>>(), missing.into_iter().collect::<Vec<_>>());
    }
}

/// A lost host id: the new stream is proved, and the end of the old one cannot be.
fn a_lost_host_id_ends_a_stream_without_an_end(engine: Engine) {
    let (mut fixture, mut old) = (Fixture::on(engine), Sender::new(1));
    old.cycles(&CYCLES[..5], &["r1"]);
    let mut new = Sender::new(2);
    new.statement.host.clone_from(&old.statement.host);
    new.cycles(&CYCLES[6..], &["r1"]);
    fixture.receive(&old.sent);
    fixture.receive(&new.sent);
    let keys = old.line() + &new.line();
    let found = fixture.audit(&keys, HOUR);
    assert_eq!(faults(&found), [Fault::StreamEndMissing]);
    let note = "compute-1 has another host id since 2026-12-01T10:25:00";
    assert!(found.notes.iter().any(|one| one.starts_with(note)), "{:?}", found.notes);
    let after = fixture.audit(&keys, ["2026-12-01T10:30:00", "2026-12-01T11:00:00"]);
    assert_eq!(after.result, AuditResult::Complete, "{after:#?}");
}

fn what_has_no_signature_is_not_provable(engine: Engine) {
    let mut fixture = Fixture::on(engine);
    assert_eq!(faults(&fixture.audit("", HOUR)), [Fault::NoStream]);
    fixture.put(&[sample(1, "cpu", "r1", "2026-12-01T10:30:00", json!(1))]);
    let found = fixture.audit("", HOUR);
    assert_eq!(faults(&found), [Fault::NoStream, Fault::NoChain]);
    assert_eq!(found.line(), "not provable because no_stream, no_chain");
    assert_eq!((found.series[0].sums.samples, found.series[0].unproved), (0, 1));
    // An agent that states nothing of its batches.
    let mut sender = Sender::new(1);
    sender.cycles(&CYCLES[..4], &["r1"]);
    sender.checkpoint("10:15", None);
    sender.cycles(&CYCLES[5..], &["r1"]);
    let mut fixture = Fixture::on(engine);
    fixture.receive(&sender.sent);
    let found = fixture.audit(&sender.line(), HOUR);
    assert!(found.has(Fault::NoContents), "{:?}", found.faults);
}

fn samples_that_the_collector_refuses_are_named(engine: Engine) {
    let (mut fixture, mut sender) = (Fixture::on(engine), Sender::new(1));
    sender.cycles(&CYCLES, &["r1"]);
    // Two batches arrive when they are too old to check.
    fixture.receive(&sender.sent[..5]);
    for arrival in &sender.sent[5..9] {
        fixture.store.write(&message(arrival), time("2027-01-20T00:00:00")).unwrap();
    }
    fixture.receive(&sender.sent[9..]);
    let found = fixture.audit(&sender.line(), HOUR);
    assert_eq!(faults(&found), [Fault::SamplesRefused], "{found:#?}");
    assert!(found.faults[0].first.contains("too_old"), "{:?}", found.faults);
}

fn a_closed_month_is_proved_with_its_corrections_and_after_its_samples_expired(engine: Engine) {
    const NOVEMBER: [&str; 2] = ["2026-11-01T00:00:00", "2026-12-01T00:00:00"];
    let mut fixture = Fixture::on(engine);
    let at = |number, day: &str| {
        sample(number, "cpu", "r1", &format!("2026-11-{day}T10:00:00"), json!(number))
    };
    fixture.put(&[at(1, "02"), at(2, "20"), at(3, "20")]);
    let (closing, _) = fixture.store.close_month("2026-11", now()).unwrap();
    assert!(closing.tree.is_some() && closing.is_intact());
    let closing_faults = |fixture: &Fixture| {
        let mut found = faults(&fixture.audit("", NOVEMBER));
        found.retain(|fault| ![Fault::NoStream, Fault::NoChain].contains(fault));
        found
    };
    assert_eq!(closing_faults(&fixture), []);
    fixture.put(&[at(4, "20"), at(5, "25")]);
    fixture.maintain(now());
    let found = fixture.audit("", NOVEMBER);
    assert_eq!(found.corrections, [("cpu % gauge".to_owned(), 2)]);
    assert_eq!(closing_faults(&fixture), []);
    // The samples are dropped after 60 days.
    fixture.maintain(time("2027-02-15T00:00:00"));
    assert_eq!(closing_faults(&fixture), [Fault::SamplesExpired]);
    if engine == Engine::ClickHouse {
        return;
    }
    let path = fixture.folder.path().join("2026-11.default.db");
    let sql = "UPDATE rollup SET sum = sum + 1, min = 0 WHERE span = 1";
    rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
    let found = closing_faults(&fixture);
    assert_eq!(found, [Fault::ClosingDiffers, Fault::SamplesExpired]);
}
