//! Whatever is done to messages, to the store or to a file of evidence: no audit ends in *complete*.

use nephometer_audit::{
    AuditResult, EvidenceLine, EvidenceWriter, Fault, Findings, TrustedKeys, verify,
};
use nephometer_proof::{BatchState, Digest, Record};
use serde_json::json;

use super::sender_tests::{CYCLES, HOUR, Sender, new_key};
use super::tests::{Fixture, sample};

/// What a test may change: what is sent before it arrives, and the store afterwards.
struct Attack {
    name: &'static str,
    sent: fn(&mut Sender),
    stored: fn(&Fixture),
    expected: Fault,
}

const NOTHING: fn(&Fixture) = |_| {};

fn honest() -> Sender {
    let mut sender = Sender::new(1);
    sender.cycles(&CYCLES, &["r1", "r2"]);
    sender
}

fn place(sender: &mut Sender, at: usize) -> &mut crate::message::StreamPlace {
    sender.sent[at].place.as_mut().unwrap()
}

/// Numbers: the statement is 1; a batch is two samples and a checkpoint: 2, 3, 4; 5, 6, 7 and so on.
const ON_THE_WAY: [Attack; 9] = [
    Attack {
        name: "a message is removed",
        sent: |sender| _ = sender.sent.remove(10),
        stored: NOTHING,
        expected: Fault::HoleUndeclared,
    },
    Attack {
        name: "a range is removed",
        sent: |sender| _ = sender.sent.drain(10..22),
        stored: NOTHING,
        expected: Fault::HoleUndeclared,
    },
    Attack {
        name: "the end is removed",
        sent: |sender| sender.sent.truncate(30),
        stored: NOTHING,
        expected: Fault::StreamEndMissing,
    },
    Attack {
        name: "the beginning is removed",
        sent: |sender| _ = sender.sent.drain(1..15),
        stored: NOTHING,
        expected: Fault::StreamStartMissing,
    },
    Attack {
        name: "two messages change places",
        sent: |sender| {
            let (one, two) = (place(sender, 10).sequence, place(sender, 11).sequence);
            (place(sender, 10).sequence, place(sender, 11).sequence) = (two, one);
        },
        stored: NOTHING,
        expected: Fault::ChainBroken,
    },
    Attack {
        name: "a value is altered",
        sent: |sender| {
            let text = String::from_utf8(sender.sent[10].body.clone()).unwrap();
            let altered = text.replace("\"counter_volume\":", "\"counter_volume\":1");
            assert_ne!(text, altered);
            sender.sent[10].body = altered.into_bytes();
        },
        stored: NOTHING,
        expected: Fault::ChainBroken,
    },
    Attack {
        name: "a message is sent again under another number",
        sent: |sender| {
            let mut again = sender.sent[10].clone();
            again.place.as_mut().unwrap().sequence = 400;
            sender.sent.push(again);
            sender.next = 401;
            sender.batch("10:50", &[]);
        },
        stored: NOTHING,
        expected: Fault::ChainBroken,
    },
    Attack {
        name: "a message is forged behind the last one",
        sent: |sender| {
            let forged = sample(999, "cpu", "r1", "2026-12-01T10:30:30", json!(7));
            sender.send(&json!({"event_type": "metering", "payload": [forged]}));
        },
        stored: NOTHING,
        expected: Fault::NoCheckpoint,
    },
    Attack {
        name: "the statement is withheld",
        sent: |sender| _ = sender.sent.remove(0),
        stored: NOTHING,
        expected: Fault::NoStatement,
    },
];

const IN_THE_STORE: [Attack; 9] = [
    Attack {
        name: "a sample is removed",
        sent: |_| {},
        stored: |store| store.tamper("DELETE FROM sample WHERE message = 12"),
        expected: Fault::ContentsDiffer,
    },
    Attack {
        name: "a sample is changed",
        sent: |_| {},
        stored: |store| store.tamper("UPDATE sample SET volume = volume - 1 WHERE message = 12"),
        expected: Fault::ContentsDiffer,
    },
    Attack {
        name: "a sample is given to another resource",
        sent: |_| {},
        stored: |store| {
            store.tamper("UPDATE sample SET series = 3 - series WHERE message IN (11, 12)");
        },
        expected: Fault::ContentsDiffer,
    },
    Attack {
        name: "a sample is added",
        sent: |_| {},
        stored: |store| {
            store.tamper(
                "INSERT INTO sample SELECT series, time + 1, randomblob(16), volume, revision, \
                 message FROM sample WHERE message = 12",
            );
        },
        expected: Fault::ContentsDiffer,
    },
    Attack {
        name: "the collector drops a range",
        sent: |_| {},
        stored: |store| {
            store.tamper("DELETE FROM sample WHERE message BETWEEN 11 AND 22");
            store.tamper("DELETE FROM message WHERE id BETWEEN 11 AND 22");
        },
        expected: Fault::HoleUndeclared,
    },
    Attack {
        name: "the collector drops a batch and renumbers",
        sent: |_| {},
        stored: |store| {
            store.tamper("DELETE FROM sample WHERE message BETWEEN 11 AND 13");
            store.tamper("DELETE FROM message WHERE id BETWEEN 11 AND 13");
            store.tamper("UPDATE message SET sequence = sequence - 3 WHERE id > 13");
        },
        expected: Fault::ChainBroken,
    },
    Attack {
        name: "a batch is hidden: its links stay, its checkpoint and its samples do not",
        sent: |_| {},
        stored: |store| {
            store.tamper("UPDATE message SET record = NULL WHERE id = 13");
            store.tamper("DELETE FROM sample WHERE message IN (11, 12)");
        },
        expected: Fault::MessagesUnaccounted,
    },
    Attack {
        name: "a checkpoint is altered",
        sent: |_| {},
        stored: |store| {
            store.tamper("UPDATE message SET record = replace(record, '10:10', '10:11')");
        },
        expected: Fault::WrongSignature,
    },
    Attack {
        name: "the samples of a batch are declared as refused",
        sent: |_| {},
        stored: |store| {
            store.tamper("DELETE FROM sample WHERE message = 12");
            store.tamper("UPDATE message SET refused = '{\"too_old\":1}' WHERE id = 12");
        },
        expected: Fault::SamplesRefused,
    },
];

