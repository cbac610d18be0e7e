//! `gnocchi`: publishes samples to Gnocchi, as Ceilometer's publisher of that name does.
//!
//! `gnocchi://[HOST[:PORT]]?archive_policy=NAME&filter_project=NAME` posts the measures of each
//! envelope at once, creates the resources that Gnocchi does not know, and updates those whose
//! attributes changed. The README describes the options, and how the component logs in.

mod definitions;
mod delivery;
mod keystone;
mod measures;
mod options;
mod ordered;
mod reported;
mod service;
mod session;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, settings,
};
use nephometer_guest_http::{Request, send};
use posting::CallTime;

pub use definitions::{ARCHIVE_POLICIES, Definitions};
pub use delivery::Worker;
pub use measures::Measures;
pub use options::Options;
pub use session::{Call, Session};

/// Responses are cut after this many bytes: the catalog of a large cloud, or the list of all
/// resources of an envelope, is smaller.
const READ_AT_MOST: usize = 512 * 1024;

/// The configured publisher.
#[derive(Debug)]
pub struct Gnocchi {
    worker: Worker,
}

impl Publisher for Gnocchi {
    fn describe() -> Description {
        Description {
            name: "gnocchi".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "publishes samples to Gnocchi".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let worker = Worker::new(Options::read(options)?);
        let metadata = Definitions::metadata();
        Ok((Self { worker }, Settings { metadata, texts: TextForm::Samples, ..settings() }))
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let timeout = self.worker.timeout();
        let time = CallTime::start(timeout);
        let mut exchange = |call: &Call<'_>| {
            let headers: Vec<(&str, &str)> =
                call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            send(&Request {
                method: call.method,
                tls: call.service.tls,
                authority: &call.service.authority,
                path_with_query: &call.path,
                headers: &headers,
                body: &call.body,
                timeout,
                read_at_most: READ_AT_MOST,
            })
        };
        self.worker.deliver(&delivery, &mut exchange, &|| time.is_enough())
    }
}

nephometer_guest_http::export_http_publisher!(Gnocchi);
