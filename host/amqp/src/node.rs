//! Parses the URL of a node of a broker.

use lapin::uri::AMQPUri;
use url::{Host, Url};

use crate::error::AmqpError;
use nephometer_config::Secret;
use nephometer_model::Bound;

/// Frame size in bytes, unless the URL sets another one or the broker requires less. The library
/// allocates 64 frames per connection: with the usual 128 KiB of a broker, 8 MB.
pub(crate) const FRAME_MAX: u32 = 16 << 10;
/// Minimum frame size of AMQP 0-9-1 in bytes.
const FRAME_MIN: u32 = 4096;

/// Heartbeat interval in seconds, unless the URL sets another one. A dead broker is noticed after
/// two intervals.
const HEARTBEAT: u16 = 10;

/// Parses a URL, and adds what it leaves out.
///
/// # Errors
/// If it is not a URL of AMQP, or asks for frames beyond the bound.
pub(crate) fn node(url: &Secret) -> Result<AMQPUri, AmqpError> {
    // The errors of both parsers may contain the URL, so that they are dropped.
    let parsed = Url::parse(url.reveal()).map_err(|_| AmqpError::Url("malformed"))?;
    let mut uri: AMQPUri = url.reveal().parse().map_err(|_| AmqpError::Url("malformed"))?;
    // lapin ignores IPv6 literals, and connects to localhost.
    if let Some(Host::Ipv6(address)) = parsed.host() {
        uri.authority.host = address.to_string();
    }
    if uri.vhost.is_empty() {
        uri.vhost.push('/');
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max = Some(frame_max(uri.query.frame_max)?);
    Ok(uri)
}

/// Checks the `frame_max` of the URL. 0 is no limit, which would let the broker choose how much is
/// allocated: then the bound applies.
fn frame_max(requested: Option<u32>) -> Result<u32, AmqpError> {
    let most = u32::try_from(Bound::FrameBytes.most()).unwrap_or(u32::MAX);
    match requested {
        None => Ok(FRAME_MAX),
        Some(0) => Ok(most),
        Some(requested) => {
            Bound::FrameBytes.check(requested as usize).map_err(AmqpError::FrameMax)?;
            Ok(requested.max(FRAME_MIN))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str) -> AMQPUri {
        node(&Secret::new(url)).unwrap()
    }

    #[test]
    fn urls_may_contain_ipv6_literals_and_escapes() {
        let plain = uri("amqp://guest:guest@127.0.0.1:5672/%2f");
        assert_eq!((plain.authority.host.as_str(), plain.vhost.as_str()), ("127.0.0.1", "/"));
        assert_eq!(plain.query.heartbeat, Some(10));
        assert_eq!(plain.query.frame_max, Some(16_384));
        let odd = uri("amqp://us%40er:p%3ass%2fw%25@[::1]:5673/a%2fb?heartbeat=3");
        assert_eq!(odd.authority.host, "::1");
        assert_eq!(odd.authority.port, 5673);
        assert_eq!(odd.authority.userinfo.username, "us@er");
        assert_eq!(odd.authority.userinfo.password, "p:ss/w%");
        assert_eq!(odd.vhost, "a/b");
        assert_eq!(odd.query.heartbeat, Some(3));
        assert_eq!(uri("amqp://broker/").vhost, "/");
        assert_eq!(uri("amqp://broker").authority.port, 5672);
    }

    #[test]
    fn frame_max_of_a_url_is_bounded() {
        let most = u32::try_from(Bound::FrameBytes.most()).unwrap();
        let url = |frame_max: u32| format!("amqp://broker/?frame_max={frame_max}");
        let of = |frame_max| uri(&url(frame_max)).query.frame_max;
        assert_eq!(of(0), Some(most), "0 selects the bound");
        assert_eq!((of(1), of(8192), of(most)), (Some(FRAME_MIN), Some(8192), Some(most)));
        let error = node(&Secret::new(url(most + 1))).unwrap_err().to_string();
        assert!(error.contains("amqp_frame_bytes") && error.contains("131073"), "{error}");
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        for url in ["u:hunter2@h", "amqp://u:hunter2@h:port/", "amqp://u:hunter2@h/%ff"] {
            let error = node(&Secret::new(url)).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
