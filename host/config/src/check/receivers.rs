//! Checks `receivers` of `collector.yaml`, and how its API asks Keystone.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nephometer_model::Bound;

use super::Check;
use super::discovery::cloud;
use super::units::{DURATION, duration};
use crate::collector::{AccessSpec, ReceiverSpec, Transport};
use crate::raw::{Field, RawCredentials, Scalar, Scalars};

/// The port of Ceilometer's collector.
const PORT: u16 = 4952;
const RECEIVERS: &str = "write a list such as [\"udp://127.0.0.1:4952\", \"tcp://127.0.0.1:4952\"]";
const CREDENTIALS: &str = "/api/keystone";
const ACCESS: &str = "write loopback, tokens or keystone";

/// `unsigned` is the setting of that name: it is checked together with the addresses.
pub(super) fn receivers(
    check: &mut Check<'_>,
    field: &Scalars,
    unsigned: bool,
) -> Option<Vec<ReceiverSpec>> {
    let entries = match field {
        Field::Given(entries) => entries,
        Field::Absent | Field::Null => return Some(Vec::new()),
        Field::Wrong => {
            check.wrong("/receivers", RECEIVERS);
            return None;
        }
    };
    if let Err(error) = Bound::Receivers.check(entries.len()) {
        check.fault("/receivers", error.to_string(), "use fewer of them");
        return None;
    }
    let texts = check.texts("/receivers", entries);
    let mut found = Vec::new();
    for (pointer, text) in &texts {
        match receiver(text) {
            Some(spec) if unsigned && !spec.listen.ip().is_loopback() => {
                let what = format!("{spec} is no loopback address, and `unsigned` is true");
                let remedy = "set unsigned to false, or listen on 127.0.0.1: everyone on the network \
                    could store samples";
                check.fault(pointer, what, remedy);
            }
            Some(spec) if found.contains(&spec) => {
                check.fault(pointer, format!("{spec} is in the list twice"), "remove one");
            }
            Some(spec) => found.push(spec),
            None => {
                let what = format!("{:?} is no address of a receiver", crate::url::label(text));
                let remedy = "write udp://ADDRESS:PORT or tcp://ADDRESS:PORT, such as \
                    udp://127.0.0.1:4952; addresses are numbers, 0.0.0.0 and [::] are all of this host";
                check.fault(pointer, what, remedy);
            }
        }
    }
    (found.len() == entries.len()).then_some(found)
}

fn receiver(text: &str) -> Option<ReceiverSpec> {
    let (scheme, place) = text.split_once("://")?;
    let transport = [Transport::Udp, Transport::Tcp];
    let transport = transport.into_iter().find(|known| known.as_str() == scheme)?;
    let place = place.strip_suffix('/').unwrap_or(place);
    let inner = place.strip_prefix('[').and_then(|place| place.strip_suffix(']'));
    let listen = match place.parse::<SocketAddr>() {
        Ok(listen) => listen,
        Err(_) => SocketAddr::new(inner.unwrap_or(place).parse::<IpAddr>().ok()?, PORT),
    };
    Some(ReceiverSpec { transport, listen })
}

/// Who may query: `access`, and what belongs to each of its values.
pub(super) struct AccessKeys<'a> {
    pub(super) access: &'a Field<Scalar>,
    pub(super) tokens: &'a Field<Scalar>,
    pub(super) keystone: Field<RawCredentials>,
    pub(super) cache: &'a Field<Scalar>,
    /// `api.listen`
    pub(super) listen: SocketAddr,
}

pub(super) fn access(check: &mut Check<'_>, asked: AccessKeys<'_>) -> Option<AccessSpec> {
    let AccessKeys { access, tokens, keystone, cache, listen } = asked;
    let word = check.value("/api/access", access, word, ACCESS);
    let tokens = check.string("/api/tokens", tokens);
    let cache = check.value("/api/token_cache", cache, duration, DURATION);
    let keystone = cloud(check, CREDENTIALS, keystone);
    match word?.unwrap_or("tokens") {
        "tokens" => {
            let file = tokens?.unwrap_or_else(|| "/etc/nephometer/collector-tokens".to_owned());
            Some(AccessSpec::Tokens(PathBuf::from(file)))
        }
        "keystone" => {
            let Some(credentials) = keystone? else {
                let what = "`access` is keystone, and `keystone` has no `auth_url`";
                let remedy = "set api.keystone with auth_url, auth_type and credentials of the \
                    collector's own user, who may validate tokens (role admin or service)";
                check.fault("/api/access", what, remedy);
                return None;
            };
            let cache = cache?.unwrap_or(Duration::from_secs(60));
            Some(AccessSpec::Keystone { credentials: Box::new(credentials), cache })
        }
        _ if !listen.ip().is_loopback() => {
            let what = format!("`listen` is {listen}, and `access: loopback` needs no token");
            let remedy = "listen on 127.0.0.1, or write `access: tokens`: everyone on the network \
                could read all samples";
            check.fault("/api/listen", what, remedy);
            None
        }
        _ => Some(AccessSpec::Loopback),
    }
}

fn word(value: &Scalar) -> Option<&'static str> {
    let text = value.to_string();
    ["loopback", "tokens", "keystone"].into_iter().find(|known| *known == text)
}
