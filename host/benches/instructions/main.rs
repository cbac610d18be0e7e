//! The work that `scripts/instructions` counts under callgrind: one function per benchmark, each with
//! 1,000 rounds. It does not measure time.
//!
//! callgrind finds the functions by their names, which begin with `count_`.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]

use std::hint::black_box;
use std::io::{self, Write as _};
use std::sync::Arc;

use nephometer_model::{
    Meter, MeterType, Moment, Release, Resource, Sample, Secret, Timestamp, Volume,
};
use nephometer_wire::{
    Head, MessageForm, Messages, Notation, Notifications, SignatureForm, Signer, as_dict,
    sample_from_json,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const ROUNDS: u32 = 1_000;
const SECRET: &str = "change this for valid signing";

/// A sample with metadata as long as Nova's.
fn sample() -> Sample {
    let metadata: Map<String, Value> = serde_json::from_value(json!({
        "display_name": "server-1", "name": "instance-00000001",
        "instance_id": "6f1b2c3d-0000-4000-8000-000000000001", "instance_type": "m1.tiny",
        "instance_host": "compute-1",
        "flavor": {"id": "1", "name": "m1.tiny", "vcpus": 1, "ram": 96, "disk": 1,
                   "ephemeral": 0, "swap": 0},
        "status": "active", "state": "running", "task_state": "", "image": null,
        "architecture": "x86_64", "os_type": "hvm", "vcpus": 1, "memory_mb": 96, "disk_gb": 1,
        "ephemeral_gb": 0, "root_gb": 1, "cpu_number": 1,
    }))
    .unwrap();
    Sample {
        id: Uuid::from_u128(1),
        meter: Arc::new(Meter::new("cpu", MeterType::Cumulative, "ns")),
        resource: Arc::new(Resource {
            id: "6f1b2c3d-0000-4000-8000-000000000001".into(),
            source: "openstack".into(),
            project_id: Some("e4b5aff3f414f53d2ce8e924fdba976b".into()),
            user_id: Some("59589899d858a59fdf0c88cbe4b5aff3".into()),
            metadata,
            ..Resource::default()
        }),
        volume: Volume::Integer(123_456_789_012),
        taken: Moment {
            wall: Timestamp::from_nanos(1_443_700_800_123_456_789),
            continuous: Some(1_443_700_800_123_456_789),
            monotonic: None,
        },
    }
}

fn signer(secret: &str) -> Signer {
    Signer::new(&Secret::new(secret), SignatureForm::Python3)
}

/// Writes metering messages. An empty secret signs nothing.
fn write_messages<'a>(secret: &str, samples: impl Iterator<Item = &'a Sample>) {
    let form = MessageForm { signer: signer(secret), release: Release::Current };
    let mut messages = Messages::new(form);
    let mut out = Vec::new();
    for sample in samples {
        out.clear();
        messages.write(&mut out, black_box(sample));
        black_box(&out);
    }
}

/// Messages of one resource without a signature.
#[inline(never)]
fn count_message(sample: &Sample) {
    write_messages("", (0..ROUNDS).map(|_| sample));
}

/// Messages of one resource.
#[inline(never)]
fn count_signed_message(sample: &Sample) {
    write_messages(SECRET, (0..ROUNDS).map(|_| sample));
}

/// Messages of a new resource each round, without a signature.
#[inline(never)]
fn count_message_of_new_resource(samples: &[Sample]) {
    write_messages("", samples.iter());
}

/// A notification with all samples, without signatures: the form of `notifier://`.
#[inline(never)]
fn count_notification(samples: &[Sample]) {
    let form = MessageForm { signer: signer(""), release: Release::Current };
    let head = Head {
        message_id: Uuid::from_u128(2),
        unique_id: Uuid::from_u128(3),
        publisher_id: "telemetry.publisher.compute-1",
        event_type: "metering",
        wrap: false,
        time: samples[0].taken.wall,
    };
    black_box(Notifications::new(form).body(&head, black_box(samples), usize::MAX));
}

/// Signatures of 1,000 bytes.
#[inline(never)]
fn count_signature(text: &[u8]) {
    let signer = signer(SECRET);
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        out.clear();
        signer.sign(&mut out, &[black_box(text)]);
        black_box(&out);
    }
}

/// JSON strings: plain text, and text with characters that are escaped.
#[inline(never)]
fn count_escape(texts: &[&str]) {
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        out.clear();
        for text in texts {
            Notation::Json.string(&mut out, black_box(text));
        }
        black_box(&out);
    }
}

/// Samples to the text of files.
#[inline(never)]
fn count_convert(sample: &Sample) {
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        out.clear();
        as_dict(&mut out, Notation::Json, Release::Current, black_box(sample));
        black_box(&out);
    }
}

/// The text of files to samples.
#[inline(never)]
fn count_read(text: &str) {
    let source = Arc::from("openstack");
    for _ in 0..ROUNDS {
        black_box(sample_from_json(black_box(text), &source).unwrap());
    }
}

/// Runs one benchmark, so that others leave no trace in its heap. Without a name, lists all.
fn main() {
    let sample = sample();
    let many = vec![sample.clone(); 1_000];
    let fresh = |_| Sample { resource: Arc::new((*sample.resource).clone()), ..sample.clone() };
    let fresh: Vec<Sample> = (0..ROUNDS).map(fresh).collect();
    let mut text = Vec::new();
    as_dict(&mut text, Notation::Json, Release::Current, &sample);
    let text = std::str::from_utf8(&text).unwrap();
    let texts = ["a plain text of the usual length", "Zähler & 計測 № 2", "a \"quoted\"\n\tline"];
    let benchmarks: [(&str, &dyn Fn()); 8] = [
        ("message", &|| count_message(&sample)),
        ("signed_message", &|| count_signed_message(&sample)),
        ("message_of_new_resource", &|| count_message_of_new_resource(&fresh)),
        ("notification", &|| count_notification(&many)),
        ("signature", &|| count_signature(&[b'x'; 1_000])),
        ("escape", &|| count_escape(&texts)),
        ("convert", &|| count_convert(&sample)),
        ("read", &|| count_read(text)),
    ];
    let wanted = std::env::args().nth(1);
    let mut out = io::stdout();
    for (name, run) in benchmarks {
        match &wanted {
            Some(wanted) if wanted == name => run(),
            Some(_) => {}
            None => writeln!(out, "{name}").unwrap(),
        }
    }
}
