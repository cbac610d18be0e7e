//! `http` and `https`: publishes samples as JSON over HTTP.
//!
//! `http://HOST[:PORT]/PATH?options` posts the samples of each envelope as one list, or one by one,
//! like Ceilometer's publisher of that name. The README describes the options.

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, settings,
};
use posting::{Outbox, Post, Receiver};

/// The configured publisher.
#[derive(Debug)]
pub struct Http {
    receiver: Receiver,
    outbox: Outbox,
}

impl Http {
    /// The requests for an envelope: one with a list of all samples, or one per sample.
    pub fn posts(batch: bool, texts: &[String]) -> Vec<Post> {
        if texts.is_empty() {
            return Vec::new();
        }
        if batch {
            vec![Post::new(format!("[{}]", texts.join(", ")))]
        } else {
            texts.iter().cloned().map(Post::new).collect()
        }
    }
}

impl Publisher for Http {
    fn describe() -> Description {
        Description {
            name: "http".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples as JSON over HTTP".to_owned(),
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
        let posts = Self::posts(self.receiver.batch, &delivery.texts);
        let what = ("application/json", posts.as_slice());
        self.outbox.deliver(&self.receiver, &delivery.id, what, |_| Ok(()))
    }
}

nephometer_guest_http::export_http_publisher!(Http);

#[cfg(test)]
mod tests {
    use super::*;
    use posting::golden;
    use serde_json::json;

    #[test]
    fn requests_equal_those_of_ceilometer() {
        let (_, texts) = golden::samples();
        let host = json!({"scheme": "http", "host": "127.0.0.1", "port": 8000, "path": "/metrics"});
        for (url, batch, more) in [
            ("http://127.0.0.1:8000/metrics?foo=bar", true, json!({"foo": ["bar"]})),
            ("http://127.0.0.1:8000/metrics?batch=False", false, json!({"batch": ["False"]})),
        ] {
            let mut options = host.clone();
            options["query"] = more;
            let receiver = Receiver::read(&options, &[]).expect("good options");
            assert_eq!(receiver.batch, batch);
            let posts = Http::posts(receiver.batch, &texts);
            let sent =
                posts.iter().map(|post| (receiver.path_with_query(&post.below), post.text()));
            let received = golden::received(url);
            let received: Vec<_> =
                received.iter().map(|one| (one.path.clone(), one.body.as_str())).collect();
            assert_eq!(sent.collect::<Vec<_>>(), received);
        }
    }

    #[test]
    fn samples_are_sent_as_one_list_or_one_by_one() {
        let texts = ["{\"a\": 1}".to_owned(), "{\"b\": 2}".to_owned()];
        let bodies = |batch| {
            let posts = Http::posts(batch, &texts);
            posts.iter().map(|post| post.text().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(bodies(true), ["[{\"a\": 1}, {\"b\": 2}]"]);
        assert_eq!(bodies(false), texts);
        assert!(Http::posts(true, &[]).is_empty());
    }
}
