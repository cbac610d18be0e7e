//! The keys of `nephometer.yaml`.

use super::KeyDefault::{Depends, Nothing, Required, Value};
use super::ValueShape::{
    AnyText, ByName, Path, Size, Text, Texts, Time, Truth, Url, Whole, Word, Words,
};
use super::component::{COMPONENT, GUARD};
use super::openstack::{CREDENTIALS, DISCOVERY};
use super::{COMMAS, KeyTable, LIST, TextList, ValueShape, closed, key, section};

/// Any size.
const BYTES: ValueShape = Size(1, u64::MAX);
/// Folders; as text separated by colons.
const FOLDERS: ValueShape = Texts(TextList { separator: Some(':'), least: 0, may_be_empty: false });
/// Topics; as text separated by commas.
const TOPICS: ValueShape = Texts(TextList { separator: Some(','), least: 1, may_be_empty: false });
const QUEUES: ValueShape = Word(&["transient", "durable", "quorum"]);
const PATH_OF_PEM: &str = "A PEM file.";

/// The whole file.
pub(crate) const HOST: KeyTable = closed(
    "The settings of a host. The file is optional, and environment variables override its keys: \
     `NEPHOMETER_AMQP__URL` is `amqp.url`.",
    &[
        key("host", Text, Depends("the host name of the machine"), "The host name in messages."),
        section("libvirt", &LIBVIRT),
        section("amqp", &AMQP),
        section("message", &MESSAGE),
        section("components", &COMPONENTS),
        section("store", &STORE),
        section("cache", &CACHE),
        section("control", &CONTROL),
        key(
            "shutdown_grace",
            Time,
            Value("10s"),
            "How long a stopping agent waits for pending deliveries.",
        ),
        key(
            "compatibility",
            Word(&["liberty", "zed", "current"]),
            Value("current"),
            "The Ceilometer release whose names, units, meters and messages are used: 5, 19 or 27.",
        ),
        key(
            "quirks",
            Words(&["outgoing-packets-delta", "stopped-cpu", "unused-zero"]),
            Value("[]"),
            "Bugs of that release to reproduce; [compatibility.md](../compatibility.md) describes them.",
        ),
        key(
            "mode",
            Word(&["notification", "polling"]),
            Value("notification"),
            "Destination of polled samples: notification sends them through pipeline.yaml to publishers, \
             polling to the notification agents of the site.",
        ),
        key(
            "routing",
            Word(&["source", "name"]),
            Depends("`name` if there is a polling.yaml, else `source`"),
            "Routing of samples: to the sinks of the source that polled them, or to the sinks of every \
             source in pipeline.yaml whose meters match.",
        ),
        section("polling", &POLLING),
        section("prometheus", &PROMETHEUS),
        section("telemetry", &TELEMETRY),
        section("discovery", &DISCOVERY),
        section("service_credentials", &CREDENTIALS),
    ],
);

/// `libvirt`
pub(crate) const LIBVIRT: KeyTable = closed(
    "The hypervisor.",
    &[
        key(
            "uri",
            Url,
            Value("qemu:///system"),
            "Any libvirt URI, `sim://?domains=10&seed=1`, or `replay:///FOLDER`.",
        ),
        key(
            "deadline",
            Time,
            Value("3s"),
            "For reading one slice of domains; at most half the shortest interval.",
        ),
        key(
            "parallel",
            Whole(1, 64),
            Value("2"),
            "Slices read in parallel; libvirtd never gets more than 3 requests at once.",
        ),
        key(
            "unowned",
            Truth,
            Value("true"),
            "Meter domains without metadata of Nova. Ceilometer does not (false).",
        ),
        key(
            "events",
            Truth,
            Depends("`true` with compatibility current"),
            "Use events of libvirt: a first sample when a domain starts or gets a device, a last one when \
             it ends, and no listing of domains in each polling cycle.",
        ),
        key(
            "report_stopped_instance_metrics",
            Truth,
            Value("false"),
            "Report the meters that are available for instances that are shut off: power.state, vcpus, \
             memory and disk sizes.",
        ),
    ],
);

/// `amqp`
pub(crate) const AMQP: KeyTable = closed(
    "The broker of notifier:// without a host.",
    &[
        key(
            "url",
            Url,
            Value("amqp://guest:guest@127.0.0.1:5672/%2F"),
            "Its URL. Commas separate the nodes of a cluster (user:password@one:5672,user:password@two:5672); \
             amqps:// is TLS.",
        )
        .secret(),
        key("url_file", Path, Nothing, "A file that contains the URL."),
        section("tls", &AMQP_TLS),
        key(
            "queues",
            QUEUES,
            Value("transient"),
            "How a missing exchange and missing queues are declared. Existing ones are used as they are.",
        ),
        key(
            "exchange",
            Text,
            Value("ceilometer"),
            "The exchange of messages and queues, control_exchange of Ceilometer.",
        ),
    ],
);

