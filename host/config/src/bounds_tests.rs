//! Tests the bounds on files, each with exactly as much as it allows and with one more; and URLs
//! with arbitrary passwords.

use proptest::prelude::*;

use super::load::parse_pipeline;
use super::tests::{inputs, lines};
use super::url::{broker_urls, label, without_options, without_user};
use super::*;
use nephometer_model::Bound;

/// Whether a pipeline is accepted, and everything that is printed about it.
fn parse(text: &str) -> (bool, String) {
    match parse_pipeline(text.as_bytes(), "p.yaml", &BrokerSpec::default()) {
        Ok((spec, warnings)) => {
            let labels: Vec<_> = spec.sinks[0].publishers.iter().map(|one| &*one.label).collect();
            (true, format!("{labels:?}{}", lines(&warnings)))
        }
        Err(error) => (false, format!("{}{}", lines(&error.problems), lines(&error.warnings))),
    }
}

/// Checks that the limit is accepted, and one more rejected with the bound's name and location.
fn at_the_limit(bound: Bound, location: &str, pipeline: impl Fn(usize) -> String) {
    let (good, printed) = parse(&pipeline(bound.size()));
    assert!(good, "{bound:?}: {printed}");
    let (good, printed) = parse(&pipeline(bound.size() + 1));
    let (name, remedy) = (format!("({})", bound.row().name), bound.row().remedy);
    let named = |line: &str| {
        line.starts_with(location) && line.contains(&name) && line.ends_with(&format!("; {remedy}"))
    };
    assert!(!good && printed.lines().any(named) && printed.len() < 600, "{bound:?}: {printed}");
}

fn sinks(publishers: &str, transformers: &str) -> String {
    format!("sinks: [{{name: k, publishers: [{publishers}], transformers: [{transformers}]}}]\n")
}

fn source(meters: &str) -> String {
    format!("sources: [{{name: s, meters: [{meters}], sinks: [k]}}]\n")
}

#[test]
fn entries_of_a_pipeline() {
    at_the_limit(Bound::Entries, "p.yaml:1:10: ", |count| {
        let entry = |at| format!("{{name: s{at}, meters: [cpu], sinks: [k]}},");
        format!("sources: [{}]\n{}", (0..count).map(entry).collect::<String>(), sinks("test", ""))
    });
    at_the_limit(Bound::Entries, "p.yaml:2:8: ", |count| {
        let entry = |at| format!("{{name: k{at}, publishers: [test]}},");
        let sinks: String = (0..count).map(entry).collect();
        let source = source("cpu").replace("[k]", "[k0]");
        format!("{source}sinks: [{sinks}]\n")
    });
    at_the_limit(Bound::Entries, "p.yaml:2:31: ", |count| {
        format!("{}{}", source("cpu"), sinks(&"test,".repeat(count), ""))
    });
    at_the_limit(Bound::Entries, "p.yaml:2:53: ", |count| {
        let entry = "{name: t, parameters: {}},";
        format!("{}{}", source("cpu"), sinks("test", &entry.repeat(count)))
    });
}

#[test]
fn meters_of_a_source() {
    at_the_limit(Bound::Globs, "p.yaml:1:29: ", |count| {
        format!("{}{}", source(&"c*,".repeat(count)), sinks("test", ""))
    });
    let (good, printed) = parse(&format!("{}{}", source(&"m".repeat(1_024)), sinks("test", "")));
    assert!(good, "{printed}");
    let (good, printed) = parse(&format!("{}{}", source(&"m".repeat(1_025)), sinks("test", "")));
    assert!(
        !good && printed.contains("(settings_meter_bytes)") && printed.len() < 500,
        "{printed}"
    );
}

#[test]
fn urls() {
    at_the_limit(Bound::UrlBytes, "p.yaml:2:32: ", |length| {
        let url = format!("file:///{}", "f".repeat(length - "file:///".len()));
        format!("{}{}", source("cpu"), sinks(&url, ""))
    });
    let host = |text: String| match load(&inputs(&text, &[])) {
        Ok(_) => String::new(),
        Err(error) => lines(&error.problems),
    };
    for (before, key) in [("amqp://u:p@h/", "amqp: {url: "), ("qemu:///", "libvirt: {uri: ")] {
        let file = |length: usize| format!("{key}'{before}{}'}}\n", "x".repeat(length));
        let most = Bound::UrlBytes.size() - before.len();
        assert_eq!(host(file(most)), "");
        let printed = host(file(most + 1));
        assert!(printed.contains("8193 bytes, at most 8192 bytes (url_bytes)"), "{printed}");
    }
}

/// Regression test: the warnings of one sink with 100,000 publishers of 40 unknown options each
/// took 1.2 GB.
#[test]
fn warnings_are_counted_beyond_some() {
    let url = format!("test://?{}", (0..1_000).map(|at| format!("a{at}&")).collect::<String>());
    let (good, printed) =
        parse(&format!("{}{}", source("cpu"), sinks(&format!("'{url}',").repeat(9), "")));
    assert!(good && printed.contains("(config_problems)"));
    assert!(printed.len() < 3 * 1_000 * Bound::TextBytes.size(), "{} bytes", printed.len());
}

