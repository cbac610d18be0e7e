//! Options of `ceilometer.conf` that have no effect here, each with what stands for it. An option of
//! no release of Ceilometer is most likely misspelt, and is reported as that.

use super::oslo::{DEFAULT, OsloOption};
use super::rabbit::RABBIT;

/// Sections of other Ceilometer services, and of libraries that this agent does not use.
const SECTIONS: [&str; 34] = [
    "alarm",
    "api",
    "audit_middleware_notifications",
    "cache",
    "collector",
    "coordination",
    "cors",
    "database",
    "dispatcher_file",
    "dispatcher_gnocchi",
    "dispatcher_http",
    "event",
    "hardware",
    "healthcheck",
    "ipmi",
    "keystone_authtoken",
    "matchmaker_redis",
    "meter",
    "monasca",
    "notification",
    "oslo_concurrency",
    "oslo_messaging_amqp",
    "oslo_messaging_kafka",
    "oslo_messaging_metrics",
    "oslo_messaging_zmq",
    "oslo_middleware",
    "oslo_policy",
    "oslo_reports",
    "rgw_admin_credentials",
    "rgw_client",
    "service_types",
    "service_user",
    "vmware",
    "xenapi",
];

/// Options of `DEFAULT` of other Ceilometer services, and of libraries.
const OTHERS: [&str; 29] = [
    "api_paste_config",
    "auth_strategy",
    "backdoor_port",
    "backdoor_socket",
    "batch_size",
    "collector_workers",
    "conn_pool_min_size",
    "conn_pool_ttl",
    "dispatcher",
    "event_dispatchers",
    "event_pipeline_cfg_file",
    "executor_thread_pool_size",
    "graceful_shutdown_timeout",
    "http_timeout",
    "ironic_exchange",
    "log_options",
    "max_parallel_requests",
    "meter_dispatchers",
    "notification_workers",
    "nova_http_log_debug",
    "reseller_prefix",
    "rootwrap_config",
    "rpc_conn_pool_size",
    "rpc_ping_enabled",
    "rpc_poll_timeout",
    "rpc_response_timeout",
    "rpc_thread_pool_size",
    "run_external_periodic_tasks",
    "state_path",
];

/// Options for Ceilometer's logs.
const LOGGING: [&str; 31] = [
    "debug",
    "default_log_levels",
    "fatal_deprecations",
    "instance_format",
    "instance_uuid_format",
    "log_color",
    "log_config_append",
    "log_date_format",
    "log_dir",
    "log_file",
    "log_rotate_interval",
    "log_rotate_interval_type",
    "log_rotation_type",
    "logdir",
    "logfile",
    "logging_context_format_string",
    "logging_debug_format_suffix",
    "logging_default_format_string",
    "logging_exception_prefix",
    "logging_user_identity_format",
    "max_logfile_count",
    "max_logfile_size_mb",
    "publish_errors",
    "rate_limit_burst",
    "rate_limit_except_level",
    "rate_limit_interval",
    "syslog_log_facility",
    "use_journal",
    "use_json",
    "use_stderr",
    "use_syslog",
];

/// Options of the polling agent, in `DEFAULT` or `polling`, and what stands for them here.
const POLLING: [(&str, &str); 8] = [
    ("batch_polled_samples", "set polling.batch_size"),
    ("heartbeat_socket_dir", "ask the agent itself: /healthz and /readyz, or the service manager"),
    ("ignore_disabled_projects", "no action needed: it is of the agent for other services"),
    ("partitioning_group_prefix", "no action needed: each host polls its own domains"),
    ("pollsters_definitions_dirs", "no action needed: they are of the agent for other services"),
    ("pollster_list", "write the meters into polling.yaml"),
    (
        "shuffle_time_before_polling_task",
        "set polling.spread: each host then polls at its own time",
    ),
    ("threads_to_process_pollsters", "no action needed: one call of libvirt reads many domains"),
];

/// Options of `polling`, which Ceilometer's sample file has in `DEFAULT` as well, without effect.
const MISPLACED: [&str; 8] = [
    "cfg_file",
    "enable_notifications",
    "enable_prometheus_exporter",
    "identity_name_discovery",
    "prometheus_listen_addresses",
    "prometheus_tls_certfile",
    "prometheus_tls_enable",
    "prometheus_tls_keyfile",
];

const NO_ACTION: &str = "no action needed";

/// Whether a section as a whole has no effect.
pub(super) fn is_section(section: &str) -> bool {
    SECTIONS.contains(&section)
}