/// `amqp.tls`
pub(crate) const AMQP_TLS: KeyTable = closed(
    "TLS to the broker.",
    &[
        key("enabled", Truth, Value("false"), "Use TLS for amqp:// as well."),
        key(
            "ca",
            Path,
            Nothing,
            "A PEM file with an authority to trust besides those of the system.",
        ),
        key("certificate", Path, Nothing, "A PEM file with the client certificate."),
        key("key", Path, Nothing, "A PEM file with its key."),
        key(
            "verify_hostname",
            Truth,
            Value("true"),
            "Whether the broker's certificate must have its name. Without, any certificate of a trusted \
             authority is accepted.",
        ),
    ],
);

/// `message`
pub(crate) const MESSAGE: KeyTable = closed(
    "What goes into every message.",
    &[
        key(
            "telemetry_secret",
            AnyText,
            Value("change this for valid signing"),
            "The secret that signs messages; receivers need the same. Empty: messages are not signed.",
        )
        .secret(),
        key("telemetry_secret_file", Path, Nothing, "A file that contains the secret."),
        key("sample_source", Text, Value("openstack"), "The source of every sample."),
        key(
            "signature",
            Word(&["python2", "python3"]),
            Depends("`python2` with compatibility liberty, else `python3`"),
            "The Python version of receivers, which determines the signed text of numbers and lists.",
        ),
    ],
);

/// `components`
pub(crate) const COMPONENTS: KeyTable = closed(
    "Where components are found and what each may use.",
    &[
        key(
            "path",
            FOLDERS,
            Value("[/usr/lib/nephometer/components]"),
            "Folders with NAME.wasm files; the first match is used.",
        ),
        key("by_name", ByName(&COMPONENT), Nothing, COMPONENT.about),
        key("registries", ByName(&REGISTRY), Nothing, REGISTRY.about),
        section("signatures", &SIGNATURES),
        section("guard", &GUARD),
        section("totals", &TOTALS),
    ],
);

/// An entry of `components.registries`.
pub(crate) const REGISTRY: KeyTable = closed(
    "How a registry is reached, by its host, with its port if it has one. Proxies are those of the environment.",
    &[
        key(
            "ca",
            Path,
            Nothing,
            "A PEM file with authorities to trust besides those of the system.",
        ),
        key("username", Text, Nothing, "The user, with `password`."),
        key("password", AnyText, Nothing, "The password.").secret(),
        key("password_file", Path, Nothing, "A file with the password."),
        key("token", AnyText, Nothing, "A bearer token, in place of user and password.").secret(),
        key("token_file", Path, Nothing, "A file with the token."),
        key("plain_http", Truth, Value("false"), "Use no TLS: for a registry on this machine."),
    ],
);

/// `components.signatures`
pub(crate) const SIGNATURES: KeyTable = closed(
    "Whose signatures of components count, and which components need one. A name wins over patterns; \
     otherwise `require_signature` wins.",
    &[
        key("keys", ByName(&CODE_KEY), Nothing, CODE_KEY.about),
        key(
            "require_signature",
            LIST,
            Value("[]"),
            "Names and patterns of components that need a signature. Those from a registry do in any case; a \
             file of `components.path` cannot have one.",
        ),
        key(
            "allow_unsigned",
            LIST,
            Value("[]"),
            "Names and patterns of components that need none.",
        ),
    ],
);

/// An entry of `components.signatures.keys`.
pub(crate) const CODE_KEY: KeyTable = closed(
    "A public key of those who sign components, by a name of your own.",
    &[
        key("pem", Text, Required, "The key as PEM text: ECDSA on P-256, as in `cosign.pub`."),
        key("revoked", Truth, Value("false"), "Its signatures do not count any more."),
    ],
);

/// `components.totals`
pub(crate) const TOTALS: KeyTable = closed(
    "Limits for all components together.",
    &[
        key("memory", Size(16 << 20, u64::MAX), Value("2GiB"), "Linear memory of all instances."),
        key(
            "states",
            Size(1 << 20, u64::MAX),
            Value("512MiB"),
            "Saved states of all transformers, in memory and on disk.",
        ),
        key(
            "sockets",
            Whole(1, 65_536),
            Value("256"),
            "Sockets and connections that are open at once.",
        ),
    ],
);

