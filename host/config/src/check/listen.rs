//! Checks `prometheus` and `telemetry`: the listeners of the agent.

use std::path::PathBuf;

use super::Check;
use crate::keys;
use crate::listen::{ListenAddress, ListenSpec, ListenTls, PrometheusForm, PrometheusSpec};
use crate::raw::{Field, Kind, RawListen, RawListenTls, Scalars};
use nephometer_model::Secret;

const ADDRESS: &str = "write HOST:PORT, [ADDRESS]:PORT, unix:/PATH, or none";
/// The default of `telemetry.listen`.
const TELEMETRY: &str = "127.0.0.1:9464";

/// `prometheus`
pub(super) fn prometheus(check: &mut Check<'_>, field: Field<RawListen>) -> Option<PrometheusSpec> {
    let raw = check.mapping("/prometheus", field)?;
    check.keys("/prometheus", &keys::PROMETHEUS, &[]);
    let words = [("ceilometer", PrometheusForm::Ceilometer), ("native", PrometheusForm::Native)];
    let form = check.word("/prometheus/form", &raw.form, &words);
    let listen = listen(check, "/prometheus", &raw, "none");
    Some(PrometheusSpec { listen: listen?, form: form?.unwrap_or_default() })
}

/// `telemetry`
pub(super) fn telemetry(check: &mut Check<'_>, field: Field<RawListen>) -> Option<ListenSpec> {
    let raw = check.mapping("/telemetry", field)?;
    check.keys("/telemetry", &keys::TELEMETRY, &[]);
    let spec = listen(check, "/telemetry", &raw, TELEMETRY)?;
    let knows_clients = spec.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if spec.token.is_some() || knows_clients {
        return Some(spec);
    }
    let open = spec.addresses.iter().find(|address| !address.is_local());
    if let Some(open) = open {
        let what = format!("everybody who reaches {open} could read the state of this agent");
        let remedy = "set telemetry.token_file, or telemetry.tls with client_ca, or listen on a \
                      loopback address";
        check.fault("/telemetry/listen", what, remedy);
        return None;
    }
    Some(spec)
}

fn listen(
    check: &mut Check<'_>,
    section: &str,
    raw: &RawListen,
    default: &str,
) -> Option<ListenSpec> {
    let at = |key: &str| format!("{section}/{key}");
    let addresses = addresses(check, &at("listen"), &raw.listen, default);
    let hosts = match (&raw.hosts, check.kind(&at("hosts"))) {
        (Field::Absent | Field::Null, _) => Some(Vec::new()),
        (Field::Given(entries), Kind::List) => {
            Some(check.texts(&at("hosts"), entries).into_iter().map(|(_, text)| text).collect())
        }
        _ => {
            check.wrong(&at("hosts"), "write a list of names");
            None
        }
    };
    let token = check.secret(&at("token"), &raw.token, &raw.token_file);
    let token = token.and_then(|token| match token {
        Some(token) if token.len() < 16 => {
            let what = format!("`token` has {} bytes", token.len());
            check.fault(&at("token"), what, "write at least 16, such as: openssl rand -hex 32");
            None
        }
        token => Some(token),
    });
    let tls = match &raw.tls {
        Field::Absent | Field::Null => Some(None),
        _ => tls(check, &at("tls"), raw.tls.clone()).map(Some),
    };
    let spec = ListenSpec {
        addresses: addresses?,
        hosts: hosts?,
        token: token?.map(Secret::new),
        tls: tls?,
    };
    let exposed = spec.addresses.iter().find(|address| !address.is_local());
    if let (Some(address), Some(_), None) = (exposed, &spec.token, &spec.tls) {
        let what = format!("the token crosses the network to {address} without TLS");
        let location = check.location(&at("listen")).clone();
        check.report.warn(&location, what, format!("set {}.tls", &section[1..]));
    }
    Some(spec)
}