/// Whether an option has an effect in `polling` only.
pub(super) fn is_misplaced(option: &OsloOption) -> bool {
    option.section == DEFAULT && MISPLACED.contains(&option.key.as_str())
}

/// What to warn of an option without effect: what is wrong, and its remedy. `None` if the value
/// matches what this agent does.
pub(super) fn without_effect(option: &OsloOption, value: &str) -> Option<(String, String)> {
    let name = option.name();
    let none = format!("{name} has no effect here");
    if is_misplaced(option) {
        let what = format!("{name} has no effect there, not even for Ceilometer");
        return Some((what, "move it to the section [polling]".to_owned()));
    }
    let usual = match (option.section.as_str(), option.key.as_str()) {
        (DEFAULT, "verbose") => return None,
        (DEFAULT, key) if LOGGING.contains(&key) => return None,
        // Ceilometer sends samples with [publisher_notifier] telemetry_driver, whatever this is.
        ("oslo_messaging_notifications", "driver") | (DEFAULT, "notification_driver") => {
            return None;
        }
        (DEFAULT, "polling_namespaces") => return namespaces(&name, value),
        (DEFAULT, "hypervisor_inspector") => "libvirt",
        ("publisher_notifier", "telemetry_driver" | "metering_driver") => "messagingv2",
        ("polling", "enable_notifications") => "true",
        ("gnocchi", key) => return gnocchi(&name, key, value),
        ("publisher_notifier", "metering_topic") if value == "metering" => return None,
        ("publisher_notifier", "metering_topic") => {
            return Some((none, "write notifier://?topic=TOPIC in pipeline.yaml".to_owned()));
        }
        // Metering sends no events.
        ("publisher_notifier", "event_topic")
        | ("oslo_messaging_notifications", "retry")
        | (RABBIT, _)
        | (_, "workload_partitioning") => return Some((none, NO_ACTION.to_owned())),
        (DEFAULT, key) if OTHERS.contains(&key) || key.ends_with("_control_exchange") => {
            return Some((none, NO_ACTION.to_owned()));
        }
        (DEFAULT | "polling", key) => {
            let instead = POLLING.iter().find(|(name, _)| *name == key).map(|(_, remedy)| *remedy);
            return Some(instead.map_or_else(|| unknown(&name), |it| (none, it.to_owned())));
        }
        _ => return Some(unknown(&name)),
    };
    let differs = !value.eq_ignore_ascii_case(usual);
    differs.then(|| (format!("{none}; this agent behaves as with {usual}"), "remove it".to_owned()))
}

/// The section that the publisher has; what other releases and tools write into it belongs into its
/// URL.
fn gnocchi(name: &str, key: &str, value: &str) -> Option<(String, String)> {
    let remedy = match key {
        "auth_section" if value == "service_credentials" => return None,
        "auth_section" => {
            "set service_credentials, or components.by_name.gnocchi.options, to these credentials"
        }
        "request_timeout" => "write gnocchi://?timeout=SECONDS in pipeline.yaml",
        "archive_policy" => "write gnocchi://?archive_policy=NAME in pipeline.yaml",
        "filter_project" => "write gnocchi://?filter_project=NAME in pipeline.yaml",
        "filter_service_activity" => "write gnocchi://?enable_filter_project=false for False",
        "url" => "write gnocchi://HOST:PORT in pipeline.yaml",
        "resources_definition_file" => {
            "list other meters in components.by_name.gnocchi.options.metrics"
        }
        _ => return Some(unknown(name)),
    };
    Some((format!("{name} has no effect here"), remedy.to_owned()))
}

fn unknown(name: &str) -> (String, String) {
    let what = format!("{name} is not understood and has no effect");
    (what, "see whether nephometer.yaml has a key for it".to_owned())
}

/// What a polling agent polls besides the machines of its host needs another agent.
fn namespaces(name: &str, value: &str) -> Option<(String, String)> {
    let others: Vec<_> = value
        .split(|c: char| matches!(c, ',' | '[' | ']' | '\'' | '"') || c.is_whitespace())
        .filter(|namespace| !namespace.is_empty() && *namespace != "compute")
        .collect();
    let others = others.join(",");
    (!others.is_empty()).then(|| {
        (
            format!("{name}: this agent has the meters of compute, and none of {others}"),
            format!("keep a ceilometer-polling with polling_namespaces = {others}"),
        )
    })
}
