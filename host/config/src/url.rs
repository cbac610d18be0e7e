//! Parses URLs of publishers and brokers like Python's `urlsplit`: nothing is normalised, so that a
//! path names the same file as for Ceilometer.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error;
use nephometer_model::Secret;
use nephometer_model::{Bound, clean};

/// The characters that are percent-encoded in credentials and virtual hosts.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// RabbitMQ's default ports.
const AMQP_PORT: u16 = 5672;
const AMQPS_PORT: u16 = 5671;

/// User and password where a broker's URL has none, as for kombu.
const GUEST: &str = "guest";

/// Publisher options that cannot contain a secret.
const HARMLESS: &[&str] = &[
    "backup_count",
    "driver",
    "json",
    "max_bytes",
    "max_queue_length",
    "max_retry",
    "per_meter_topic",
    "policy",
    "provable",
    "topic",
];

/// Options of a broker's URL that the client supports. All values are numbers.
const CLIENT: &[&str] = &["channel_max", "connection_timeout", "frame_max", "heartbeat"];

/// The parts of `scheme://authority/path?query#fragment`.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) authority: &'a str,
    /// With its leading slash.
    pub(super) path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

/// The problem and the remedy for an invalid URL. Never contains credentials.
pub(super) type Fault = (String, String);

fn fault<T>(what: impl Into<String>, remedy: impl Into<String>) -> Result<T, Fault> {
    Err((what.into(), remedy.into()))
}

impl<'a> Parts<'a> {
    /// Splits a URL; `None` without `://`.
    pub(super) fn split(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(Self { scheme, authority, path, query, fragment })
    }

    /// The decoded options, in order.
    pub(super) fn options(&self) -> Vec<(String, String)> {
        ::url::form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    /// Whether the text before the first `://` can be a scheme. If not, the scheme is missing, and
    /// the text may be a part of the credentials.
    fn has_scheme(&self) -> bool {
        !self.scheme.contains([':', '@', '/', '?', '#'])
    }

    /// Whether the text after the user is a valid `host:port`, which may be shown.
    fn shows_host_only(&self) -> bool {
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        !self.has_stray_at() && split_port(host).is_ok()
    }

    /// Whether there is an `@` after the authority. Most likely a `/`, `?` or `#` in the password
    /// ended the authority too early, so that what looks like host, path and options is secret.
    fn has_stray_at(&self) -> bool {
        [self.path, self.query, self.fragment].iter().any(|part| part.contains('@'))
    }

    /// Checks that no special character of user or password ended the authority too early, for URLs
    /// that use these characters nowhere else.
    pub(super) fn check_authority(&self) -> Result<(), Fault> {
        if self.has_stray_at() {
            return fault("it has an @ after its first /, ? or #", ENCODE);
        }
        // Everything after the # would be ignored silently, including hosts.
        if !self.authority.is_empty() && !self.fragment.is_empty() {
            return fault("there is a # in it", ENCODE);
        }
        Ok(())
    }

    /// As [`Self::check_authority`], for URLs whose path and option values may contain an `@`.
    pub(super) fn check_components_authority(&self) -> Result<(), Fault> {
        let key = |pair: &str| pair.split('=').next().is_some_and(|key| key.contains('@'));
        if self.fragment.contains('@') || self.query.split('&').any(key) {
            return fault("it has an @ after its first ? or #", ENCODE);
        }
        Ok(())
    }
}

const ENCODE: &str = "write special characters of user and password percent-encoded: / as %2F, ? \
                      as %3F, # as %23, @ as %40";

/// Checks the length of a URL.
pub(super) fn check_length(url: &str) -> Result<(), Fault> {
    Bound::UrlBytes.check(url.len()).map_err(error::parts)
}

/// A URL for messages, without user, password and option values that may be secret.
pub(super) fn label(url: &str) -> String {
    Parts::split(url).map_or_else(|| without_user(url), |parts| parts.to_string())
}

/// The URL of a broker for messages, without user and password.
pub fn broker_label(url: &Secret) -> String {
    label(url.reveal())
}

/// Schemes of hypervisors, which have paths in the place of a host.
const HYPERVISORS: &[&str] = &["ch", "lxc", "qemu", "replay", "sim", "test", "xen"];

/// A libvirt URI for messages, without everything before the last `@`. In a URI of a hypervisor without
/// a host, an `@` belongs to the path.
pub fn without_user(text: &str) -> String {
    let is_local = |parts: Parts<'_>| {
        let driver = parts.scheme.split('+').next().unwrap_or_default();
        parts.authority.is_empty() && HYPERVISORS.contains(&driver)
    };
    match text.rsplit_once('@') {
        Some((_, rest)) if !Parts::split(text).is_some_and(is_local) => format!("***@{rest}"),
        _ => text.to_owned(),
    }
}

