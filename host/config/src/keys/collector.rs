//! The keys of `collector.yaml`.

use super::KeyDefault::{Nothing, Required, Value};
use super::ValueShape::{
    Address, AnyText, Name, Path, Size, Tables, Text, Texts, Time, TimeOrForever, Truth, Url,
    Whole, Word,
};
use super::host::AMQP_TLS;
use super::openstack::CREDENTIALS;
use super::{KeyTable, ListForm, TextList, closed, key, section};

/// Texts of which there is at least one.
const SOME: super::ValueShape = Texts(TextList { separator: None, least: 1, may_be_empty: true });
/// The most entries of an answer, and samples of a query.
const COUNT: super::ValueShape = Whole(1, 1_000_000_000);

/// The whole file.
pub(crate) const COLLECTOR: KeyTable = closed(
    "The settings of nephometer-collector.",
    &[
        section("store", &KEEP),
        key("brokers", Tables(&BROKER, ListForm::MayBeNull), Value("[]"), BROKER.about),
        key(
            "receivers",
            Texts(TextList { separator: None, least: 0, may_be_empty: false }),
            Value("[]"),
            "Addresses that take what udp:// and tcp:// of agents send, such as udp://127.0.0.1:4952.",
        ),
        section("commit", &COMMIT),
        key(
            "secrets",
            Tables(&SECRET, ListForm::MayBeNull),
            Value("[{name: default, secret: change this for valid signing}]"),
            SECRET.about,
        ),
        key(
            "unsigned",
            Truth,
            Value("false"),
            "Store samples without a signature. Samples with a wrong signature are never stored.",
        ),
        section("api", &API),
        section("audit", &AUDIT),
    ],
);

/// `store`
pub(crate) const KEEP: KeyTable = closed(
    "Where samples are stored, and how long.",
    &[
        key(
            "path",
            Path,
            Value("/var/lib/nephometer-collector"),
            "The folder: a database file per month and class.",
        ),
        key(
            "window",
            Time,
            Value("35d"),
            "A sample is stored once by its message_id while it is younger than this; older ones are refused.",
        ),
        key("ahead", Time, Value("1d"), "Samples further in the future are refused."),
        key(
            "keep",
            TimeOrForever,
            Value("400d"),
            "How long samples are kept. Whole months are dropped.",
        ),
        key(
            "rollups",
            TimeOrForever,
            Value("1830d"),
            "How long their sums by hour and day are kept.",
        ),
        key("classes", Tables(&CLASS, ListForm::MayBeNull), Value("[]"), CLASS.about),
        section("clickhouse", &CLICKHOUSE),
    ],
);

/// `store.clickhouse`
pub(crate) const CLICKHOUSE: KeyTable = KeyTable {
    about: "Servers of ClickHouse that store samples, in place of files. `store.path` then has the key \
            of audits only.",
    keys: &[
        key(
            "servers",
            Texts(TextList { separator: None, least: 0, may_be_empty: false }),
            Value("[]"),
            "URLs of HTTP, such as http://clickhouse-1:8123; none for files. Each server has the samples \
             of a part of all resources. Their order and number must not change.",
        ),
        key("database", Text, Value("nephometer"), "The database; it is made if it is missing."),
        key("user", Text, Value("default"), "The user."),
        key("password", AnyText, Nothing, "Its password.").secret(),
        key("password_file", Path, Nothing, "A file that contains it."),
        key("ca", Path, Nothing, "PEM file of authorities for https:// in place of the system's."),
        key("timeout", Time, Value("60s"), "The longest time for one request."),
    ],
    one_of: &[],
    closed: true,
};

/// An entry of `store.classes`.
pub(crate) const CLASS: KeyTable = closed(
    "Meters that are kept for another time, in files of their own: at most seven classes. The first \
     with a matching pattern has the meter.",
    &[
        key("name", Name, Required, "Lower-case letters, digits and dashes, at most 32."),
        key("meters", SOME, Required, "Patterns as in pipeline.yaml."),
        key("keep", TimeOrForever, Value("400d"), "How long samples are kept."),
        key(
            "rollups",
            TimeOrForever,
            Value("1830d"),
            "How long their sums by hour and day are kept.",
        ),
    ],
);

/// An entry of `brokers`.
pub(crate) const BROKER: KeyTable = KeyTable {
    about: "Brokers to consume from. Without any, the collector only serves queries and imports.",
    keys: &[
        key(
            "url",
            Url,
            Nothing,
            "The broker. Commas separate the nodes of a cluster; amqps:// is TLS.",
        )
        .secret(),
        key("url_file", Path, Nothing, "A file that contains the URL."),
        section("tls", &AMQP_TLS),
        key(
            "queues",
            SOME,
            Value("[metering.sample, notifications.sample]"),
            "Queues of agents (notifier://), and of polling agents (telemetry.polling).",
        ),
        key(
            "declare",
            Word(&["transient", "durable", "quorum"]),
            Value("transient"),
            "How missing queues are declared. Existing ones are used as they are.",
        ),
        key(
            "prefetch",
            Whole(1, 65_535),
            Value("200"),
            "Messages of each queue that are delivered and not yet committed.",
        ),
    ],
    one_of: &[&["url", "url_file"]],
    closed: true,
};

/// `commit`
pub(crate) const COMMIT: KeyTable = closed(
    "Messages are acknowledged after the commit of their samples, which begins when this much has arrived.",
    &[
        key("rows", Whole(1, 1_000_000), Value("10000"), "Samples."),
        key("bytes", Size(1, u64::MAX), Value("32MiB"), "Their size."),
        key("time", Time, Value("500ms"), "Time since the first of them."),
    ],
);

/// An entry of `secrets`.
pub(crate) const SECRET: KeyTable = KeyTable {
    about: "Secrets that may have signed a sample, with names for messages.",
    keys: &[
        key("name", Name, Required, "A name for messages."),
        key("secret", Text, Nothing, "The telemetry_secret of the senders.").secret(),
        key("secret_file", Path, Nothing, "A file that contains it."),
    ],
    one_of: &[&["secret", "secret_file"]],
    closed: true,
};

/// `api`
pub(crate) const API: KeyTable = closed(
    "The query API: Ceilometer's /v2, /health and /metrics.",
    &[
        key("listen", Address, Value("\"127.0.0.1:8777\""), "An address and a port, or off."),
        key(
            "access",
            Word(&["tokens", "loopback", "keystone"]),
            Value("tokens"),
            "tokens: a file of hashed tokens. loopback: no token is needed; only for loopback addresses. \
             keystone: tokens of Keystone.",
        ),
        key(
            "tokens",
            Path,
            Value("/etc/nephometer/collector-tokens"),
            "The file of hashed tokens.",
        ),
        section("keystone", &CREDENTIALS),
        key(
            "token_cache",
            Time,
            Value("60s"),
            "How long an answer of Keystone is used: a revoked token ends after this time at the latest.",
        ),
        key("limit", COUNT, Value("100"), "Entries of an answer if the request names no limit."),
        key("rows", COUNT, Value("10000000"), "Samples that one query may read."),
    ],
);

/// `audit`
pub(crate) const AUDIT: KeyTable = closed(
    "What audits trust.",
    &[key(
        "keys",
        Path,
        Nothing,
        "A file with the public keys of agents, one a line: HOST KEY, as `nephometer keys ls --trusted` prints it.",
    )],
);
