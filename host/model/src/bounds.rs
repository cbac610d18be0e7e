//! All bounds on the work that a guest, a peer or a file can cause, in one table.
//!
//! A bound is checked before the work is done, and the error names the bound, the amount and the remedy.
//! `docs/security.md` prints the table; a test compares the two. Settings are here with their
//! defaults and their keys. This module only defines them; callers check.

use std::fmt;

/// The source of the bounded data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supplier {
    /// The file of a component, before it runs.
    Component,
    /// A running component.
    Guest,
    /// All components together.
    Guests,
    /// The AMQP broker, or another program at its address.
    Broker,
    /// A program that sends to a receiver of the collector.
    Sender,
    /// Keystone or Nova, or another program at its address.
    Cloud,
    /// ClickHouse, or another program at its address.
    Engine,
    /// A registry of components, or another program at its address.
    Registry,
    /// A configuration file, or libvirt's XML.
    File,
    /// A local process that connects to the control socket.
    Client,
    /// A client of an HTTP listener.
    HttpClient,
}

impl Supplier {
    /// The name in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component file",
            Self::Guest => "component",
            Self::Guests => "all components",
            Self::Broker => "broker",
            Self::Sender => "sender",
            Self::Cloud => "OpenStack",
            Self::Engine => "ClickHouse",
            Self::Registry => "registry",
            Self::File => "file",
            Self::Client => "control client",
            Self::HttpClient => "HTTP client",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Who supplies it.
    pub supplier: Supplier,
    /// The name in errors, log lines and the documentation.
    pub name: &'static str,
    /// The counted items, for messages.
    pub what: &'static str,
    /// The largest accepted number.
    pub most: u64,
    /// The unit of `most`; empty if `what` names the items already.
    pub unit: &'static str,
    /// The remedy; for a setting, the key that changes it.
    pub remedy: &'static str,
}

