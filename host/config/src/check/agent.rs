//! Checks `mode`, `routing` and `polling`, which determine the kind of agent.

use super::Check;
use super::units::{truth, whole};
use crate::error::nearest;
use crate::keys;
use crate::raw::{Field, Kind, RawPolling, Scalar, Scalars};
use crate::spec::{Mode, Routing};

/// The default, that of Ceilometer's `[polling] batch_size`.
const BATCH_SIZE: usize = 50;

/// The default, that of `[oslo_messaging_notifications] topics`.
const TOPIC: &str = "notifications";

/// A message with more samples would exceed about 15 MB.
const MOST_IN_BATCH: i64 = 10_000;

pub(super) struct Agent {
    pub(super) mode: Mode,
    pub(super) routing: Option<Routing>,
    pub(super) spread: bool,
}

pub(super) fn check(
    check: &mut Check<'_>,
    mode: &Field<Scalar>,
    routing: &Field<Scalar>,
    polling: Field<RawPolling>,
) -> Option<Agent> {
    let mode = word(check, "/mode", mode, &["notification", "polling"]);
    let routing = word(check, "/routing", routing, &["source", "name"]);
    let raw = check.mapping("/polling", polling)?;
    check.keys("/polling", &keys::POLLING, &[]);
    let size = |value: &Scalar| {
        let value = whole(value).filter(|value| (1..=MOST_IN_BATCH).contains(value))?;
        usize::try_from(value).ok()
    };
    let right = "write a whole number from 1 to 10000";
    let batch_size = check.value("/polling/batch_size", &raw.batch_size, size, right);
    let spread = check.value("/polling/spread", &raw.spread, truth, "write true or false");
    let right = "write true or false";
    let sent = check.value("/polling/notifications", &raw.notifications, truth, right);
    let topics = topics(check, &raw.topics);
    let notifications = sent?.unwrap_or(true);
    let (batch_size, topics) = (batch_size?.unwrap_or(BATCH_SIZE), topics?);
    Some(Agent {
        mode: match mode? {
            Some("polling") => Mode::Polling { batch_size, topics, notifications },
            _ => Mode::Notification,
        },
        routing: routing?.map(|word| if word == "name" { Routing::Name } else { Routing::Source }),
        spread: spread?.unwrap_or(false),
    })
}

/// Routing keys without their `.sample`. As text they are separated by commas, as in
/// `ceilometer.conf`.
fn topics(check: &mut Check<'_>, field: &Scalars) -> Option<Vec<String>> {
    const RIGHT: &str = "write a list of topics of 1 to 200 bytes: [notifications]";
    let pointer = "/polling/topics";
    let topics: Vec<String> = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => return Some(vec![TOPIC.to_owned()]),
        (_, Kind::Text) => {
            let text = check.text(pointer).unwrap_or_default();
            text.split(',').map(|topic| topic.trim().to_owned()).collect()
        }
        (Field::Given(entries), Kind::List) => {
            let texts = check.texts(pointer, entries);
            texts.into_iter().map(|(_, topic)| topic).collect()
        }
        _ => {
            check.wrong(pointer, RIGHT);
            return None;
        }
    };
    if topics.is_empty() || topics.iter().any(|topic| !(1..=200).contains(&topic.len())) {
        check.fault(pointer, "`topics` has no topic, or one that is empty or too long", RIGHT);
        return None;
    }
    Some(topics)
}

/// One of several keywords.
fn word(
    check: &mut Check<'_>,
    pointer: &str,
    field: &Field<Scalar>,
    words: &[&'static str],
) -> Option<Option<&'static str>> {
    let Some(given) = check.string(pointer, field)? else { return Some(None) };
    if let Some(word) = words.iter().find(|word| **word == given) {
        return Some(Some(word));
    }
    let remedy = match nearest(&given, words.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("write {}", words.join(" or ")),
    };
    check.fault(pointer, format!("{} is {given:?}", super::subject(pointer)), remedy);
    None
}
