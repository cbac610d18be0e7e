//! The keys of one component in `nephometer.yaml`.

use super::KeyDefault::{self, Depends, Nothing, Value};
use super::ValueShape::{Options, Size, Text, Time, Truth, Whole, Word};
use super::{KeyTable, LIST, ListForm, ValueShape, closed, key, section};

/// Any size.
const BYTES: ValueShape = Size(1, u64::MAX);

/// An entry of `components.by_name`.
pub(crate) const COMPONENT: KeyTable = closed(
    "Settings of one component, for all of its uses.",
    &[
        key(
            "from",
            Text,
            Nothing,
            "Where it comes from in place of a file: `oci://HOST/REPOSITORY:TAG@sha256:DIGEST`. A tag without a \
             digest is looked up in `components.lock` beside this file ([registry.md](../registry.md)).",
        ),
        key(
            "shadow",
            Text,
            Nothing,
            "Another version of a transformer to try beside it: a file, or `oci://HOST/REPOSITORY:TAG@sha256:DIGEST`. \
             It gets the same batches, and nothing of it is published \
             ([how-to](../how-to/try-a-component.md)).",
        ),
        section("limits", &LIMITS),
        section("shadow_limits", &SHADOW_LIMITS),
        section("guard", &COMPONENT_GUARD),
        key(
            "on_error",
            Word(&["hold", "drop", "keep"]),
            Value("hold"),
            "Failure action for a batch that the component failed on twice: the sink waits and retries, \
             the samples are dropped, or they pass unchanged.",
        ),
        key(
            "on_state_mismatch",
            Word(&["keep_old", "reset"]),
            Value("keep_old"),
            "If a new version refuses the state of the old one: the old version stays in use, or the new \
             one starts without state.",
        ),
        section("grants", &GRANTS),
        key(
            "options",
            Options(ListForm::MayBeNull),
            Value("{}"),
            "Options for all URLs of a publisher, a good place for secrets. The parts of a URL take \
             precedence for that URL.",
        )
        .secret(),
    ],
);

/// `limits` of a component.
pub(crate) const LIMITS: KeyTable = closed(
    "What one component may use.",
    &[
        key("memory", Size(1, 4 << 30), Value("256MiB"), "Linear memory."),
        key("cpu", Time, Value("2s"), "Processor time of one call."),
        key("wall", Time, Value("10s"), "Elapsed time of one call."),
        key("returned", BYTES, Value("16MiB"), "Size of the result of one call."),
    ],
);

/// `shadow_limits` of a component.
pub(crate) const SHADOW_LIMITS: KeyTable = closed(
    "What the shadow of a component may use.",
    &[
        key("memory", Size(1, 4 << 30), AS_LIMITS, "Linear memory."),
        key("cpu", Time, AS_LIMITS, "Processor time of one call."),
        key("wall", Time, AS_LIMITS, "Elapsed time of one call."),
        key("returned", BYTES, AS_LIMITS, "Size of the result of one call."),
    ],
);

const AS_LIMITS: KeyDefault = Depends("as in `limits`");

/// `components.guard`
pub(crate) const GUARD: KeyTable = closed(
    "After a reload with other code of a transformer, the version before runs on beside the new one, and \
     nothing of it is published. Beyond these bounds it takes over again \
     ([how-to](../how-to/try-a-component.md#guard-a-change)).",
    &[
        key("enabled", Truth, Value("false"), "Whether changes are guarded."),
        key(
            "cycles",
            Whole(1, 10_000),
            Value("10"),
            "Polling cycles of each source that are compared.",
        ),
        key("sums", PERCENT, Value("10"), "Percent by which the sum of a meter may differ."),
        key(
            "samples",
            PERCENT,
            Value("10"),
            "Percent by which the number of samples of a meter may differ.",
        ),
        key(
            "absent",
            Whole(0, 1_000_000_000),
            Value("0"),
            "Series, each a meter of a resource, that only the version before may have.",
        ),
        key(
            "cost",
            Whole(1, 1_000_000),
            Value("10"),
            "How many times the processor time per sample may be.",
        ),
    ],
);

/// `guard` of a component.
pub(crate) const COMPONENT_GUARD: KeyTable = closed(
    "Its guard, where that differs from `components.guard`. With several guarded changes in a sink, the \
     strictest bound counts.",
    &[
        key("enabled", Truth, AS_GUARD, "Whether changes of this component are guarded."),
        key(
            "cycles",
            Whole(1, 10_000),
            AS_GUARD,
            "Polling cycles of each source that are compared.",
        ),
        key("sums", PERCENT, AS_GUARD, "Percent by which the sum of a meter may differ."),
        key("samples", PERCENT, AS_GUARD, "Percent by which the number of samples may differ."),
        key(
            "absent",
            Whole(0, 1_000_000_000),
            AS_GUARD,
            "Series that only the version before may have.",
        ),
        key("cost", Whole(1, 1_000_000), AS_GUARD, "How many times the processor time may be."),
    ],
);

const PERCENT: ValueShape = Whole(0, 1_000_000);
const AS_GUARD: KeyDefault = Depends("as in `components.guard`");

/// `grants` of a component.
pub(crate) const GRANTS: KeyTable = closed(
    "What a component that publishes may reach.",
    &[
        key(
            "connect",
            LIST,
            Value("[]"),
            "Targets besides the host and port of its URL: HOST:PORT, ADDRESS:PORT or ADDRESS/BITS:PORT, \
             with IPv6 in square brackets.",
        ),
        key(
            "service_credentials",
            Truth,
            Depends("true for `gnocchi`"),
            "Whether its options get the credentials of the cloud (`service_credentials`).",
        ),
    ],
);