#[test]
fn nothing_that_was_changed_is_complete() {
    for attack in ON_THE_WAY.iter().chain(&IN_THE_STORE) {
        let (mut fixture, mut sender) = (Fixture::new(), honest());
        (attack.sent)(&mut sender);
        fixture.receive(&sender.sent);
        (attack.stored)(&fixture);
        let found = fixture.audit(&sender.line(), HOUR);
        assert_eq!(found.result, AuditResult::NotProvable, "{}", attack.name);
        assert!(found.has(attack.expected), "{}: {:?}", attack.name, found.faults);
    }
}

fn audited(senders: &[&Sender], keys: &str) -> Findings {
    let mut fixture = Fixture::new();
    senders.iter().for_each(|sender| fixture.receive(&sender.sent));
    fixture.audit(keys, HOUR)
}

#[test]
fn only_the_keys_of_the_host_count() {
    let sender = honest();
    let other = Sender::new(2);
    let unknown = audited(&[&sender], &other.line());
    assert!(unknown.has(Fault::HostMissing), "{:?}", unknown.faults);
    let line = format!("compute-1 {}", new_key().public());
    let unknown = audited(&[&sender], &line);
    assert!(unknown.has(Fault::UnknownKey), "{:?}", unknown.faults);
    // The key of another host.
    let line = format!("compute-2 {}", sender.key.public());
    let wrong = audited(&[&sender], &line);
    assert!(wrong.has(Fault::WrongHost), "{:?}", wrong.faults);
    let line = sender.line().trim_end().to_owned();
    for (revoked, provable) in [("2026-12-01T10:20:00", false), ("2026-12-01T12:00:00", true)] {
        let found = audited(&[&sender], &format!("{line} revoked={revoked}"));
        assert_eq!(found.has(Fault::KeyRevoked), !provable, "{:?}", found.faults);
        assert_eq!(found.result == AuditResult::Complete, provable);
    }
}

#[test]
fn a_host_that_is_left_out_is_missed() {
    let (one, mut two) = (honest(), Sender::new(2));
    two.cycles(&CYCLES, &["r3"]);
    let keys = one.line() + &two.line();
    assert_eq!(audited(&[&one, &two], &keys).result, AuditResult::Complete);
    let found = audited(&[&one], &keys);
    assert!(found.has(Fault::HostMissing), "{:?}", found.faults);
}

/// Messages of one host in the stream of another.
#[test]
fn two_hosts_cannot_be_mixed() {
    let (mut one, mut two) = (honest(), Sender::new(2));
    two.cycles(&CYCLES, &["r1", "r2"]);
    let stream = one.stream();
    for at in 10..13 {
        one.sent[at].body.clone_from(&two.sent[at].body);
        one.sent[at].place = two.sent[at].place.clone();
        place(&mut one, at).stream = stream;
    }
    let keys = one.line() + &two.line();
    let found = audited(&[&one, &two], &keys);
    assert_eq!(found.result, AuditResult::NotProvable);
    assert!(found.has(Fault::WrongStream), "{:?}", found.faults);
}

/// A key that was replaced signs again; whoever has it has also seen the stream.
#[test]
fn an_old_key_does_not_sign_again() {
    let mut sender = Sender::new(1);
    sender.cycles(&CYCLES[..5], &["r1"]);
    let first = sender.line();
    let old = std::mem::replace(&mut sender.key, new_key());
    let keys = first + &sender.line();
    sender.cycles(&CYCLES[5..8], &["r1"]);
    let new = std::mem::replace(&mut sender.key, old);
    sender.cycles(&CYCLES[8..12], &["r1"]);
    sender.key = new;
    sender.cycles(&CYCLES[12..], &["r1"]);
    let found = audited(&[&sender], &keys);
    assert!(found.has(Fault::OldKeyUsed), "{:?}", found.faults);
}

