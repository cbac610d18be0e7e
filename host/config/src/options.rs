//! The options of the native publishers, in one table.
//!
//! The checks take the names of known options from here, and `docs/reference/options.md` prints the
//! rows.

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct ConfigOption {
    /// The name as written.
    pub name: &'static str,
    /// The accepted values.
    pub values: &'static str,
    /// The default; empty if the option is required.
    pub default: &'static str,
    /// The effect.
    pub effect: &'static str,
}

/// The options of one publisher.
#[derive(Debug, Clone, Copy)]
pub struct OptionTable {
    /// The form of the publisher's URL.
    pub location: &'static str,
    /// A description of that part.
    pub about: &'static str,
    /// In alphabetical order, required ones first.
    pub options: &'static [ConfigOption],
}

impl OptionTable {
    /// The names of all options.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.options.iter().map(|option| option.name).collect()
    }
}

const fn option(
    name: &'static str,
    values: &'static str,
    default: &'static str,
    effect: &'static str,
) -> ConfigOption {
    ConfigOption { name, values, default, effect }
}

/// Everything in this module, in the order of the reference page.
pub const TABLES: &[OptionTable] = &[NOTIFIER, FILE, UDP, TCP, TEST, COMPONENT];

/// `notifier://`.
pub(crate) const NOTIFIER: OptionTable = OptionTable {
    location: "notifier://[USER:PASSWORD@HOST:PORT[,USER:PASSWORD@HOST:PORT]...[/VHOST]][?OPTIONS]",
    about: "Metering messages over AMQP 0-9-1. Without a host, `amqp.url` is used.",
    options: &[
        option(
            "driver",
            "`rabbit`, `kombu`, `messaging`, `messagingv2`",
            "`rabbit`",
            "All mean AMQP 0-9-1. With another driver the publisher is skipped, with a warning.",
        ),
        option(
            "max_queue_length",
            "whole number; 0 or less: no limit",
            "1024",
            "The most envelopes that are kept pending with `policy=queue`.",
        ),
        option(
            "max_retry",
            "whole number",
            "none",
            "No effect: delivery is retried until it succeeds or the spool is full.",
        ),
        option(
            "per_meter_topic",
            "0 or 1",
            "0",
            "1 also sends the samples of each meter on their own, with the event type `metering.METER`.",
        ),
        option(
            "policy",
            "`default`, `queue`, `drop`",
            "`default`",
            "`default` keeps what `store` allows; `queue` keeps the newest `max_queue_length` envelopes; `drop` drops what cannot be delivered at once.",
        ),
        option(
            "provable",
            "0 or 1",
            "1",
            "1 sends signed checkpoints, statements and declared drops, from which receivers can verify that nothing is missing; [proof.md](../proof.md).",
        ),
        option(
            "ssl",
            "`1`, `true`, `0`, `false`",
            "`amqp.tls.enabled`",
            "Whether the hosts of this URL are reached over TLS.",
        ),
        option(
            "topic",
            "text, may be repeated",
            "`metering`",
            "Routing key and queue are `TOPIC.sample`.",
        ),
    ],
};

/// `file://`.
pub(crate) const FILE: OptionTable = OptionTable {
    location: "file:///PATH[?OPTIONS]",
    about: "One line per sample, appended to a file that may be moved away at any time.",
    options: &[
        option(
            "backup_count",
            "0 to 10000",
            "no rotation",
            "The number of rotated files that are kept. Needs `max_bytes`.",
        ),
        option(
            "json",
            "no value",
            "absent",
            "Writes JSON; otherwise the text of Python that Ceilometer writes.",
        ),
        option(
            "max_bytes",
            "whole number, 0 or more",
            "no rotation",
            "The size at which the file is rotated. Needs `backup_count`.",
        ),
        option(
            "provable",
            "no value",
            "absent",
            "Writes links, checkpoints, statements and declared drops as lines of their own; [proof.md](../proof.md).",
        ),
    ],
};

/// `udp://`.
const UDP: OptionTable = OptionTable {
    location: "udp://HOST[:PORT]",
    about: "One datagram per sample, a signed message in MessagePack. The port is 4952 where it is \
        left out.",
    options: &[],
};

/// `tcp://`.
pub(crate) const TCP: OptionTable = OptionTable {
    location: "tcp://HOST[:PORT]",
    about: "A stream of signed messages in MessagePack, each with its length in front. The port is \
        4952 where it is left out.",
    options: &[],
};

/// `test://`.
pub(crate) const TEST: OptionTable =
    OptionTable { location: "test://", about: "Counts samples and keeps none.", options: &[] };

/// Publishers that are components.
const COMPONENT: OptionTable = OptionTable {
    location: "NAME://[USER:PASSWORD@][HOST[:PORT]][/PATH][?OPTIONS]",
    about: "The component `NAME.wasm`. Its options are those of the query and of \
        `components.by_name.NAME.options`; the query counts first. The shipped ones are listed below.",
    options: &[],
};
