//! Entry points of the fuzz targets in `host/fuzz`, which a unit test calls, too.

use std::path::Path;

use super::BrokerSpec;
use super::ceilometer::CeilometerConf;
use super::error::Report;
use super::load::parse_pipeline;
use super::url::{broker_urls, label, without_user};

/// Parses any bytes as a `pipeline.yaml`.
pub fn yaml(data: &[u8]) {
    match parse_pipeline(data, "fuzz.yaml", &BrokerSpec::default()) {
        Ok((spec, _)) => assert!(spec.sources.len() + spec.sinks.len() <= data.len()),
        Err(error) => assert!(!error.problems.is_empty()),
    }
}

/// Parses any text as a `ceilometer.conf`, and the broker URLs in it.
pub fn oslo(data: &[u8]) {
    let mut report = Report::default();
    let text = String::from_utf8_lossy(data);
    let conf = CeilometerConf::read(Path::new("fuzz.conf"), &text, &mut report);
    conf.unread(data.len().is_multiple_of(2), &mut report);
    let urls = conf.keys.iter().filter(|(path, ..)| path == &["amqp", "url"]);
    for url in urls.flat_map(|(_, values, _)| values) {
        drop(broker_urls(url, true));
    }
}

/// Uses any text as a password in a URL: no message about the URL may contain it.
pub fn url(data: &[u8]) {
    const SECRET: &str = "hunter2hunter2";
    const SCHEMES: [&str; 5] = ["rabbit://", "notifier://", "influx://", "file://", ""];
    let Some((first, password)) = data.split_first() else { return };
    let scheme = SCHEMES[usize::from(*first) % SCHEMES.len()];
    let url = format!("{scheme}user:{}{SECRET}@host", String::from_utf8_lossy(password));
    assert!(!label(&url).contains(SECRET), "{url}");
    assert!(!without_user(&url).contains(SECRET), "{url}");
    if let Err((what, remedy)) = broker_urls(&url, false) {
        assert!(!what.contains(SECRET) && !remedy.contains(SECRET), "{url}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        /// So that the targets compile and hold before `make fuzz`, which takes longer.
        #[test]
        fn targets_take_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::yaml(&data);
            super::oslo(&data);
            super::url(&data);
        }
    }
}
