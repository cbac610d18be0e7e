//! Splits the URL of a publisher component into its parts, without interpreting them.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::component_spec::SecretOptions;
use crate::spec::ComponentUrl;
use crate::url::{Fault, Parts};
use nephometer_model::Secret;

/// Whether a component can have this name: valid as a URL scheme and as a file name.
pub(super) fn is_name(scheme: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !scheme.is_empty() && scheme.bytes().all(allowed)
}

/// Everything that is passed to the component.
pub(super) fn read(parts: &Parts<'_>) -> Result<ComponentUrl, Fault> {
    let (user, address) = match parts.authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, parts.authority),
    };
    let (host, port) = split(address)?;
    let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => (None, None),
        Some((user, "")) => (Some(decode(user)?), None),
        Some((user, password)) => (Some(decode(user)?), Some(Secret::new(decode(password)?))),
    };
    let mut query = Map::new();
    for (key, value) in parts.options() {
        let values = query.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        values.as_array_mut().expect("only lists are put in").push(Value::String(value));
    }
    Ok(ComponentUrl {
        name: parts.scheme.into(),
        host,
        port,
        path: parts.path.to_owned(),
        user,
        password,
        query: SecretOptions::new(query),
    })
}

/// Host and port of `[HOST[:PORT]]`.
pub(super) fn split(address: &str) -> Result<(Option<String>, Option<u16>), Fault> {
    const RIGHT: &str = "write NAME://HOST:PORT, with an IPv6 address in square brackets";
    let fault = |what: &str| Err((what.to_owned(), RIGHT.to_owned()));
    let (host, port) = match address.rfind(':') {
        Some(colon) if !address[colon..].contains(']') => {
            (&address[..colon], &address[colon + 1..])
        }
        _ => (address, ""),
    };
    let unbracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if unbracketed.is_none() && host.contains([':', '[', ']']) {
        return fault("its host is not a host name or address");
    }
    if host.is_empty() && !port.is_empty() {
        return fault("it has a port, but no host");
    }
    if !host.is_empty() && ::url::Host::parse(host).is_err() {
        return fault("its host is not a host name or address");
    }
    let port = match port {
        "" => None,
        text => match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return fault("its port is not a number from 1 to 65535"),
        },
    };
    let host = unbracketed.unwrap_or(host);
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

fn decode(text: &str) -> Result<String, Fault> {
    match percent_decode_str(text).decode_utf8() {
        Ok(plain) => Ok(plain.into_owned()),
        Err(_) => Err((
            "the percent signs before its host do not encode UTF-8 text".to_owned(),
            "encode a percent sign as %25 and other characters by their UTF-8 bytes".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(text: &str) -> Result<ComponentUrl, Fault> {
        read(&Parts::split(text).unwrap())
    }

    #[test]
    fn all_parts_are_parsed() {
        let read = url("influx://us%40er:p%3Aw@[2001:db8::1]:8086/db/x?tag=a&tag=b&empty").unwrap();
        assert_eq!(&*read.name, "influx");
        assert_eq!((read.host.as_deref(), read.port), (Some("2001:db8::1"), Some(8086)));
        assert_eq!(read.user.as_deref(), Some("us@er"));
        assert_eq!(read.password.unwrap().reveal(), "p:w");
        assert_eq!(read.path, "/db/x");
        let query = json!({"tag": ["a", "b"], "empty": [""]});
        assert_eq!(Value::Object(read.query.reveal().clone()), query);
        let short = url("influx://").unwrap();
        assert_eq!((short.host, short.port, short.user), (None, None, None));
        assert_eq!(url("statsd://lan").unwrap().port, None);
    }

    #[test]
    fn invalid_hosts_and_ports_are_rejected() {
        for text in ["a://h:0", "a://h:x", "a://:80", "a://::1", "a://h h", "a://%ff@h", "a://[::1"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn component_names_are_restricted() {
        assert!(is_name("influx") && is_name("my_own-2"));
        assert!(!is_name("") && !is_name("a.b") && !is_name("Influx") && !is_name("a/b"));
    }
}
