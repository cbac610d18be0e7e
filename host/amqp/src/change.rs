//! How the settings of a broker differ from others. Never prints them: they hold passwords.

use std::fmt;

use lapin::uri::{AMQPUri, AMQPUserInfo};

use crate::connection::Broker;

/// What is new about a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerChange {
    /// Its nodes, or settings in their URLs.
    Address,
    /// User or password.
    Credentials,
    /// The files for TLS, their contents, or how certificates are verified.
    Certificates,
    /// The exchange, or how queues are declared.
    Declarations,
}

impl fmt::Display for BrokerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "new address of the broker",
            Self::Credentials => "new credentials for the broker",
            Self::Certificates => "new certificates for the broker",
            Self::Declarations => "new exchange or queues",
        })
    }
}

impl Broker {
    /// What is new about `new`, most important first. `None` if connections are the same.
    pub fn change_to(&self, new: &Self) -> Option<BrokerChange> {
        let anonymous = |nodes: &[AMQPUri]| nodes.iter().map(without_user).collect::<Vec<_>>();
        if anonymous(&self.nodes) != anonymous(&new.nodes) {
            return Some(BrokerChange::Address);
        }
        if self.nodes != new.nodes {
            return Some(BrokerChange::Credentials);
        }
        if self.tls != new.tls {
            return Some(BrokerChange::Certificates);
        }
        let same = self.queues == new.queues && self.exchange == new.exchange;
        (!same).then_some(BrokerChange::Declarations)
    }
}

fn without_user(node: &AMQPUri) -> AMQPUri {
    let mut node = node.clone();
    node.authority.userinfo = AMQPUserInfo { username: String::new(), password: String::new() };
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::{BrokerSpec, Queues, Secret, TlsSpec};

    #[test]
    fn the_most_important_difference_is_named() {
        let broker = |urls: &[&str], tls: TlsSpec, queues: Queues| {
            let urls = urls.iter().map(|url| Secret::new(*url)).collect();
            Broker::new(&BrokerSpec { urls, tls, queues, ..BrokerSpec::default() }, "test").unwrap()
        };
        let plain = |urls: &[&str]| broker(urls, TlsSpec::default(), Queues::default());
        let one = plain(&["amqp://u:p@a/%2f"]);
        assert_eq!(one.change_to(&plain(&["amqp://u:p@a/%2f"])), None);
        let to = |url: &str| one.change_to(&plain(&[url]));
        assert_eq!(to("amqp://u:q@a/%2f"), Some(BrokerChange::Credentials));
        assert_eq!(to("amqp://v:p@a/%2f"), Some(BrokerChange::Credentials));
        assert_eq!(to("amqp://u:q@b/%2f"), Some(BrokerChange::Address));
        assert_eq!(to("amqp://u:p@a/other"), Some(BrokerChange::Address));
        let added = plain(&["amqp://u:p@a/%2f", "amqp://u:p@b/%2f"]);
        assert_eq!(one.change_to(&added), Some(BrokerChange::Address));
        let renewed = TlsSpec { contents: Some(1), ..TlsSpec::default() };
        let renewed = broker(&["amqp://u:p@a/%2f"], renewed, Queues::default());
        assert_eq!(one.change_to(&renewed), Some(BrokerChange::Certificates));
        let durable = broker(&["amqp://u:p@a/%2f"], TlsSpec::default(), Queues::Durable);
        assert_eq!(one.change_to(&durable), Some(BrokerChange::Declarations));
    }
}
