//! Checks `collector.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nephometer_model::{Bound, Glob, Secret};

use super::Check;
use super::amqp::tls;
use super::clickhouse::clickhouse;
use super::receivers::{AccessKeys, access, receivers};
use super::units::{DURATION, SIZE, duration, size, truth, whole};
use crate::broker::{BrokerSpec, Queues};
use crate::collector::{
    ApiSpec, CollectedQueues, CollectorSpec, CommitSpec, KeepSpec, NamedSecret, RetentionClass,
};
use crate::error::Report;
use crate::keys;
use crate::raw::{
    Document, Field, Kind, RawApi, RawAudit, RawClass, RawCollector, RawCommit, RawKeep, RawQueues,
    RawSecret, Scalar, Scalars,
};
use crate::spec::DEFAULT_SECRET;
use crate::url;

const DAY: Duration = Duration::from_secs(86_400);
/// The class of all meters that no other class names.
const DEFAULT_CLASS: &str = "default";
const KEPT: &str = "write a time above zero with its unit, such as 90d, or forever";
const METERS: &str = "write a list of meters, such as [cpu, \"network.*\"]";

/// Checks the whole file.
pub(crate) fn check(doc: &Document, report: &mut Report) -> Option<CollectorSpec> {
    let mut check = Check::new(doc, report);
    let check = &mut check;
    let raw: RawCollector = check.mapping("", doc.mirror())?;
    check.keys("", &keys::COLLECTOR, &[]);
    let keep = keep(check, raw.store);
    let brokers = entries(check, "/brokers", raw.brokers, queues);
    let commit = commit(check, raw.commit);
    let secrets = entries(check, "/secrets", raw.secrets, secret);
    let unsigned = check.value("/unsigned", &raw.unsigned, truth, "write true or false");
    let receivers = receivers(check, &raw.receivers, unsigned.flatten().unwrap_or(false));
    let api = api(check, raw.api);
    let trusted_keys = audit(check, raw.audit);
    let default = || NamedSecret { name: "default".into(), secret: Secret::new(DEFAULT_SECRET) };
    Some(CollectorSpec {
        keep: keep?,
        brokers: brokers?.unwrap_or_default(),
        receivers: receivers?,
        commit: commit?,
        secrets: secrets?.unwrap_or_else(|| vec![default()]),
        unsigned: unsigned?.unwrap_or(false),
        api: api?,
        trusted_keys: trusted_keys?,
    })
}

/// The entries of a list; the inner `None` if there is no list.
fn entries<R: Default, T>(
    check: &mut Check<'_>,
    pointer: &str,
    field: Field<Vec<Field<R>>>,
    read: fn(&mut Check<'_>, &str, R) -> Option<T>,
) -> Option<Option<Vec<T>>> {
    let list = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => return Some(None),
        (Field::Given(list), Kind::List) => list,
        _ => {
            check.wrong(pointer, "write a list of mappings");
            return None;
        }
    };
    if let Err(error) = Bound::Entries.check(list.len()) {
        check.fault(pointer, error.to_string(), "use fewer of them");
        return None;
    }
    let mut read_all = Vec::new();
    let count = list.len();
    for (at, entry) in list.into_iter().enumerate() {
        let inner = format!("{pointer}/{at}");
        let raw = check.mapping(&inner, entry);
        read_all.extend(raw.and_then(|raw| read(check, &inner, raw)));
    }
    (read_all.len() == count).then_some(Some(read_all))
}

fn keep(check: &mut Check<'_>, field: Field<RawKeep>) -> Option<KeepSpec> {
    let raw = check.mapping("/store", field)?;
    check.keys("/store", &keys::KEEP, &[]);
    let path = check.string("/store/path", &raw.path);
    let window = check.value("/store/window", &raw.window, duration, DURATION);
    let ahead = check.value("/store/ahead", &raw.ahead, duration, DURATION);
    let keep = check.value("/store/keep", &raw.keep, kept, KEPT);
    let rollups = check.value("/store/rollups", &raw.rollups, kept, KEPT);
    let classes = entries(check, "/store/classes", raw.classes, class);
    let clickhouse = clickhouse(check, raw.clickhouse);
    let (keep, rollups) = (keep?.unwrap_or(Some(400 * DAY)), rollups?.unwrap_or(Some(1_830 * DAY)));
    let mut classes = classes?.unwrap_or_default();
    if classes.len() >= Bound::CollectorClasses.size() {
        check.fault("/store/classes", Bound::CollectorClasses.refusal(), "join some of them");
        return None;
    }
    classes.push(RetentionClass { name: DEFAULT_CLASS.into(), meters: Vec::new(), keep, rollups });
    Some(KeepSpec {
        path: path?.map_or_else(|| "/var/lib/nephometer-collector".into(), PathBuf::from),
        clickhouse: clickhouse?,
        window: window?.unwrap_or(35 * DAY),
        ahead: ahead?.unwrap_or(DAY),
        classes,
    })
}

