//! The keys of `pipeline.yaml` and `polling.yaml`.

use super::KeyDefault::{Depends, Nothing, Required, Value};
use super::{ConfigKey, KeyTable, ListForm, ValueShape, key};

/// `pipeline.yaml`.
pub(crate) const PIPELINE: KeyTable = KeyTable {
    about: "What is polled, transformed and published.",
    keys: &[
        key("sources", ValueShape::Tables(&SOURCE, ListForm::Required), Required, SOURCE.about),
        key("sinks", ValueShape::Tables(&SINK, ListForm::Required), Required, SINK.about),
    ],
    one_of: &[],
    closed: false,
};

/// `polling.yaml`.
pub(crate) const POLLING_FILE: KeyTable = KeyTable {
    about: "What is polled, for sites whose `pipeline.yaml` only routes and transforms samples.",
    keys: &[key(
        "sources",
        ValueShape::Tables(&POLLED_SOURCE, ListForm::Required),
        Required,
        POLLED_SOURCE.about,
    )],
    one_of: &[],
    closed: false,
};

/// An entry of `sources` in `pipeline.yaml`.
pub(crate) const SOURCE: KeyTable = KeyTable {
    about: "What is polled, how often, and which sinks receive it. In a `pipeline.yaml` beside a \
        `polling.yaml`, a source selects samples that were polled; there only `name`, `meters` and \
        `sinks` have an effect.",
    keys: &[
        METERS,
        NAME,
        key("sinks", ValueShape::Names, Required, SINKS),
        COUNTERS,
        DISCOVERY,
        GROUP,
        key("interval", ValueShape::Interval, Value("600"), INTERVAL),
        RESOURCES,
    ],
    one_of: &[&["meters", "counters"]],
    closed: false,
};

/// An entry of `sources` in `polling.yaml`.
const POLLED_SOURCE: KeyTable = KeyTable {
    about: "What is polled, and how often.",
    keys: &[
        METERS,
        NAME,
        key("interval", ValueShape::Interval, Required, INTERVAL),
        COUNTERS,
        DISCOVERY,
        GROUP,
        RESOURCES,
        key("sinks", ValueShape::Anything, Nothing, "No effect: `pipeline.yaml` names the sinks."),
    ],
    one_of: &[&["meters", "counters"]],
    closed: false,
};

const INTERVAL: &str = "The time from the start of one polling cycle to the start of the next.";
const SINKS: &str = "The sinks that receive the samples.";

const METERS: ConfigKey = key(
    "meters",
    ValueShape::Meters,
    Depends("required, unless there are `counters`"),
    "The meters. An entry with a leading `!` excludes; a list that only excludes starts from all meters.",
);
const NAME: ConfigKey = key("name", ValueShape::Name, Required, "Unique among the sources.");
const COUNTERS: ConfigKey = key(
    "counters",
    ValueShape::Meters,
    Nothing,
    "The name of `meters` in older files; read where `meters` is absent.",
);
const DISCOVERY: ConfigKey = key(
    "discovery",
    ValueShape::Scalars,
    Nothing,
    "Accepted; `local_instances` is what this agent always discovers, other names match nothing and are reported.",
);
const GROUP: ConfigKey = key(
    "group_id_coordination_expression",
    ValueShape::Anything,
    Nothing,
    "No effect: the agent meters all of its host, and no other.",
);
const RESOURCES: ConfigKey = key(
    "resources",
    ValueShape::Scalars,
    Nothing,
    "No effect: the resources of a host are its domains.",
);

/// An entry of `sinks`.
pub(crate) const SINK: KeyTable = KeyTable {
    about: "A chain of transformers and the publishers behind it.",
    keys: &[
        key("name", ValueShape::Name, Required, "Unique among the sinks."),
        key(
            "publishers",
            ValueShape::Publishers,
            Required,
            "Each receives every sample that leaves the chain.",
        )
        .secret(),
        key(
            "transformers",
            ValueShape::Tables(&TRANSFORMER, ListForm::MayBeFalse),
            Nothing,
            "The chain, in order.",
        ),
    ],
    one_of: &[],
    closed: false,
};

/// An entry of a sink's `transformers`.
pub(crate) const TRANSFORMER: KeyTable = KeyTable {
    about: "One component in the chain of a sink.",
    keys: &[
        key(
            "name",
            ValueShape::Name,
            Required,
            "The component: the file `NAME.wasm` in the first folder of `components.path` that has one.",
        ),
        key(
            "parameters",
            ValueShape::Options(ListForm::MayBeFalse),
            Required,
            "The component's options; none if there is no value.",
        ),
    ],
    one_of: &[],
    closed: false,
};