/// The name of an option or scheme for messages. A name that may be a part of a password is hidden.
pub(super) fn option_name(key: &str) -> String {
    let is_name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-' | '+');
    if key.chars().all(is_name) { format!("{:?}", clean(key)) } else { "***".to_owned() }
}

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_scheme() {
            return f.write_str("***");
        }
        let hidden = match self.authority {
            // The path of a file may contain an @.
            "" => self.scheme != "file" && self.has_stray_at(),
            _ => !self.shows_host_only(),
        };
        if hidden {
            return write!(f, "{}://***", self.scheme);
        }
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        write!(f, "{}://{host}{}", self.scheme, self.path)?;
        for (at, pair) in self.query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                _ if pair.split('=').next().is_some_and(|key| key.contains('@')) => {
                    f.write_str("***")?;
                }
                Some((key, _)) if !HARMLESS.contains(&key) => write!(f, "{key}=***")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

/// Whether a URL has a scheme, and no special character of user or password ends its authority too
/// early.
pub(super) fn is_sound(url: &str) -> bool {
    Parts::split(url).is_some_and(|parts| parts.has_scheme() && parts.check_authority().is_ok())
}

/// Percent-encodes a text for the place of user, password or virtual host.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Splits a URL into the URL without some of the options in its query, and these options. A URL that
/// is not sound is not split: its problems are reported when it is parsed later.
pub(super) fn without_options(
    url: &str,
    splits: impl Fn(&str) -> bool,
) -> (String, Vec<(String, String)>) {
    let Some((before, query)) = url.split_once('?').filter(|_| is_sound(url)) else {
        return (url.to_owned(), Vec::new());
    };
    let (options, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| pair.split('=').next().is_some_and(&splits));
    if options.is_empty() {
        return (url.to_owned(), Vec::new());
    }
    let options =
        ::url::form_urlencoded::parse(options.join("&").as_bytes()).into_owned().collect();
    let mark = if others.is_empty() { "" } else { "?" };
    (format!("{before}{mark}{}", others.join("&")), options)
}

/// Converts `amqp.url` to one URL per host in the form of the client. `rabbit` is the same protocol
/// in Ceilometer's `transport_url`. With `tls`, every connection uses TLS.
pub(super) fn broker_urls(url: &str, tls: bool) -> Result<Vec<Secret>, Fault> {
    const RIGHT: &str = "write amqp://USER:PASSWORD@HOST:PORT/VHOST";
    check_length(url)?;
    let Some(parts) = Parts::split(url) else {
        return fault("the broker's URL has no scheme", RIGHT);
    };
    parts
        .check_authority()
        .map_err(|(what, right)| (format!("the broker's URL: {what}"), right))?;
    let mut tls = match parts.scheme {
        "amqp" | "rabbit" | "kombu" | "kombu+amqp" => tls,
        "amqps" | "rabbit+ssl" | "rabbits" | "kombu+amqps" => true,
        _ if !parts.has_scheme() => {
            return fault("the broker's URL does not begin with a scheme", RIGHT);
        }
        other => {
            return fault(format!("the broker's URL has the scheme {}", option_name(other)), RIGHT);
        }
    };
    let mut client = Vec::new();
    for (key, value) in parts.options() {
        if key == "ssl" {
            tls |= ssl(&value)?;
            continue;
        }
        if !CLIENT.contains(&key.as_str()) {
            return fault(
                format!("the broker's URL has the unknown option {}", option_name(&key)),
                match key.starts_with("ssl_") {
                    true => "remove it, and set amqp.tls".to_owned(),
                    false => format!("remove it, or use one of {}", CLIENT.join(", ")),
                },
            );
        }
        if value.parse::<u32>().is_err() {
            return fault(
                format!("the option {key:?} of the broker's URL is not a number"),
                format!("write {key}=NUMBER"),
            );
        }
        client.push(format!("{key}={value}"));
    }
    let urls = brokers(&parts, tls)?;
    if client.is_empty() {
        return Ok(urls);
    }
    let client = client.join("&");
    Ok(urls.iter().map(|url| Secret::new(format!("{}?{client}", url.reveal()))).collect())
}