/// A time, or for ever.
fn kept(value: &Scalar) -> Option<Option<Duration>> {
    if matches!(value, Scalar::Text(text) if text == "forever") {
        return Some(None);
    }
    duration(value).map(Some)
}

fn class(check: &mut Check<'_>, at: &str, raw: RawClass) -> Option<RetentionClass> {
    let RawClass { name, meters, keep, rollups } = raw;
    check.keys(at, &keys::CLASS, &[]);
    let name = check.name(at, &name, "class");
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let pointer = format!("{at}/name");
    let name = match name {
        Some(name) if name == DEFAULT_CLASS => {
            let what = format!("`name` is {name:?}");
            check.fault(&pointer, what, "name it otherwise: this is the class of all other meters");
            None
        }
        Some(name) if name.chars().all(good) && name.len() <= 32 => Some(name),
        Some(name) => {
            let what = format!("`name` is {name:?}");
            check.fault(&pointer, what, "use lower-case letters, digits and dashes, at most 32");
            None
        }
        None => None,
    };
    let meters = globs(check, &format!("{at}/meters"), &meters);
    let keep = check.value(&format!("{at}/keep"), &keep, kept, KEPT);
    let rollups = check.value(&format!("{at}/rollups"), &rollups, kept, KEPT);
    Some(RetentionClass {
        name: name?,
        meters: meters?,
        keep: keep?.unwrap_or(Some(400 * DAY)),
        rollups: rollups?.unwrap_or(Some(1_830 * DAY)),
    })
}

fn globs(check: &mut Check<'_>, pointer: &str, field: &Scalars) -> Option<Vec<Glob>> {
    let texts = texts(check, pointer, field, METERS)?;
    let mut globs = Vec::new();
    for (inner, text) in &texts {
        match Glob::new(text) {
            Ok(glob) => globs.push(glob),
            Err(error) => check.fault(inner, error.to_string(), METERS),
        }
    }
    (globs.len() == texts.len()).then_some(globs)
}

/// A list of texts that is not empty.
fn texts(
    check: &mut Check<'_>,
    pointer: &str,
    field: &Scalars,
    right: &str,
) -> Option<Vec<(String, String)>> {
    let entries = match field {
        Field::Given(entries) if !entries.is_empty() => entries,
        Field::Absent | Field::Null | Field::Given(_) => {
            let name = pointer.rsplit('/').next().unwrap_or_default();
            check.fault(pointer, format!("`{name}` is empty"), right);
            return None;
        }
        Field::Wrong => {
            check.wrong(pointer, right);
            return None;
        }
    };
    let texts = check.texts(pointer, entries);
    (texts.len() == entries.len()).then_some(texts)
}

fn queues(check: &mut Check<'_>, at: &str, raw: RawQueues) -> Option<CollectedQueues> {
    check.keys(at, &keys::BROKER, &[]);
    let tls = tls(check, &format!("{at}/tls"), raw.tls);
    let words = [
        ("transient", Queues::Transient),
        ("durable", Queues::Durable),
        ("quorum", Queues::Quorum),
    ];
    let declare = check.word(&format!("{at}/declare"), &raw.declare, &words);
    let prefetch = check.value(
        &format!("{at}/prefetch"),
        &raw.prefetch,
        |value| whole(value).and_then(|value| u16::try_from(value).ok()).filter(|value| *value > 0),
        "write a whole number from 1 to 65535",
    );
    let named = match raw.queues {
        Field::Absent | Field::Null => {
            Some(vec!["metering.sample".to_owned(), "notifications.sample".to_owned()])
        }
        given => texts(check, &format!("{at}/queues"), &given, "write a list of queues")
            .map(|texts| texts.into_iter().map(|(_, text)| text).collect()),
    };
    let pointer = format!("{at}/url");
    let given = check.secret(&pointer, &raw.url, &raw.url_file)?;
    let Some(text) = given else {
        check.fault(at, "this broker has no `url`", "set `url` or `url_file`");
        return None;
    };
    let enabled = tls.as_ref().is_some_and(|tls| tls.enabled);
    let urls = match url::broker_urls(&text, enabled) {
        Ok(urls) => urls,
        Err((what, remedy)) => {
            check.fault(&pointer, what, remedy);
            return None;
        }
    };
    Some(CollectedQueues {
        broker: BrokerSpec {
            urls,
            tls: tls?,
            queues: declare?.unwrap_or_default(),
            ..BrokerSpec::default()
        },
        label: url::label(&text),
        queues: named?,
        prefetch: prefetch?.unwrap_or(200),
    })
}