/// Passwords with all characters that end a part of a URL.
fn password() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/", "?", "#", "@", ":", "%", "%2F", "%zz", "&", "=", "ssl=", "ssl", ",", ";", "$", "\\",
        "[", "]", " ", "://", "12", "SECRET", "SECRET",
    ]);
    prop::collection::vec(part, 1..8).prop_map(|parts| parts.concat() + "SECRET")
}

// The property below took many runs to find these two.
#[test]
fn user_without_a_scheme_is_hidden() {
    let (url, options) = without_options("user:?ssl=://SECRET@host", |_| true);
    assert_eq!((url.as_str(), options.len()), ("user:?ssl=://SECRET@host", 0));
    assert_eq!(without_user("user:///SECRET@host"), "***@host");
    assert_eq!(
        without_user("qemu+unix:///system?socket=/run/a@b"),
        "qemu+unix:///system?socket=/run/a@b"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_part_of_a_password_is_shown(
        scheme in prop::sample::select(vec![
            "rabbit://", "rabbit://", "rabbit://", "notifier://", "udp://", "tcp://", "test://", "file://", "influx://",
            "gnocchi://", "notifer://", "x.y://", "", "//", ":",
        ]),
        password in password(),
        rest in prop::sample::select(vec!["", ":5672", ":5672/v?heartbeat=5", "/a?b=c#d", ",h2"]),
    ) {
        let url = format!("{scheme}user:{password}@host{rest}");
        let (shown, libvirt) = (label(&url), without_user(&url));
        prop_assert!(!shown.contains("SECRET"), "{url} is shown as {shown}");
        prop_assert!(!libvirt.contains("SECRET"), "{url} is shown as {libvirt}");
        let fault = broker_urls(&url, false).err().map(|(what, remedy)| what + &remedy);
        let fault = fault.unwrap_or_default();
        prop_assert!(!fault.contains("SECRET"), "{url} is refused with {fault}");
        let quoted = serde_json::Value::from(url.clone()).to_string();
        let (good, printed) = parse(&format!("{}{}", source("cpu"), sinks(&quoted, "")));
        prop_assert!(!printed.contains("SECRET"), "{url}: {good}, {printed}");
        // The same URL in ceilometer.conf.
        let conf = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(conf.path(), format!("transport_url = {url}\n")).unwrap();
        let mut inputs = inputs("", &[]);
        inputs.ceilometer = Some(conf.path().to_owned());
        let printed = match load(&inputs) {
            Ok(loaded) => format!("{:?}{}", loaded.spec, lines(&loaded.warnings)),
            Err(error) => lines(&error.problems) + &lines(&error.warnings),
        };
        prop_assert!(!printed.contains("SECRET"), "{url} in ceilometer.conf: {printed}");
    }

    #[test]
    fn no_part_of_a_secret_in_ceilometer_conf_is_shown(
        (section, key) in prop::sample::select(vec![
            ("DEFAULT", "transport_url"),
            ("oslo_messaging_notifications", "transport_url"),
            ("oslo_messaging_rabbit", "transport_url"),
            ("DEFAULT", "rabbit_password"),
            ("oslo_messaging_rabbit", "rabbit_password"),
            ("oslo_messaging_rabbit", "rabbit_userid"),
            ("oslo_messaging_rabbit", "rabbit_virtual_host"),
            ("publisher", "telemetry_secret"),
            ("DEFAULT", "metering_secret"),
            ("service_credentials", "password"),
            ("oslo_messaging_rabbit", "ssl"),
            ("oslo_messaging_rabbit", "ssl_enforce_hostname_verification"),
            ("oslo_messaging_rabbit", "rabbit_login_method"),
            ("oslo_messaging_rabbit", "rabbit_port"),
            ("DEFAULT", "rpc_backend"),
        ]),
        password in password(),
        before in prop::sample::select(vec![
            "", "rabbit://u:", "rabbit://a:b@one,u:", "rabbit://u:p@h/?ssl=", "://", "amqp://", "u@",
        ]),
        after in prop::sample::select(vec!["", "@host:5672/", "@one,u:p@two/v?ssl=1"]),
    ) {
        let conf = tempfile::NamedTempFile::new().unwrap();
        let text = format!("[{section}]\n{key} = {before}{password}{after}\n");
        std::fs::write(conf.path(), &text).unwrap();
        let mut inputs = inputs("", &[]);
        inputs.ceilometer = Some(conf.path().to_owned());
        let printed = match load(&inputs) {
            Ok(loaded) => format!("{:?}{}", loaded.spec, lines(&loaded.warnings)),
            Err(error) => lines(&error.problems) + &lines(&error.warnings),
        };
        prop_assert!(!printed.contains("SECRET"), "{text}: {printed}");
    }
}
