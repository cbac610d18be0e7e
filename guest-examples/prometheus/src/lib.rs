//! `prometheus`: publishes samples to a Prometheus push gateway.
//!
//! `prometheus://HOST[:PORT]/metrics/job/JOB?options` pushes the samples of each envelope, like
//! Ceilometer's publisher of that name. The README describes the options and the differences.

mod exposition;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, settings,
};
use posting::{Outbox, Receiver};

pub use exposition::{is_plain_job, posts};

/// As in Ceilometer; push gateways ignore it.
const CONTENT_TYPE: &str = "plain/text";

/// The configured publisher.
#[derive(Debug)]
pub struct Prometheus {
    receiver: Receiver,
    outbox: Outbox,
}

impl Publisher for Prometheus {
    fn describe() -> Description {
        Description {
            name: "prometheus".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples to a Prometheus push gateway".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let receiver = Receiver::read(options, &[])?;
        let publisher = Self { receiver, outbox: Outbox::default() };
        Ok((publisher, Settings { texts: TextForm::Samples, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let by_resource = is_plain_job(self.receiver.path());
        let posts = posts(&delivery.input, &delivery.texts, by_resource)?;
        let what = (CONTENT_TYPE, posts.as_slice());
        self.outbox.deliver(&self.receiver, &delivery.id, what, |_| Ok(()))
    }
}

nephometer_guest_http::export_http_publisher!(Prometheus);

#[cfg(test)]
mod tests {
    use super::*;
    use posting::golden;

    #[test]
    fn requests_equal_those_of_ceilometer() {
        let (batch, texts) = golden::samples();
        let job = "/metrics/job/openstack-telemetry";
        let posts = posts(&batch, &texts, is_plain_job(job)).unwrap();
        let sent: Vec<_> = posts
            .iter()
            .map(|post| (format!("{job}{}", post.below), post.text().to_owned()))
            .collect();
        let received = golden::received("prometheus://");
        assert!(received.iter().all(|one| one.content_type == CONTENT_TYPE));
        let received: Vec<_> = received.into_iter().map(|one| (one.path, one.body)).collect();
        assert_eq!(sent, received);
    }
}