macro_rules! bounds {
    ($($(#[$doc:meta])* $bound:ident = $name:literal, $supplier:ident, $what:literal, $most:expr, $unit:literal, $remedy:literal;)*) => {
        /// A bound; [`Bound::row`] has its values and texts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bound {
            $($(#[$doc])* #[doc = $what] $bound,)*
        }

        impl Bound {
            /// All bounds, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$bound,)*];

            /// Its values and texts.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$bound => Row {
                        supplier: Supplier::$supplier,
                        name: $name,
                        what: $what,
                        most: $most,
                        unit: $unit,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

bounds! {
    // The file of a component.
    ComponentBytes = "component_bytes", Component, "size of the file", 64 * MIB, "bytes", "build a smaller component";
    Functions = "component_functions", Component, "functions", 200_000, "", "build a smaller component";
    Types = "component_types", Component, "types", 50_000, "", "build a smaller component";
    ElementItems = "component_elements", Component, "elements of all tables and element segments", 100_000, "", "build it with smaller tables";
    Parts = "component_parts", Component, "core modules, components and instances", 2_000, "", "build it of fewer modules";
    Nesting = "component_nesting", Component, "components within components", 100, "levels", "build it with less nesting";
    NameBytes = "component_name_bytes", Component, "length of an import's or export's name", KIB, "bytes", "use shorter names";
    CodeBase = "compiled_code_base", Component, "compiled code of a small component, with the first content of its memory", 20 * MIB, "bytes", "build a smaller component";
    CodeFactor = "compiled_code_factor", Component, "compiled code for each byte of the component", 16, "bytes", "build a smaller component";
    CompileBase = "compile_cpu_base", Component, "processor time to compile a small component", 5_000, "ms", "build a smaller component";
    CompileFactor = "compile_cpu_per_mib", Component, "processor time to compile each MiB of a component", 6_000, "ms", "build a smaller component";
    ShortComponent = "short_component", Component, "size up to which a component is compiled beside larger ones, not behind them", MIB, "bytes", "";
    CompileMemory = "compile_memory", Component, "addresses of the compiler's process", 4 * GIB, "bytes", "build a smaller component";
    CacheFiles = "cache_files", Component, "files of compiled code that are kept; those not used for the longest are removed", 64, "", "";
    CacheBytes = "cache_bytes", Component, "compiled code that is kept on disk", GIB, "bytes", "";

    // A running component: settings.
    Memory = "limits.memory", Guest, "linear memory of one instance", 256 * MIB, "bytes", "components.by_name.NAME.limits.memory";
    Cpu = "limits.cpu", Guest, "processor time of one call", 2_000, "ms", "components.by_name.NAME.limits.cpu";
    Wall = "limits.wall", Guest, "time of one call", 10_000, "ms", "components.by_name.NAME.limits.wall";
    Returned = "limits.returned", Guest, "bytes handed to the host in one call", 16 * MIB, "bytes", "components.by_name.NAME.limits.returned";
    // A running component: fixed.
    TableElements = "table_elements", Guest, "elements of all tables of an instance", 100_000, "", "build it with smaller tables";
    Instances = "core_instances", Guest, "core instances", 64, "", "build it of fewer modules";
    Memories = "core_memories", Guest, "memories", 8, "", "build it of fewer modules";
    Tables = "core_tables", Guest, "tables", 16, "", "build it of fewer modules";
    AnswerRows = "answer_rows", Guest, "rows of one answer beyond those of its input", 250_000, "", "return fewer rows in one call";
    AnswerBytes = "answer_bytes", Guest, "what the rows of one answer represent beyond its input: each row with its meter and resource", 256 * MIB, "bytes", "return fewer rows for large resources";
    NewMeters = "new_meters", Guest, "new meters in one answer", 1_000, "", "refer to meters of the dictionary";
    NewResources = "new_resources", Guest, "new resources in one answer", 50_000, "", "refer to resources of the dictionary";
    OwnMeters = "own_meters", Guest, "meters that one instance has numbered", 10_000, "", "replace meters that are no longer used";
    OwnResources = "own_resources", Guest, "resources that one instance has numbered", 50_000, "", "replace resources that are no longer used";
    OwnBytes = "own_bytes", Guest, "meters and resources that one instance has numbered", 64 * MIB, "bytes", "replace entries that are no longer used";
    OwnValues = "own_metadata_values", Guest, "values in the metadata of all resources that one instance has numbered", 1_000_000, "", "replace entries that are no longer used";
    IdBytes = "id_bytes", Guest, "length of a name, unit or id", KIB, "bytes", "use a shorter one";
    MetadataBytes = "metadata_bytes", Guest, "metadata of one resource", 256 * KIB, "bytes", "return less metadata";
    MetadataValues = "metadata_values", Guest, "values in the metadata of all new resources of one answer", 200_000, "", "return less metadata";
    Globs = "settings_meters", Guest, "patterns in one list of meters", 1_000, "", "use fewer, wider patterns";
    GlobBytes = "settings_meter_bytes", Guest, "length of a pattern for meters", KIB, "bytes", "use a shorter pattern";
    Paths = "settings_metadata", Guest, "paths in settings.metadata", 100, "", "ask for fewer paths, or for *";
    PathBytes = "settings_metadata_bytes", Guest, "length of a path in settings.metadata", KIB, "bytes", "use a shorter path";
    Facts = "facts", Guest, "facts in a description or in settings", 100, "", "report fewer facts";
    FactBytes = "fact_bytes", Guest, "length of a fact's name or value", KIB, "bytes", "use a shorter one";
    OptionErrors = "option_errors", Guest, "option errors that are kept", 100, "", "fix the first ones";
    TextBytes = "text_bytes", Guest, "length of a reason, a log line or another text for people; the rest is cut", KIB, "bytes", "write less";
    SymbolizeTime = "symbolize_time", Guest, "time to find the source lines of a trap, once for each trap; then it is reported without them", 1_000, "ms", "strip debug information, or build with less of it";
    Frames = "trap_frames", Guest, "functions of the stack that are reported with a trap", 5, "", "";
    LogLines = "log_lines", Guest, "log lines in 10 s, of all its instances; the rest is counted and dropped", 100, "", "log less";
    State = "state_bytes", Guest, "state of one instance", 64 * MIB, "bytes", "let it forget resources that were removed";
    Schema = "schema_bytes", Guest, "options schema", 256 * KIB, "bytes", "return an empty schema and check options in configure";
    Sockets = "sockets", Guest, "sockets and connections open at once", 16, "", "close sockets that are not used";
    Lookups = "lookups", Guest, "name look-ups under way at once", 4, "", "wait for a look-up before the next one";
    LookupTime = "lookup_time", Guest, "time of one name look-up", 5_000, "ms", "check the resolver of this host";
    HostNameBytes = "host_name_bytes", Guest, "length of a name to look up", 255, "bytes", "use a shorter name";
    Resources = "resources", Guest, "WASI resources held at once, such as sockets, streams and requests", 256, "", "drop those that are not used";
    Handles = "handles", Guest, "handles to resources held at once", 1_000, "", "drop those that are not used";
    RandomBytes = "random_bytes", Guest, "random bytes in one call", 64 * KIB, "bytes", "ask for fewer bytes";
    HttpFields = "http_fields_bytes", Guest, "header fields of one HTTP request", 32 * KIB, "bytes", "send fewer or shorter fields";
    HttpTexts = "http_text_bytes", Guest, "length of the method, authority or path of an HTTP request", 16 * KIB, "bytes", "use a shorter one";
    HttpChunk = "http_chunk_bytes", Guest, "bytes of an HTTP request's body in one write", 64 * KIB, "bytes", "write as much as check-write allows";
    HttpHead = "http_head_bytes", Guest, "head of an HTTP response that it reads", 64 * KIB, "bytes", "check what answers at this address";
    HttpBody = "http_body_bytes", Guest, "body of an HTTP response that it reads", 8 * MIB, "bytes", "check what answers at this address";

    // All components together: settings.
    TotalMemory = "components.totals.memory", Guests, "linear memory of all instances", 2 * GIB, "bytes", "components.totals.memory";
    TotalStates = "components.totals.states", Guests, "saved states of all transformers", 512 * MIB, "bytes", "components.totals.states";
    TotalSockets = "components.totals.sockets", Guests, "sockets and connections of all components", 256, "", "components.totals.sockets";
    // All components together: fixed.
    TotalLookups = "total_lookups", Guests, "name look-ups under way of all components; more wait", 16, "", "check the resolver of this host";
    ShadowMemory = "shadow_memory", Guests, "part of components.totals.memory that all shadows may take together, besides it: one in so many", 4, "", "components.totals.memory";
    ShadowBatches = "shadow_batches", Guests, "batches that wait for one shadow; further ones are counted, and it begins again from the live state", 64, "", "use a faster component, or raise the interval";
    ShadowSamples = "shadow_samples", Guests, "samples in them, unless it is one batch; likewise", 100_000, "", "use a faster component, or raise the interval";
    ShadowMeters = "shadow_meters", Guests, "meters of which one shadow has sums", 200, "", "";
    GuardSeries = "guard_series", Guests, "series that one guard compares, each a meter of a resource; samples of others are counted", 20_000, "", "";
    GuardCorrections = "guard_corrections", Guests, "samples that the correction of one version lists; of others it has the sums of their series", 10_000, "", "";
    ShadowFailures = "shadow_failures", Guests, "failures after which a shadow stops", 5, "", "correct the component";

    // Data of components and receivers on disk.
    StoreTotal = "store.total", Guests, "the store's database; states, the journal and spools have shares of it", 20 * GIB, "bytes", "store.total";
    Corrections = "corrections", Guests, "corrections that are kept, one file each; the oldest make room", 100, "", "";
    Gaps = "gaps", Guests, "gaps that are kept; the oldest make room", 100_000, "", "";
    GapBytes = "gap_bytes", Guests, "bytes of gaps that are kept; the oldest make room", 16 * MIB, "bytes", "";
    Refused = "refused", Guests, "envelopes that receivers have refused and that are kept; the oldest of the spool with the most make room", 10_000, "", "";
    RefusedBytes = "refused_bytes", Guests, "bytes of those", 64 * MIB, "bytes", "";

    // What scrapes of guests' meters get.
    ScrapeSeries = "scrape_series", Guests, "series of one scrape of the guests' meters; the rest is left out and counted", 1_000_000, "", "select fewer meters";
    ScrapeLabel = "scrape_label_bytes", Guests, "length of a label's value in a scrape; the rest is cut", KIB, "bytes", "use shorter names and metadata";
    ScrapeUserLabels = "scrape_user_labels", Guests, "labels of an instance that its owner has set; the rest is left out", 32, "", "set fewer keys that begin with metering.";
    ScrapePending = "scrape_pending", Guests, "events of domains that a scrape has not seen so far; the next polling cycle replaces them", 1_000, "", "";

    // The broker.
    TableDepth = "amqp_table_depth", Broker, "nesting of field tables and arrays in a frame", 32, "levels", "check what answers at the broker's URL";
    FrameBytes = "amqp_frame_bytes", Broker, "size of a frame", 128 * KIB, "bytes", "check what answers at the broker's URL";
    ReturnHeader = "amqp_return_header_bytes", Broker, "content header of a returned message", 4 * KIB, "bytes", "check what answers at the broker's URL";
    DeliveryHeader = "amqp_delivery_header_bytes", Broker, "content header of a delivered message; the collector refuses the message", 16 * KIB, "bytes", "send fewer or shorter headers";
    TableValues = "amqp_table_values", Broker, "values in the field tables and arrays of a frame", 1_000, "", "check what answers at the broker's URL";
    Unacknowledged = "amqp_unacknowledged_bytes", Broker, "bodies of the messages that a broker delivers to the collector on one connection before they are acknowledged", 256 * MIB, "bytes", "lower `prefetch`, or send fewer samples in one message";
    Discarded = "amqp_discarded_bytes", Broker, "bytes that a broker sends on one connection after the collector has refused a message", 16 * MIB, "bytes", "check what answers at the broker's URL";
    Unasked = "amqp_unasked_methods", Broker, "methods that a broker sends on one connection without being asked, besides confirms, returns and deliveries", 1_000, "", "check what answers at the broker's URL";
    // What the collector accepts.
    CollectorMessage = "collector_message_bytes", Broker, "body of a message that the collector accepts", 64 * MIB, "bytes", "send fewer samples in one message";
    CollectorSamples = "collector_message_samples", Broker, "samples of a message that the collector accepts", 100_000, "", "send fewer samples in one message";
    CollectorText = "collector_text_bytes", Broker, "length of an id, a name, a unit or a source of a sample that the collector stores", KIB, "bytes", "use a shorter one";
    CollectorMetadata = "collector_metadata_bytes", Broker, "metadata of a sample that the collector stores", 256 * KIB, "bytes", "send less metadata";
    CollectorLetters = "collector_dead_letters", Broker, "messages that could not be read and that are kept; the oldest make room", 10_000, "", "export and delete those that are known";
    CollectorLetterBytes = "collector_dead_letter_bytes", Broker, "bytes of those", 256 * MIB, "bytes", "export and delete those that are known";
    EvidenceLine = "evidence_line_bytes", File, "line of a file of evidence", 64 * MIB, "bytes", "audit a shorter time";
    CollectorClasses = "collector_classes", File, "retention classes, with the default one", 8, "", "join some of them";
    Receivers = "collector_receivers", File, "addresses of `receivers`", 16, "", "use fewer of them";
    CollectorServers = "collector_clickhouse_servers", File, "servers of `store.clickhouse`", 64, "", "use fewer and larger ones";

    // Senders to the collector's receivers.
    ReceiverConnections = "receiver_connections", Sender, "connections to one `tcp://` receiver; more are closed, and their senders try again", 256, "", "send to several receivers";
    ReceiverMessage = "receiver_message_bytes", Sender, "one message of a `tcp://` receiver; a longer one is skipped and counted as `too_large`", 512 * KIB, "bytes", "send less metadata";
    ReceiverSkip = "receiver_skipped_bytes", Sender, "message that is skipped; the connection ends at a longer one", 64 * MIB, "bytes", "check what sends to this address";
    ReceiverBatch = "receiver_batch_bytes", Sender, "messages of one connection that are read and not yet committed", 512 * KIB, "bytes", "";
    ReceiverBacklog = "receiver_backlog_bytes", Sender, "datagrams of a `udp://` receiver that are read while others are committed; the system keeps or drops more", 8 * MIB, "bytes", "";
    ReceiverTime = "receiver_message_time", Sender, "time until a message that began is complete", 30_000, "ms", "check the network of the sender";
    ReceiverIdle = "receiver_idle_time", Sender, "time without a message, until a connection is closed", 3_600_000, "ms", "";
    PackedDepth = "messagepack_depth", Sender, "nesting of a message in MessagePack", 32, "", "nest metadata less deeply";

    // Clients of the query API.
    QueryConnections = "query_connections", Client, "connections of the query API open at once; more wait", 64, "", "close connections that are not used";
    QueryHead = "query_head_bytes", Client, "head of a request of the query API", 64 * KIB, "bytes", "send a shorter query";
    QueryBody = "query_body_bytes", Client, "body of a request of the query API", MIB, "bytes", "send a shorter query";
    QueryTerms = "query_terms", Client, "conditions of one query", 200, "", "use fewer conditions";
    QueryTime = "query_request_time", Client, "time to send a request of the query API", 30_000, "ms", "send the request at once";
    QueryEntries = "query_entries", Client, "entries of one answer", 1_000_000, "", "name a smaller limit";
    EvidenceAnswer = "evidence_answer_bytes", Client, "evidence of an audit in one answer", 64 * MIB, "bytes", "audit a shorter time, or on the collector's host with `nephometer-collector audit --output`";
    QueryTokens = "query_tokens", Client, "validated tokens of Keystone that are kept; then all are validated again", 10_000, "", "";
    QueryPeriods = "query_periods", Client, "periods of one query for statistics, times its groups", 1_000_000, "", "use longer periods, a shorter time or fewer groups";

    // Keystone, Nova and Glance.
    EngineAnswer = "clickhouse_answer_bytes", Engine, "body of an answer", 2_048 * MIB, "bytes", "narrow the query, or lower api.rows";
    CloudHead = "openstack_head_bytes", Cloud, "head of an answer", 64 * KIB, "bytes", "check what answers at this address";
    CloudBody = "openstack_body_bytes", Cloud, "body of an answer", 16 * MIB, "bytes", "lower max_limit in Nova's [api]";
    CloudToken = "openstack_token_bytes", Cloud, "length of a token", 16 * KIB, "bytes", "check what answers at auth_url";
    CloudPages = "openstack_pages", Cloud, "pages of one list", 1_000, "", "raise max_limit in Nova's [api]";
    CloudServers = "openstack_servers", Cloud, "servers of this host", 10_000, "", "check `host`";
    CloudTotal = "openstack_total_bytes", Cloud, "all servers of this host, as text", 64 * MIB, "bytes", "check `host`";
    CloudRefresh = "openstack_refresh_time", Cloud, "time of one refresh with all its requests", 600_000, "ms", "raise max_limit in Nova's [api]";
    CloudMembers = "openstack_group_members", Cloud, "members of all server groups", 100_000, "", "set discovery.server_groups to false";
    CloudLookups = "openstack_lookups", Cloud, "flavors and images that are kept of each; then all are looked up again", 256, "", "";
    ServerMetadata = "openstack_server_bytes", Cloud, "what is kept of one server, flavor or image", 128 * KIB, "bytes", "use less metadata";
    RetryAfter = "openstack_retry_after", Cloud, "time that Nova may ask to wait", 3_600_000, "ms", "";

    // Registries of components. A layer is bounded by component_bytes.
    RegistryHead = "registry_head_bytes", Registry, "head of an answer", 64 * KIB, "bytes", "check what answers at this address";
    RegistryManifest = "registry_manifest_bytes", Registry, "a manifest or an index", MIB, "bytes", "name a component, not another kind of artifact";
    RegistryAnswer = "registry_answer_bytes", Registry, "any other answer, and what a signature is made of", 64 * KIB, "bytes", "check what answers at this address";
    RegistryRedirects = "registry_redirects", Registry, "redirects of one request", 5, "", "check what answers at this address";
    RegistrySignatures = "registry_signatures", Registry, "signatures of one component that are looked at", 64, "", "remove old signatures from the registry";
    RegistryConnect = "registry_connect_time", Registry, "time to connect, with TLS and through a proxy", 10_000, "ms", "check the network";
    RegistryHeadTime = "registry_head_time", Registry, "time until an answer begins", 30_000, "ms", "check the registry";
    RegistryStall = "registry_stall_time", Registry, "time in which nothing of an answer arrives", 10_000, "ms", "check the registry";
    RegistryTransfer = "registry_transfer_time", Registry, "time of one transfer, as a whole", 600_000, "ms", "check the network";
    RegistryWait = "registry_wait", Registry, "time that a reload waits for registries; then it goes on without what is not here", 10_000, "ms", "pull first: nephometer component pull";
    PulledVersions = "pulled_versions", Registry, "versions of one component that are kept on disk; those pulled first make room", 8, "", "";

    // Files.
    ReservedMetadata = "reserved_metadata", File, "entries of reserved_metadata_namespace or reserved_metadata_keys", 100, "", "use fewer, shorter prefixes";
    YamlBytes = "yaml_bytes", File, "a YAML file with its aliases expanded", 4 * MIB, "bytes", "split the file, or use fewer aliases";
    YamlValues = "yaml_values", File, "values in a YAML file with its aliases expanded", 50_000, "", "split the file, or use fewer aliases";
    YamlDepth = "yaml_depth", File, "nesting of values in a YAML file, with its aliases expanded", 64, "levels", "use fewer levels";
    YamlReads = "yaml_reads", File, "text that is read again for lines within brackets and quotes that stand too far left", 16 * MIB, "bytes", "indent the lines within brackets and quotes";
    ConfBytes = "conf_bytes", File, "a ceilometer.conf with its references expanded", MIB, "bytes", "refer to other options less often";
    Entries = "pipeline_entries", File, "sources or sinks of a file, transformers or publishers of a sink", 200, "", "use fewer of them";
    UrlBytes = "url_bytes", File, "length of a URL", 8 * KIB, "bytes", "use a shorter URL";
    Problems = "config_problems", File, "problems of the configuration that are reported; the rest is counted", 1_000, "", "fix the first ones";
    XmlBytes = "xml_bytes", File, "the XML of one domain", 4 * MIB, "bytes", "check the domain's definition";
    XmlItems = "xml_items", File, "elements and attributes in the XML of one domain", 50_000, "", "check the domain's definition";
    XmlAttributes = "xml_attributes", File, "attributes of one element in the XML of one domain", 1_000, "", "check the domain's definition";
    XmlNamespaces = "xml_namespaces", File, "declarations of namespaces in the XML of one domain", 100, "", "check the domain's definition";
    XmlDevices = "xml_devices", File, "disks and interfaces of one domain", 1_000, "", "check the domain's definition";
    Backups = "backup_count", File, "rotated files of a file:// publisher", 10_000, "", "keep fewer files, and larger ones";

    // Control clients.
    ControlConnections = "control_connections", Client, "connections open at once", 32, "", "close connections that are not used";
    ControlBytes = "control_request_bytes", Client, "size of a request", 64 * KIB, "bytes", "send a smaller request";
    ControlTime = "control_request_time", Client, "time to send a request, and to take its answer", 5_000, "ms", "send the request at once, and read the answer";
    ControlTaps = "control_taps", Client, "taps open at once", 4, "", "end a tap that is not used";
    TapBatches = "tap_batches", Client, "batches that wait for one tap; the samples of further ones are not shown, and counted", 64, "", "read faster, or ask for fewer samples";
    TapSamples = "tap_samples", Client, "samples in the batches that wait for one tap, unless it is one batch; further ones are not shown, and counted", 100_000, "", "read faster, or ask for fewer samples";
    TapTime = "tap_time", Client, "time of one tap", 3_600_000, "ms", "start another one";
    TapRate = "tap_rate", Client, "samples that one tap shows in a second; further ones are counted", 10_000, "", "ask for fewer samples";
    RecentSamples = "recent_samples", Client, "samples of one polling cycle that are kept at each point, for `explain`; of larger cycles none are", 20_000, "", "use `explain --wait`";

    // Clients of HTTP listeners.
    HttpConnections = "http_connections", HttpClient, "connections of one listener; for another one the oldest without a request is closed", 64, "", "close connections that are not used";
    PageStreams = "page_streams", HttpClient, "open pages of the agent", 8, "", "close pages that nobody looks at";
    HttpHeadBytes = "http_request_head_bytes", HttpClient, "head of a request", 16 * KIB, "bytes", "send fewer or shorter fields";
    HttpHeaders = "http_request_fields", HttpClient, "fields in the head of a request", 64, "", "send fewer fields";
    HttpHeadTime = "http_request_head_time", HttpClient, "time for a TLS handshake, and to send the head of a request", 10_000, "ms", "send the request at once";
    HttpRequestBytes = "http_request_body_bytes", HttpClient, "body of a request", MIB, "bytes", "send a smaller body";
    HttpBodyTime = "http_request_body_time", HttpClient, "time to send the body of a request", 10_000, "ms", "send the body at once";
    HttpIdleTime = "http_idle_time", HttpClient, "time between a reply and the next request on a connection", 180_000, "ms", "";
    HttpStallTime = "http_stall_time", HttpClient, "time in which a client takes nothing of a reply", 10_000, "ms", "read the reply";
    HttpReplyTime = "http_reply_time", HttpClient, "time to take a whole reply", 60_000, "ms", "read the reply faster";
}

impl Bound {
    /// The largest accepted number, in its unit.
    pub const fn most(self) -> u64 {
        self.row().most
    }

    /// The same as a size in memory.
    #[expect(clippy::cast_possible_truncation, reason = "no bound is beyond 4 GiB on 64-bit hosts")]
    pub const fn size(self) -> usize {
        self.row().most as usize
    }

    /// The error text if the amount is not known.
    pub fn refusal(self) -> String {
        let Row { name, what, most, unit, remedy, .. } = self.row();
        let gap = if unit.is_empty() { "" } else { " " };
        format!("{what}: more than {most}{gap}{unit} ({name}); {remedy}")
    }

    /// Rejects an amount above the bound.
    ///
    /// # Errors
    /// With the bound's name, the amount and the remedy.
    pub fn check(self, amount: usize) -> Result<(), Exceeded> {
        let amount = amount as u64;
        if amount > self.most() { Err(Exceeded { bound: self, amount }) } else { Ok(()) }
    }
}

/// An exceeded bound and the amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The bound.
    pub bound: Bound,
    /// The amount, in the bound's unit.
    pub amount: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, what, most, unit, remedy, .. } = self.bound.row();
        let gap = if unit.is_empty() { "" } else { " " };
        write!(
            f,
            "{what}: {}{gap}{unit}, at most {most}{gap}{unit} ({name}); {remedy}",
            self.amount
        )
    }
}

impl std::error::Error for Exceeded {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The table in the format of the documentation.
    fn table() -> String {
        let mut text =
            String::from("| name | of | what | most | remedy |\n|---|---|---|---|---|\n");
        for bound in Bound::ALL {
            let Row { supplier, name, what, most, unit, remedy } = bound.row();
            let most = match (unit, most) {
                ("bytes", most) if most >= MIB && most % MIB == 0 => format!("{} MiB", most / MIB),
                ("bytes", most) if most >= KIB && most % KIB == 0 => format!("{} KiB", most / KIB),
                ("", most) => most.to_string(),
                (unit, most) => format!("{most} {unit}"),
            };
            text += &format!("| `{name}` | {} | {what} | {most} | {remedy} |\n", supplier.as_str());
        }
        text
    }

    #[test]
    fn the_documentation_prints_the_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");
        let text = std::fs::read_to_string(page).unwrap();
        let printed = text.split("<!-- bounds -->\n").nth(1).unwrap_or_default();
        let table = table();
        assert!(
            printed == table,
            "docs/security.md, between `<!-- bounds -->`, should be:\n{table}"
        );
    }

    #[test]
    fn the_limit_is_accepted_and_one_more_is_refused_by_name() {
        let mut names = HashSet::new();
        for bound in Bound::ALL {
            let row = bound.row();
            assert!(names.insert(row.name), "{} is there twice", row.name);
            assert_eq!(bound.check(bound.size()), Ok(()));
            let refusal = bound.check(bound.size() + 1).unwrap_err().to_string();
            for part in [row.name, row.what, row.remedy, &row.most.to_string()] {
                assert!(refusal.contains(part), "{refusal}");
            }
        }
    }
}
