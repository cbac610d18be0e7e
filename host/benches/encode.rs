//! Measures the encoding of samples as signed notifications beside the one part of it that cannot be
//! saved: HMAC-SHA256 of the signed texts. Both alternate, so that noise of a shared machine affects
//! both.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nephometer_config::{BrokerSpec, NotificationForm, NotifierSpec, Policy, Secret};
use nephometer_model::{
    HostId, Meter, MeterType, Moment, Release, Resource, Sample, Timestamp, Volume,
};
use nephometer_pipeline::publish::{Encoder, SampleOrigin};
use nephometer_wire::{MessageForm, SignatureForm, Signer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{print, results};

/// Samples of a batch: 20 envelopes.
const SAMPLES: usize = 1_000;
/// Samples of one resource in a batch. Instances, disks and interfaces have about ten.
const PER_RESOURCE: [usize; 4] = [1, 4, 10, 50];
const ROUNDS: usize = 300;

/// Metadata of 1.2 kB, 1.4 kB when escaped: Nova's with some properties of an image.
fn metadata(number: usize) -> Map<String, Value> {
    let image = "155d900f-4e14-4e4c-a73d-069cbf4541e6";
    let metadata = json!({
        "display_name": format!("server-{number}"), "name": format!("instance-{number:08x}"),
        "instance_id": format!("6f1b2c3d-0000-4000-8000-{number:012}"), "instance_type": "m1.tiny",
        "host": "13993c4171a7c73b88aad33833955c4da2de9f806ab625b4bf7d7f19",
        "instance_host": "compute-1",
        "flavor": {"id": "1", "name": "m1.tiny", "vcpus": 1, "ram": 96, "disk": 1, "ephemeral": 0,
                   "swap": 0, "extra_specs": {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "large"}},
        "status": "active", "state": "running", "task_state": "",
        "image": {"id": image, "name": "Debian 12 \"bookworm\" generic cloud", "links": [{
            "rel": "bookmark", "href": format!("http://controller:9292/images/{image}")}]},
        "image_ref": image, "image_ref_url": format!("http://controller:9292/images/{image}"),
        "image_meta": {"base_image_ref": image, "container_format": "bare", "disk_format": "qcow2",
                       "hw_disk_bus": "virtio", "hw_machine_type": "q35", "min_disk": "1",
                       "min_ram": "0", "os_distro": "debian"},
        "architecture": "x86_64", "os_type": "hvm", "vcpus": 1, "memory_mb": 96, "disk_gb": 1,
        "ephemeral_gb": 0, "root_gb": 1, "cpu_number": 1, "disk_name": "vda",
    });
    serde_json::from_value(metadata).unwrap()
}

/// Samples in the order of a polling cycle: by meter, and so of all resources in turn.
fn samples(per_resource: usize) -> Vec<Sample> {
    let meter = |at| Arc::new(Meter::new(format!("disk.device.meter{at}"), MeterType::Gauge, "B"));
    let meters: Vec<_> = (0..per_resource).map(meter).collect();
    let resource = |number| {
        Arc::new(Resource {
            id: format!("6f1b2c3d-0000-4000-8000-{number:012}-vda").into(),
            source: "openstack".into(),
            project_id: Some("e4b5aff3f414f53d2ce8e924fdba976b".into()),
            user_id: Some("59589899d858a59fdf0c88cbe4b5aff3".into()),
            metadata: metadata(number),
            ..Resource::default()
        })
    };
    let resources: Vec<_> = (0..SAMPLES / per_resource).map(resource).collect();
    let sample = |row: usize| Sample {
        id: Uuid::from_u128(0x5d01_f524_5958_5899_9858_a59f_df0c_0000 + row as u128),
        meter: Arc::clone(&meters[row / resources.len()]),
        resource: Arc::clone(&resources[row % resources.len()]),
        // Half are integers, as counters are, and half are rates.
        volume: match row % 2 {
            0 => Volume::from(9_740_000_000 + row as u64),
            _ => Volume::Float(row as f64 * 12.345_678_9),
        },
        // A slice of domains is read at once.
        taken: Moment {
            wall: Timestamp::from_nanos(1_795_381_206_324_583_000 + (row % 5) as u64 * 1_000_000),
            continuous: None,
            monotonic: Some(3_197_331_254_258 + row as u64),
        },
    };
    (0..SAMPLES).map(sample).collect()
}

fn encoder(form: &MessageForm) -> Encoder {
    let spec = NotifierSpec {
        broker: BrokerSpec::default(),
        topics: vec!["metering".to_owned()],
        per_meter_topic: false,
        policy: Policy::Default,
        max_queue_length: None,
        form: NotificationForm::Metering,
        provable: false,
    };
    let host_id = HostId(Uuid::from_u128(1));
    Encoder::notifier(&spec, &Arc::from("notifier://"), "compute-1", form.clone(), host_id)
}

/// The signed texts of the messages in a notification.
fn signed_texts(body: &[u8]) -> Vec<Vec<u8>> {
    let outer: Value = serde_json::from_slice(body).unwrap();
    let inner: Value = serde_json::from_str(outer["oslo.message"].as_str().unwrap()).unwrap();
    let text = |message: &Value| {
        let mut text = Vec::new();
        SignatureForm::Python3.walk(&mut text, "", message.as_object().unwrap());
        text
    };
    inner["payload"].as_array().unwrap().iter().map(text).collect()
}

/// The samples with resources that were never encoded.
fn renewed(samples: &[Sample]) -> Vec<Sample> {
    let mut resources = HashMap::new();
    let mut renewed = |sample: &Sample| {
        let old = &sample.resource;
        let new = resources.entry(Arc::as_ptr(old)).or_insert_with(|| Arc::new((**old).clone()));
        Sample { resource: Arc::clone(new), ..sample.clone() }
    };
    samples.iter().map(&mut renewed).collect()
}

/// Measures batches whose resources are those of the batch before, or are all new.
fn compare(per_resource: usize, new: bool) {
    let mut samples = samples(per_resource);
    let signer = Signer::new(&Secret::new("secret of the telemetry"), SignatureForm::Python3);
    let form = MessageForm { signer, release: Release::Current };
    let encoder = encoder(&form);
    let cycle_start = samples[0].taken;
    let origin =
        SampleOrigin { sink: "sink", source: "source", cycle_start, sequence: 0, removed: &[] };
    let bodies: Vec<_> =
        encoder.encode(&samples, origin).into_iter().map(|envelope| envelope.body).collect();
    let texts: Vec<Vec<u8>> = bodies.iter().flat_map(|body| signed_texts(body)).collect();
    // Other processes only add time, so the fastest round is the least wrong.
    let (mut encoding, mut signing) = (Duration::MAX, Duration::MAX);
    let mut signature = Vec::new();
    for _ in 0..ROUNDS {
        if new {
            samples = renewed(&samples);
        }
        let begun = Instant::now();
        for envelope in encoder.envelopes(black_box(&samples), origin) {
            black_box(envelope);
        }
        encoding = encoding.min(begun.elapsed());
        let begun = Instant::now();
        for text in &texts {
            signature.clear();
            form.signer.sign(&mut signature, &[black_box(text)]);
            black_box(&signature);
        }
        signing = signing.min(begun.elapsed());
    }
    let per_sample = |time: Duration| time.as_nanos() as f64 / SAMPLES as f64;
    let bytes = |total: usize| total / SAMPLES;
    let row = format!("{per_resource} a resource, {}", if new { "new" } else { "known" });
    results::record(&format!("encode/{row}/encoding"), per_sample(encoding), "ns");
    results::record(&format!("encode/{row}/HMAC-SHA256"), per_sample(signing), "ns");
    print(&format!(
        "encode/{row:<20} {:.0} ns per sample of {} bytes, HMAC-SHA256 {:.0} ns of {} bytes, ratio \
         {:.2}; {SAMPLES} samples: {:.2?}, {:.2?}\n",
        per_sample(encoding),
        bytes(bodies.iter().map(|body| body.len()).sum()),
        per_sample(signing),
        bytes(texts.iter().map(Vec::len).sum()),
        encoding.as_secs_f64() / signing.as_secs_f64(),
        encoding,
        signing,
    ));
}

pub(super) fn measure() {
    for new in [false, true] {
        for per_resource in PER_RESOURCE {
            compare(per_resource, new);
        }
    }
}
