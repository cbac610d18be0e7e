//! `mode: polling`: the pipeline of Ceilometer's polling agent.

use super::broker::BrokerSpec;
use super::check::Host;
use super::error::Report;
use super::filter::MeterFilter;
use super::location::Location;
use super::routing::{Pipeline, route};
use super::spec::{
    Mode, NotificationForm, NotifierSpec, PipelineSpec, Policy, PublisherSpec, PublisherTarget,
    Routing, SinkSpec, SourceSpec,
};
use nephometer_model::Secret;

/// The pipeline: all samples go to notification agents at these topics; without topics, nowhere.
pub(super) fn polling_mode(
    sources: &[SourceSpec],
    batch_size: usize,
    topics: &[String],
    broker: &BrokerSpec,
) -> PipelineSpec {
    const NAME: &str = "telemetry.polling";
    let notifier = NotifierSpec {
        broker: broker.clone(),
        topics: topics.to_vec(),
        per_meter_topic: false,
        policy: Policy::Default,
        max_queue_length: None,
        form: NotificationForm::Polling { batch_size },
        provable: true,
    };
    let publisher = PublisherSpec {
        url: Secret::new(format!("notifier://?topic={}", topics.join("&topic="))),
        label: NAME.into(),
        location: Location { file: "mode: polling".into(), line: 0, column: 0 },
        target: PublisherTarget::Notifier(notifier),
    };
    let publishers = if topics.is_empty() { Vec::new() } else { vec![publisher] };
    let sinks = vec![SinkSpec { name: NAME.into(), transformers: Vec::new(), publishers }];
    let everything =
        Pipeline { name: NAME.into(), meters: MeterFilter::default(), sinks: vec![NAME.into()] };
    PipelineSpec { sources: route(sources, &[everything], &sinks, Routing::Name), sinks }
}

/// Reports an agent whose samples go nowhere.
pub(super) fn check(host: &Host, report: &mut Report) {
    let silent = matches!(host.mode, Mode::Polling { notifications: false, .. });
    if silent && host.prometheus.listen.addresses.is_empty() {
        let what = "no sample leaves this agent: notifications are off, and nothing is scraped";
        let remedy = "set prometheus.listen, or [polling] enable_prometheus_exporter";
        report.fault(&host.notifications_location, what, remedy);
    }
}
