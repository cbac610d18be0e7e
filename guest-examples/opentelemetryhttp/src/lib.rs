//! `opentelemetryhttp`: publishes samples as OTLP over HTTP.
//!
//! `opentelemetryhttp://HOST[:PORT]/v1/metrics?options` posts the samples of each envelope in the
//! JSON encoding of OTLP or, with `upstream=true`, in the form of Ceilometer's publisher of that
//! name. The README describes the options.

mod otlp;
mod upstream;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, UrlOptions,
    settings,
};
use posting::{Outbox, Receiver};

pub use otlp::{accepted, post};
pub use upstream::posts;

/// The configured publisher.
#[derive(Debug)]
pub struct OpenTelemetryHttp {
    receiver: Receiver,
    outbox: Outbox,
    upstream: bool,
}

impl Publisher for OpenTelemetryHttp {
    fn describe() -> Description {
        Description {
            name: "opentelemetryhttp".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples as OTLP over HTTP".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = std::cell::RefCell::default();
        let upstream = UrlOptions::new(options, &errors).flag("upstream").unwrap_or(false);
        let receiver = Receiver::read(options, &["upstream"]);
        let mut errors = errors.take();
        let receiver = match receiver {
            Ok(receiver) if errors.is_empty() => receiver,
            Ok(_) => return Err(errors),
            Err(others) => {
                errors.extend(others);
                return Err(errors);
            }
        };
        let publisher = Self { receiver, outbox: Outbox::default(), upstream };
        let texts = if upstream { TextForm::Samples } else { TextForm::None };
        Ok((publisher, Settings { texts, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let posts = if self.upstream {
            posts(&delivery.input, &delivery.texts)?
        } else {
            post(&delivery.input).into_iter().collect()
        };
        let what = ("application/json", posts.as_slice());
        self.outbox.deliver(&self.receiver, &delivery.id, what, accepted)
    }
}

nephometer_guest_http::export_http_publisher!(OpenTelemetryHttp);

#[cfg(test)]
mod tests {
    use super::*;
    use posting::golden;
    use serde_json::Value;

    // Except for the order of keys. The captured Ceilometer ran in UTC.
    #[test]
    fn the_upstream_form_equals_that_of_ceilometer() {
        let (batch, texts) = golden::samples();
        let parsed = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
        let sent: Vec<_> =
            posts(&batch, &texts).unwrap().iter().map(|post| parsed(&post.body)).collect();
        let received = golden::received("opentelemetryhttp://");
        let received: Vec<_> = received.iter().map(|one| parsed(&one.body)).collect();
        assert_eq!(sent, received);
    }

    #[test]
    fn an_envelope_is_one_otlp_request() {
        let (batch, _) = golden::samples();
        let body = post(&batch).expect("samples").body;
        let request: Value = serde_json::from_str(&body).expect("JSON");
        let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert_eq!(metrics.as_array().map(Vec::len), Some(5));
        let cpu = &metrics[1];
        assert_eq!((&cpu["name"], &cpu["unit"]), (&"cpu".into(), &"ns".into()));
        assert_eq!(cpu["sum"]["aggregationTemporality"], 2);
        assert_eq!(cpu["sum"]["isMonotonic"], true);
        let point = &cpu["sum"]["dataPoints"][0];
        assert_eq!(point["timeUnixNano"], "1795380806199673000");
        assert_eq!(point["asDouble"], 9_740_000_000.0);
        let value = &point["attributes"][0]["value"]["stringValue"];
        assert_eq!(value, "5d01f524-5958-9899-d858-a59fdf0c88cb");
        // Delta meters are sums with delta temporality.
        assert_eq!(metrics[3]["sum"]["aggregationTemporality"], 1);
        assert_eq!(metrics[4]["gauge"]["dataPoints"][0]["asDouble"], 183.753_906_25);
        assert!(post(&nephometer_guest::DeliveryBatch { meter: vec![], ..batch }).is_none());
    }
}