/// Whether a URL contains a password that is not empty and not that of `guest:guest`.
pub(super) fn has_password(url: &str) -> bool {
    let Some(parts) = Parts::split(url) else { return url.contains('@') };
    let mut users = parts.authority.split(',').filter_map(|node| node.rsplit_once('@'));
    let known = |user: &str| {
        user == "guest:guest" || user.split_once(':').is_none_or(|(_, p)| p.is_empty())
    };
    users.any(|(user, _)| !known(user))
}

/// Parses the value of the option `ssl`.
pub(super) fn ssl(value: &str) -> Result<bool, Fault> {
    match value.to_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => fault("the option \"ssl\" is neither 0 nor 1", "write ssl=1, or leave it out"),
    }
}

/// The brokers of a URL, separated by commas in the authority, as `amqp://` or `amqps://` URLs. One
/// without a user gets the user of the one before.
pub(super) fn brokers(parts: &Parts<'_>, tls: bool) -> Result<Vec<Secret>, Fault> {
    let (scheme, usual) = if tls { ("amqps", AMQPS_PORT) } else { ("amqp", AMQP_PORT) };
    let vhost = match parts.path.strip_prefix('/') {
        None | Some("") => "%2F".to_owned(),
        Some(vhost) => recode(vhost)?,
    };
    let mut who = (GUEST.to_owned(), GUEST.to_owned());
    let mut urls = Vec::new();
    // Templates with a loop leave a trailing comma, which oslo.messaging ignores.
    let nodes = parts.authority.split(',').filter(|node| !node.is_empty());
    let none = parts.authority.trim_matches(',').is_empty().then_some("");
    for node in nodes.chain(none) {
        let (user, host) = match node.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, node),
        };
        let (name, port) = split_port(host)?;
        let name = match ::url::Host::parse(name) {
            Ok(host) => host.to_string(),
            Err(_) => {
                return fault("the broker's host is not a host name or address", "write HOST:PORT");
            }
        };
        if let Some(user) = user {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let or_guest = |text: &str| recode(if text.is_empty() { GUEST } else { text });
            who = (or_guest(user)?, or_guest(password)?);
        }
        let ((user, password), port) = (&who, port.unwrap_or(usual));
        let url = format!("{scheme}://{user}:{password}@{name}:{port}/{vhost}");
        urls.push(Secret::new(url));
    }
    Ok(urls)
}

/// Percent-encodes all special characters of a text that may be encoded in part.
fn recode(text: &str) -> Result<String, Fault> {
    match percent_decode_str(text).decode_utf8() {
        Ok(plain) => Ok(utf8_percent_encode(&plain, ENCODED).to_string()),
        Err(_) => fault(
            "the percent signs in the broker's URL do not encode UTF-8 text",
            "encode a percent sign as %25 and other characters by their UTF-8 bytes",
        ),
    }
}

fn split_port(host: &str) -> Result<(&str, Option<u16>), Fault> {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    };
    if name.contains(':') && !name.starts_with('[') {
        return fault(
            "the broker's host has more than one colon",
            "put an IPv6 address in square brackets, and write special characters of a password \
             percent-encoded",
        );
    }
    let port = match port {
        None | Some("") => None,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                return fault(
                    "the broker's port is not a number from 1 to 65535",
                    "write HOST:PORT, and special characters of a password percent-encoded",
                );
            }
        },
    };
    Ok((name, port))
}
