//! `opentelemetryhttp`: publishes samples as OTLP over HTTP.
//!
//! `opentelemetryhttp://HOST[:PORT]/v1/metrics?options` posts the samples of each envelope as OTLP
//! or, with `upstream=true`, in the form of Ceilometer's publisher of that name. The README
//! describes the options.

mod binary;
mod json;
mod otlp;
mod response;
mod upstream;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, UrlOptions,
    settings,
};
use posting::{Outbox, Receiver};

pub use otlp::Encoding;
pub use response::accepted;
pub use upstream::posts;

/// The configured publisher.
#[derive(Debug)]
pub struct OpenTelemetryHttp {
    receiver: Receiver,
    outbox: Outbox,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Otlp(Encoding),
    /// That of Ceilometer's publisher.
    Upstream,
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
        let form = form(&UrlOptions::new(options, &errors));
        let receiver = Receiver::read(options, &["upstream", "encoding"]);
        let mut errors = errors.take();
        let receiver = match receiver {
            Ok(receiver) if errors.is_empty() => receiver,
            Ok(_) => return Err(errors),
            Err(others) => {
                errors.extend(others);
                return Err(errors);
            }
        };
        let publisher = Self { receiver, outbox: Outbox::default(), form };
        let texts = if form == Form::Upstream { TextForm::Samples } else { TextForm::None };
        Ok((publisher, Settings { texts, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let (posts, encoding) = match self.form {
            Form::Upstream => (posts(&delivery.input, &delivery.texts)?, Encoding::Json),
            Form::Otlp(encoding) => {
                (encoding.post(&delivery.input).into_iter().collect(), encoding)
            }
        };
        let what = (encoding.content_type(), posts.as_slice());
        self.outbox
            .deliver(&self.receiver, &delivery.id, what, |response| accepted(encoding, response))
    }
}

fn form(read: &UrlOptions<'_>) -> Form {
    let upstream = read.flag("upstream").unwrap_or(false);
    let encoding = match read.text("encoding") {
        None | Some("protobuf") => Encoding::Protobuf,
        Some("json") => Encoding::Json,
        Some(other) => {
            read.refuse("encoding", format!("is {other:?}; expected protobuf or json"));
            Encoding::Protobuf
        }
    };
    if upstream && read.text("encoding").is_some_and(|text| text == "protobuf") {
        read.refuse("encoding", "the form of Ceilometer's publisher is JSON; leave this out");
    }
    if upstream { Form::Upstream } else { Form::Otlp(encoding) }
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
            posts(&batch, &texts).unwrap().iter().map(|post| parsed(post.text())).collect();
        let received = golden::received("opentelemetryhttp://");
        let received: Vec<_> = received.iter().map(|one| parsed(&one.body)).collect();
        assert_eq!(sent, received);
    }

    #[test]
    fn an_envelope_is_one_otlp_request() {
        let (batch, _) = golden::samples();
        let post = Encoding::Json.post(&batch).expect("samples");
        let request: Value = serde_json::from_slice(&post.body).expect("JSON");
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
        let nothing = nephometer_guest::DeliveryBatch { meter: vec![], ..batch };
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            assert!(encoding.post(&nothing).is_none());
        }
    }

    // A double cannot hold it.
    #[test]
    fn large_integers_keep_their_last_digits() {
        let (mut batch, _) = golden::samples();
        let value = 9_007_199_254_740_993;
        batch.exact = vec![nephometer_guest::ExactInteger { row: 0, value }];
        let json = Encoding::Json.post(&batch).expect("samples");
        assert!(json.text().contains("\"asInt\":\"9007199254740993\""), "{}", json.text());
        let bytes = Encoding::Protobuf.post(&batch).expect("samples").body;
        let field = [&[6 << 3 | 1][..], &value.to_le_bytes()].concat();
        assert!(bytes.windows(9).any(|window| window == field));
    }

    #[test]
    fn the_encoding_is_an_option() {
        let form = |query: Value| {
            let options = serde_json::json!({
                "scheme": "opentelemetryhttp", "host": "h", "path": "/v1/metrics", "query": query,
            });
            let configured = OpenTelemetryHttp::configure(&options);
            configured
                .map(|(publisher, _)| publisher.form)
                .map_err(|errors| errors[0].pointer.clone())
        };
        let json = serde_json::json!({"encoding": ["json"]});
        assert_eq!(form(serde_json::json!({})), Ok(Form::Otlp(Encoding::Protobuf)));
        assert_eq!(form(json), Ok(Form::Otlp(Encoding::Json)));
        assert_eq!(form(serde_json::json!({"upstream": ["true"]})), Ok(Form::Upstream));
        let pointer = Err("/query/encoding".to_owned());
        assert_eq!(form(serde_json::json!({"encoding": ["xml"]})), pointer);
        let both = serde_json::json!({"upstream": ["true"], "encoding": ["protobuf"]});
        assert_eq!(form(both), pointer);
    }
}