fn commit(check: &mut Check<'_>, field: Field<RawCommit>) -> Option<CommitSpec> {
    let raw = check.mapping("/commit", field)?;
    check.keys("/commit", &keys::COMMIT, &[]);
    let count = |value: &Scalar| {
        let value = whole(value).filter(|value| (1..=1_000_000).contains(value))?;
        usize::try_from(value).ok()
    };
    let right = "write a whole number from 1 to 1000000";
    let rows = check.value("/commit/rows", &raw.rows, count, right);
    let bytes = check.value("/commit/bytes", &raw.bytes, size, SIZE);
    let time = check.value("/commit/time", &raw.time, duration, DURATION);
    Some(CommitSpec {
        rows: rows?.unwrap_or(10_000),
        bytes: usize::try_from(bytes?.unwrap_or(32 << 20)).unwrap_or(usize::MAX),
        time: time?.unwrap_or(Duration::from_millis(500)),
    })
}

fn secret(check: &mut Check<'_>, at: &str, raw: RawSecret) -> Option<NamedSecret> {
    let RawSecret { name, secret, secret_file } = raw;
    check.keys(at, &keys::SECRET, &[]);
    let name = check.name(at, &name, "secret");
    let secret = check.secret(&format!("{at}/secret"), &secret, &secret_file)?;
    let Some(secret) = secret.filter(|secret| !secret.is_empty()) else {
        let remedy = "set `secret` or `secret_file`; `unsigned: true` accepts unsigned samples";
        check.fault(at, "no secret", remedy);
        return None;
    };
    Some(NamedSecret { name: name?, secret: Secret::new(secret) })
}

fn api(check: &mut Check<'_>, field: Field<RawApi>) -> Option<Option<ApiSpec>> {
    let raw = check.mapping("/api", field)?;
    check.keys("/api", &keys::API, &[]);
    let off = matches!(&raw.listen, Field::Given(value) if
        matches!(value, Scalar::Bool(false)) || value.to_string() == "off");
    let address = |value: &Scalar| value.to_string().parse::<SocketAddr>().ok();
    let right = "write an address and a port, such as 127.0.0.1:8777, or off";
    let listen =
        if off { Some(None) } else { check.value("/api/listen", &raw.listen, address, right) };
    let limit = check.value("/api/limit", &raw.limit, count, COUNT);
    let rows = check.value("/api/rows", &raw.rows, count, COUNT);
    let default = SocketAddr::from(([127, 0, 0, 1], 8777));
    let asked = AccessKeys {
        access: &raw.access,
        tokens: &raw.tokens,
        keystone: raw.keystone,
        cache: &raw.token_cache,
        listen: listen.flatten().unwrap_or(default),
    };
    let access = access(check, asked);
    let (listen, access) = (listen?.unwrap_or(default), access?);
    let spec = ApiSpec {
        listen,
        access,
        limit: usize::try_from(limit?.unwrap_or(100)).unwrap_or(usize::MAX),
        rows: rows?.unwrap_or(10_000_000),
    };
    Some((!off).then_some(spec))
}

fn audit(check: &mut Check<'_>, field: Field<RawAudit>) -> Option<Option<PathBuf>> {
    let raw = check.mapping("/audit", field)?;
    check.keys("/audit", &keys::AUDIT, &[]);
    let keys = check.string("/audit/keys", &raw.keys)?;
    Some(keys.map(PathBuf::from))
}

const COUNT: &str = "write a whole number from 1 to 1000000000";

fn count(value: &Scalar) -> Option<u64> {
    let value = whole(value).filter(|value| (1..=1_000_000_000).contains(value))?;
    u64::try_from(value).ok()
}