/// Another statement, such as one with a shorter interval, is withheld: batches name it.
#[test]
fn a_later_statement_cannot_be_withheld() {
    let mut sender = Sender::new(1);
    sender.cycles(&CYCLES[..5], &["r1"]);
    sender.statement.sources[0].interval = 60.0;
    sender.stated = false;
    sender.cycles(&CYCLES[5..], &["r1"]);
    let whole = audited(&[&sender], &sender.line());
    assert!(whole.faults.is_empty(), "{:?}", whole.faults);
    let is_statement = |at: &usize| {
        String::from_utf8_lossy(&sender.sent[*at].body).contains("nephometer.statement")
    };
    let second = (1..sender.sent.len()).find(is_statement).unwrap();
    sender.sent.remove(second);
    let found = audited(&[&sender], &sender.line());
    assert!(found.has(Fault::NoStatement), "{:?}", found.faults);
    assert!(found.has(Fault::HoleUndeclared), "{:?}", found.faults);
}

/// Whoever copies a store with its key can sign: two batches then have the same numbers.
#[test]
fn two_agents_with_one_key_are_noticed() {
    let mut one = honest();
    let mut copy = Sender::new(1);
    copy.key = one.key;
    one.key = new_key();
    copy.cycles(&CYCLES, &["r1"]);
    let line = copy.line();
    let found = audited(&[&one, &copy], &line);
    assert!(found.has(Fault::NumbersRepeated), "{:?}", found.faults);
}

#[test]
fn sums_that_were_changed_differ() {
    const DAY: [&str; 2] = ["2026-12-01T00:00:00", "2026-12-02T00:00:00"];
    let mut sender = Sender::new(1);
    sender.cycles(&CYCLES, &["r1", "r2"]);
    let statement = Record::Statement(Box::new(sender.statement.clone())).digest();
    let first = sender.next;
    sender.record(&Record::Checkpoint(nephometer_proof::Checkpoint {
        stream: sender.stream(),
        sequence: first - 1,
        digest: sender.digest,
        time: "2026-12-02T00:00:00".into(),
        batch: Some(BatchState { first, statement, contents: Vec::new() }),
    }));
    let mut fixture = Fixture::new();
    fixture.receive(&sender.sent);
    fixture.maintain(super::tests::time("2026-12-02T12:00:00"));
    let found = fixture.audit(&sender.line(), DAY);
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    fixture.tamper("UPDATE rollup SET sum = sum + 1 WHERE span = 1 AND series = 1");
    let found = fixture.audit(&sender.line(), DAY);
    assert_eq!(found.line(), "not provable because rollups_differ");
}

/// The collector itself changes a file of evidence, and signs it again.
#[test]
fn an_edited_file_is_not_complete() {
    let mut fixture = Fixture::new();
    let sender = honest();
    fixture.receive(&sender.sent);
    let trusted = TrustedKeys::parse(&sender.line()).unwrap();
    let lines = fixture.evidence(&trusted, HOUR);
    let key = new_key();
    let file = |lines: &[EvidenceLine]| {
        let mut bytes = Vec::new();
        let mut writer = EvidenceWriter::new(&mut bytes);
        lines.iter().for_each(|line| writer.write(line).unwrap());
        writer.finish(&key).unwrap();
        bytes
    };
    let good = file(&lines);
    let checked = |bytes: &[u8]| verify(bytes, &trusted, Some(&key.public()));
    let (found, _) = checked(&good).unwrap();
    assert_eq!(found, fixture.audit(&sender.line(), HOUR));
    assert_eq!(found.result, AuditResult::Complete);
    // Another person changes it: the seal does not hold.
    let text = String::from_utf8(good.clone()).unwrap();
    for altered in [
        text.replace("10:30:01", "10:30:02").replace("r1", "r9"),
        text.lines().skip(1).collect::<Vec<_>>().join("\n"),
        text.lines().take(10).collect::<Vec<_>>().join("\n"),
        text.clone() + "{}\n",
    ] {
        assert!(checked(altered.as_bytes()).is_err());
    }
    let other = verify(&*good, &trusted, Some(&new_key().public())).unwrap_err().to_string();
    assert!(other.contains("another key"), "{other}");
    // The collector: each line but the scope is left out, samples or digests are changed.
    for at in 1..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        let result = checked(&file(&fewer)).map(|(found, _)| found.result);
        let complete = matches!(result, Ok(AuditResult::Complete));
        assert!(!complete, "line {at} is not needed: {:?}", lines[at]);
    }
    let mut changed = lines.clone();
    for line in &mut changed {
        if let EvidenceLine::Batch(batch) = line {
            batch.samples.iter_mut().for_each(|sample| sample.2 += 1);
        }
    }
    let (found, _) = checked(&file(&changed)).unwrap();
    assert!(found.has(Fault::ContentsDiffer), "{:?}", found.faults);
    let mut hidden = lines;
    for line in &mut hidden {
        if let EvidenceLine::Batch(batch) = line {
            batch.bodies.iter_mut().for_each(|body| *body = Some(Digest::of(b"another")));
        }
    }
    let (found, _) = checked(&file(&hidden)).unwrap();
    assert!(found.has(Fault::ChainBroken), "{:?}", found.faults);
}