/// `store`
pub(crate) const STORE: KeyTable = closed(
    "What is on disk: the host id, the journal with the states of transformers, the spools of \
     publishers, counters, gaps and dead letters.",
    &[
        key(
            "path",
            Path,
            Depends("`/var/lib/nephometer`; without write access `$XDG_STATE_HOME/nephometer`"),
            "The folder, locked against a second agent.",
        ),
        key(
            "bytes",
            BYTES,
            Value("1GiB"),
            "Maximum size of the journal, and of the spool of each publisher.",
        ),
        key(
            "total",
            Size(512 << 20, u64::MAX),
            Value("20GiB"),
            "Maximum size of the database on disk, which contains all of that.",
        ),
        key("age", Time, Value("7d"), "Maximum age of pending data."),
        key(
            "when_full",
            Word(&["drop_oldest", "drop_newest", "block"]),
            Value("drop_oldest"),
            "What happens at the maximum age or size. block: a full spool blocks its sink, a full journal \
             blocks polling.",
        ),
        key(
            "keep_longest",
            LIST,
            Value("[]"),
            "Meters evicted last when the spool is full, as in pipeline.yaml. They are sent in separate messages.",
        ),
    ],
);

/// `cache`
pub(crate) const CACHE: KeyTable = closed(
    "Compiled components.",
    &[key(
        "path",
        Path,
        Depends("`/var/cache/nephometer`; without write access `$XDG_CACHE_HOME/nephometer`"),
        "The folder of compiled components.",
    )],
);

/// `control`
pub(crate) const CONTROL: KeyTable = closed(
    "How commands ask the running agent.",
    &[key(
        "socket",
        Path,
        Depends(
            "`/run/nephometer/agent.sock`; without write access `$XDG_RUNTIME_DIR/nephometer/agent.sock`",
        ),
        "The socket for `nephometer status`, `reload` and other commands.",
    )],
);

/// `polling`
pub(crate) const POLLING: KeyTable = closed(
    "How samples are polled, and sent in mode polling.",
    &[
        key("batch_size", Whole(1, 10_000), Value("50"), "Samples per message in mode polling."),
        key(
            "topics",
            TOPICS,
            Value("[notifications]"),
            "Topics of mode polling: routing keys and queues are TOPIC.sample.",
        ),
        key(
            "spread",
            Truth,
            Value("false"),
            "Start polling cycles at an offset within the interval that depends on the host name, so that \
             a fleet does not poll in the same second.",
        ),
        key(
            "notifications",
            Truth,
            Value("true"),
            "Whether mode polling sends samples at all; without, they are only scraped.",
        ),
    ],
);

const LISTEN: &str = "Addresses: HOST:PORT, [ADDRESS]:PORT, unix:/PATH, or none.";
const HOSTS: &str = "Names in the Host header that are accepted on loopback addresses, besides localhost and `host`.";
const TOKEN: &str = "A token that clients must send, of at least 16 bytes.";
const TOKEN_FILE: &str = "A file with a token that clients must send.";

/// `prometheus`
pub(crate) const PROMETHEUS: KeyTable = closed(
    "The scrape endpoint for the meters of guests; [prometheus.md](../prometheus.md).",
    &[
        key("listen", COMMAS, Value("none"), LISTEN),
        key(
            "form",
            Word(&["ceilometer", "native"]),
            Value("ceilometer"),
            "Names, labels and values: those of the exporter of Ceilometer 27, or counters, base units, \
             times and labels from metadata.",
        ),
        key("hosts", LIST, Value("[]"), HOSTS),
        key("token", Text, Nothing, TOKEN).secret(),
        key("token_file", Path, Nothing, TOKEN_FILE),
        section("tls", &LISTEN_TLS),
    ],
);

/// `telemetry`
pub(crate) const TELEMETRY: KeyTable = closed(
    "The endpoint for the state of this agent: /metrics, /healthz and /readyz. Addresses beyond loopback \
     require a token, or TLS with client_ca.",
    &[
        key("listen", COMMAS, Value("\"127.0.0.1:9464\""), LISTEN),
        key("hosts", LIST, Value("[]"), HOSTS),
        key("token", Text, Nothing, TOKEN).secret(),
        key("token_file", Path, Nothing, TOKEN_FILE),
        section("tls", &LISTEN_TLS),
    ],
);

/// `tls` of a listener
pub(crate) const LISTEN_TLS: KeyTable = closed(
    "TLS of the endpoint. Renewed files are used without a restart.",
    &[
        key("certificate", Path, Nothing, PATH_OF_PEM),
        key("key", Path, Nothing, PATH_OF_PEM),
        key(
            "client_ca",
            Path,
            Nothing,
            "A PEM file: clients need a certificate of this authority.",
        ),
    ],
);
