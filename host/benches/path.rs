//! Measures the path from a poll of simulated domains through `rate_of_change` to signed envelopes.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use nephometer_config::{Inputs, Origin, PublisherTarget, SinkSpec};
use nephometer_libvirt::hypervisor;
use nephometer_libvirt::poll::{Discovery, PollContext, PollCounts, PollTask};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::HostId;
use nephometer_pipeline::publish::{self, Encoder};
use nephometer_pipeline::transform::{Chain, ComponentTransformer, JournaledBatch, Transformer};
use nephometer_telemetry::TransformerCount;
use nephometer_wasm::ComponentHost;
use nephometer_wire::{MessageForm, Signer};
use uuid::Uuid;

use super::{SCALE, cache, components, runtime};

const DOMAINS: [u64; 3] = [1, 100, 1_000];

/// A pipeline that transforms and publishes every meter.
fn pipeline() -> String {
    format!(
        "sources: [{{name: all, interval: 600, meters: ['*'], sinks: [rates]}}]\n\
         sinks:\n- name: rates\n  transformers:\n  - name: rate_of_change\n    parameters: \
         {{target: {{type: gauge, scale: \"{SCALE}\"}}}}\n  publishers: ['notifier://']\n"
    )
}

/// The parts of an agent that use the processor.
struct SamplePath {
    poll: PollTask,
    chain: Chain,
    encoder: Encoder,
}

impl SamplePath {
    async fn build(host: &ComponentHost, domains: u64) -> Self {
        let text = Origin::Text { name: "bench".into(), text: pipeline() };
        let nothing = Origin::Text { name: "bench".into(), text: String::new() };
        let inputs = Inputs {
            config: nothing,
            pipeline: text,
            libvirt: Some(format!("sim://?domains={domains}&seed=1")),
            ..Inputs::default()
        };
        let spec = nephometer_config::load(&inputs).unwrap().spec;
        let host_id = HostId(Uuid::from_u128(1));
        let libvirt = &spec.libvirt;
        let context = PollContext {
            hypervisor: hypervisor::open(&libvirt.uri, libvirt, Clock::start()).unwrap(),
            host: "compute-1".into(),
            sample_source: "openstack".into(),
            unowned: true,
            metering: spec.metering,
            discovery: Discovery::default(),
            phase: 0.0,
            parallel: libvirt.parallel,
            fail_fast: true,
            read_lock: Arc::default(),
            last_polled: Arc::default(),
            host_id,
            counts: PollCounts::default(),
        };
        let sources = &spec.pipeline.sources;
        let sink: &SinkSpec = &spec.pipeline.sinks[0];
        let transformer =
            ComponentTransformer::create(host, &sink.transformers[0], "bench/0").await.unwrap();
        let transformers: Vec<(Box<dyn Transformer>, _)> =
            vec![(Box::new(transformer), Arc::new(TransformerCount::default()))];
        let publisher = &sink.publishers[0];
        let PublisherTarget::Notifier(notifier) = &publisher.target else { unreachable!() };
        let messages = MessageForm {
            signer: Signer::new(&spec.message.telemetry_secret, spec.message.signature),
            release: spec.metering.release,
        };
        Self {
            poll: PollTask::new(context, Duration::from_secs(600), sources),
            chain: Chain::new(&sink.name, host_id, transformers),
            encoder: Encoder::notifier(notifier, &publisher.label, "compute-1", messages, host_id),
        }
    }

    /// Runs one polling cycle and returns the bytes of its envelopes.
    async fn run_cycle(&mut self) -> usize {
        let mut bytes = 0;
        for polled in self.poll.cycle().await.unwrap().unwrap() {
            let batch = polled.batch;
            for samples in self
                .chain
                .process(JournaledBatch::new(self.chain.offset() + 1, &batch, &[]))
                .await
                .unwrap()
            {
                let (source, cycle_start) = (&*batch.source, batch.cycle_start);
                let origin = publish::SampleOrigin {
                    sink: "rates",
                    source,
                    cycle_start,
                    sequence: 0,
                    removed: &[],
                };
                let envelopes = self.encoder.encode(&samples, origin);
                bytes += envelopes.iter().map(|envelope| envelope.body.len()).sum::<usize>();
            }
        }
        bytes
    }
}

pub(super) fn benches(criterion: &mut Criterion) {
    let runtime = runtime();
    let host = ComponentHost::start(&components(), &cache()).unwrap();
    let mut group = criterion.benchmark_group("poll_to_envelope");
    for domains in DOMAINS {
        group.throughput(Throughput::Elements(domains));
        group.bench_function(BenchmarkId::new("domains", domains), |bencher| {
            let mut path = runtime.block_on(SamplePath::build(&host, domains));
            // The first cycle has no rates.
            assert!(
                runtime.block_on(async { path.run_cycle().await + path.run_cycle().await }) > 0
            );
            bencher.iter(|| runtime.block_on(path.run_cycle()));
        });
    }
    group.finish();
}