/// A list of addresses, or text with commas, as in `ceilometer.conf`.
fn addresses(
    check: &mut Check<'_>,
    pointer: &str,
    field: &Scalars,
    default: &str,
) -> Option<Vec<ListenAddress>> {
    let texts = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => vec![(pointer.to_owned(), default.to_owned())],
        (_, Kind::Text) => {
            let text = check.text(pointer).unwrap_or_default().to_owned();
            let parts = text.split(',').map(|part| (pointer.to_owned(), part.trim().to_owned()));
            parts.filter(|(_, part)| !part.is_empty()).collect()
        }
        (Field::Given(entries), Kind::List) => check.texts(pointer, entries),
        _ => {
            check.wrong(pointer, ADDRESS);
            return None;
        }
    };
    if texts.iter().all(|(_, text)| text == "none") {
        return Some(Vec::new());
    }
    let mut good = true;
    let mut addresses = Vec::new();
    for (pointer, text) in texts {
        match address(&text) {
            Some(address) => addresses.push(address),
            None => {
                check.fault(&pointer, format!("{text:?} is no address to listen on"), ADDRESS);
                good = false;
            }
        }
    }
    good.then_some(addresses)
}

fn address(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| ListenAddress::Unix(PathBuf::from(path)));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner
        }
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then(|| ListenAddress::Tcp { host: host.to_owned(), port })
}

fn tls(check: &mut Check<'_>, section: &str, field: Field<RawListenTls>) -> Option<ListenTls> {
    let raw = check.mapping(section, field)?;
    check.keys(section, &keys::LISTEN_TLS, &[]);
    let at = |key: &str| format!("{section}/{key}");
    let certificate = check.file(&at("certificate"), &raw.certificate);
    let key = check.file(&at("key"), &raw.key);
    let client_ca = check.file(&at("client_ca"), &raw.client_ca);
    let (certificate, key, client_ca) = (certificate?, key?, client_ca?);
    let (Some(certificate), Some(key)) = (certificate, key) else {
        let what = "`certificate` and `key` belong together, and one is missing";
        check.fault(section, what, "name both, or leave `tls` out");
        return None;
    };
    Some(ListenTls { certificate, key, client_ca })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inputs, Origin, load};

    #[test]
    fn addresses_have_a_host_and_a_port_or_a_path() {
        for good in ["127.0.0.1:9101", "[::]:9101", "[::1]:1", "node-1:65535", "unix:/run/a.sock"] {
            assert_eq!(address(good).map(|one| one.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "",
            ":9101",
            "::1:9101",
            "127.0.0.1",
            "[::1",
            "[::1]",
            "[a]:1",
            "a:0",
            "a:65536",
            "unix:",
            "unix:a",
            "9101",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    fn loaded(text: &str) -> Result<crate::AgentSpec, String> {
        let origin = |name: &str, text: &str| Origin::Text { name: name.into(), text: text.into() };
        let pipeline = "sources: [{name: s, interval: 1, meters: ['*'], sinks: [k]}]\n\
                        sinks: [{name: k, publishers: ['test://']}]\n";
        let inputs = Inputs {
            config: origin("n.yaml", text),
            pipeline: origin("p.yaml", pipeline),
            ..Inputs::default()
        };
        load(&inputs).map(|loaded| loaded.spec).map_err(|error| error.to_string())
    }

    #[test]
    fn the_agents_own_endpoint_is_protected_beyond_loopback() {
        let spec = loaded("{}").unwrap();
        assert_eq!(spec.telemetry.addresses[0].to_string(), TELEMETRY);
        assert_eq!(spec.prometheus, PrometheusSpec::default());
        assert!(loaded("telemetry: {listen: none}").unwrap().telemetry.addresses.is_empty());
        for open in ["'[::]:9464'", "['127.0.0.1:1', '10.0.0.1:9464']", "node-1:9464"] {
            let error = loaded(&format!("telemetry: {{listen: {open}}}\n")).unwrap_err();
            assert!(error.contains("could read the state of this agent"), "{error}");
            let token = format!("telemetry: {{listen: {open}, token: 0123456789abcdef}}\n");
            assert!(loaded(&token).is_ok());
        }
        let short = loaded("telemetry: {token: hunter2}").unwrap_err();
        assert!(short.contains("`token` has 7 bytes") && !short.contains("hunter2"), "{short}");
        assert!(loaded("telemetry: {tls: {key: /dev/null}}").is_err());
        // Ceilometer's exporter has no protection at all.
        let spec = loaded("prometheus: {listen: '0.0.0.0:9101, [::]:9102', form: native}").unwrap();
        assert_eq!(spec.prometheus.listen.addresses.len(), 2);
        assert_eq!(spec.prometheus.form, PrometheusForm::Native);
    }
}
