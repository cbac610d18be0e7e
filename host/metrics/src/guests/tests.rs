use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use nephometer_model::{Meter, MeterType, Moment, Resource, Timestamp, Volume};

fn metadata(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn sample(meter: Meter, id: &str, volume: Volume, (ms, more): (u64, Value)) -> Sample {
    let mut all = metadata(json!({
        "display_name": format!("web {}", &id[..2]), "name": "instance-1", "instance_id": &id[..2],
        "host": "4d0b", "flavor": {"id": "42", "name": "m1.tiny"},
    }));
    all.extend(metadata(more));
    let resource = Resource {
        id: id.into(),
        source: "openstack".into(),
        project_id: Some("p1".into()),
        user_id: Some("u1".into()),
        metadata: all,
        ..Resource::default()
    };
    let taken = Moment { wall: Timestamp::from_nanos(ms * 1_000_000), ..Moment::default() };
    Sample { id: Uuid::nil(), meter: Arc::new(meter), resource: Arc::new(resource), volume, taken }
}

fn cpu(id: &str, nanos: u64, ms: u64) -> Sample {
    sample(Meter::new("cpu", MeterType::Cumulative, "ns"), id, nanos.into(), (ms, json!({})))
}

fn state(id: &str, volume: u64, more: Value) -> Sample {
    sample(Meter::new("power.state", MeterType::Gauge, ""), id, volume.into(), (9000, more))
}

fn polled(source: &str, whole: bool, samples: Vec<Sample>) -> Polled {
    let (cycle_start, removed) = (Moment::default(), Vec::new());
    let batch = Batch { source: source.into(), cycle_start, samples, removed };
    Polled { batch: Arc::new(batch), whole, gaps: Vec::new() }
}

fn text(meters: &GuestMeters, format: TextFormat) -> String {
    String::from_utf8(meters.exposition(format).to_vec()).unwrap()
}

/// The lines of series, without those of `left_out`.
fn series(meters: &GuestMeters) -> Vec<String> {
    let text = text(meters, TextFormat::Prometheus);
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("left_out"));
    lines.map(str::to_owned).collect()
}

/// Written by `collect_metrics` of Ceilometer 27.0.0 for the same sample.
#[test]
fn series_are_those_of_ceilometers_exporter() {
    let meters = GuestMeters::new(Form::Ceilometer);
    let read = Meter::new("disk.device.read.bytes", MeterType::Cumulative, "B");
    let more = json!({"user_metadata": {"server_group": "g\"1"}});
    let samples =
        vec![cpu("a1", 33_000_000_000, 5), sample(read, "a1-vda", 1_000_000_u64.into(), (5, more))];
    meters.offer(&polled("s", true, samples));
    assert_eq!(
        text(&meters, TextFormat::Prometheus),
        "# HELP ceilometer_cpu \n# TYPE ceilometer_cpu gauge\n\
         ceilometer_cpu{counter=\"cpu\",cpu=\"a1\",flavor_id=\"42\",flavor_name=\"m1.tiny\",project=\"p1\",\
         publisher=\"ceilometer\",resource=\"a1\",resource_name=\"web a1:instance-1\",server_group=\"none\",\
         type=\"cpu\",unit=\"ns\",user=\"u1\",vm_instance=\"4d0b\"} 3.3e+10\n\
         # HELP ceilometer_disk_device_read_bytes \n# TYPE ceilometer_disk_device_read_bytes gauge\n\
         ceilometer_disk_device_read_bytes{counter=\"disk.device.read.bytes\",disk=\"read\",flavor_id=\"42\",\
         flavor_name=\"m1.tiny\",project=\"p1\",publisher=\"ceilometer\",resource=\"a1-vda\",\
         resource_name=\"web a1:instance-1\",server_group=\"g\\\"1\",type=\"device\",unit=\"B\",user=\"u1\",\
         vm_instance=\"4d0b\"} 1e+06\n"
    );
}

/// The progress of a migration has series while it lasts, and none afterwards.
#[test]
fn native_series_of_a_migration_end_with_it() {
    let meters = GuestMeters::new(Form::Native);
    let of = |name: &str, unit, volume: u64| {
        let meter = Meter::new(format!("libvirt.job.{name}"), MeterType::Gauge, unit);
        sample(meter, "a1", volume.into(), (1_500, json!({})))
    };
    let samples = vec![
        of("data_remaining", "B", 5),
        of("downtime", "ms", 310),
        of("memory_bps", "B/s", 7),
        of("memory_dirty_rate", "page/s", 5_120),
        of("memory_iteration", "", 4),
    ];
    meters.offer(&polled("s", true, samples));
    let found: Vec<String> = series(&meters)
        .iter()
        .map(|line| {
            format!("{} {}", line.split('{').next().unwrap(), line.split(' ').nth_back(1).unwrap())
        })
        .collect();
    assert_eq!(
        found,
        [
            "nephometer_guest_libvirt_job_data_remaining_bytes 5",
            "nephometer_guest_libvirt_job_downtime_seconds 0.31",
            "nephometer_guest_libvirt_job_memory_bps_bytes_per_second 7",
            "nephometer_guest_libvirt_job_memory_dirty_rate 5120",
            "nephometer_guest_libvirt_job_memory_iteration 4",
        ]
    );
    meters.offer(&polled("s", true, Vec::new()));
    assert!(series(&meters).is_empty());
}

#[test]
fn native_series_have_counters_base_units_times_and_labels() {
    let meters = GuestMeters::new(Form::Native);
    let meter = |name, kind, unit| Meter::new(name, kind, unit);
    let of = |meter, volume, more| sample(meter, "a1", volume, (1_500, more));
    let user =
        json!({"user_metadata": {"auto.scale": "X", "n": 3, "none": null, "auto-scale": "Y"}});
    let samples = vec![
        of(meter("cpu", MeterType::Cumulative, "ns"), 1_500_000_001_u64.into(), json!({})),
        of(meter("memory.usage", MeterType::Gauge, "MiB"), Volume::Float(0.5), user),
        of(
            meter("disk.device.read.bytes", MeterType::Cumulative, "B"),
            7_u64.into(),
            json!({"disk_name": "vda"}),
        ),
        of(
            meter("network.incoming.bytes.delta", MeterType::Delta, "B"),
            8_u64.into(),
            json!({"mac": "fa:16", "name": "tap1"}),
        ),
    ];
    meters.offer(&polled("s", true, samples));
    let owner = "project=\"p1\",resource=\"a1\",user=\"u1\",vm=\"a1\",vm_name=\"web a1\"";
    let flavor = "flavor=\"m1.tiny\"";
    assert_eq!(
        text(&meters, TextFormat::OpenMetrics),
        format!(
            "# HELP nephometer_guest_cpu_seconds The meter cpu, there in ns.\n\
             # TYPE nephometer_guest_cpu_seconds counter\n# UNIT nephometer_guest_cpu_seconds seconds\n\
             nephometer_guest_cpu_seconds_total{{{flavor},{owner}}} 1.500000001 1.500\n\
             # HELP nephometer_guest_disk_device_read_bytes The meter disk.device.read.bytes, there in B.\n\
             # TYPE nephometer_guest_disk_device_read_bytes counter\n\
             # UNIT nephometer_guest_disk_device_read_bytes bytes\n\
             nephometer_guest_disk_device_read_bytes_total{{device=\"vda\",{flavor},{owner}}} 7 1.500\n\
             # HELP nephometer_guest_memory_usage_bytes The meter memory.usage, there in MiB.\n\
             # TYPE nephometer_guest_memory_usage_bytes gauge\n\
             # UNIT nephometer_guest_memory_usage_bytes bytes\n\
             nephometer_guest_memory_usage_bytes{{{flavor},metering_auto_scale=\"Y\",metering_n=\"3\",{owner}}} 524288 1.500\n\
             # HELP nephometer_guest_network_incoming_bytes_delta The meter network.incoming.bytes.delta, there in B.\n\
             # TYPE nephometer_guest_network_incoming_bytes_delta gauge\n\
             nephometer_guest_network_incoming_bytes_delta{{device=\"tap1\",{flavor},{owner}}} 8 1.500\n\
             # HELP nephometer_guest_series_left_out Series beyond the bound scrape_series, which this exposition lacks.\n\
             # TYPE nephometer_guest_series_left_out gauge\nnephometer_guest_series_left_out 0\n# EOF\n"
        )
    );
}

// The real exporter deletes the series of a meter before each poll: a scrape in between lacks them.
#[test]
fn series_stay_until_the_next_cycle_and_end_with_their_instance() {
    let meters = GuestMeters::new(Form::Native);
    meters.offer(&polled(
        "s",
        true,
        vec![cpu("a1", 1, 1), cpu("b2", 1, 1), state("a1", 1, json!({}))],
    ));
    meters.offer(&polled("other", true, vec![cpu("a1", 1, 1)]));
    assert_eq!(series(&meters).len(), 3, "one series of two sources is one");
    // A start between two cycles adds, and leaves the others.
    meters.offer(&polled("s", false, vec![cpu("c3", 5, 2), cpu("b2", 7, 2)]));
    let now = series(&meters);
    assert_eq!(now.len(), 4);
    assert!(
        now.iter().any(|line| line.contains("b2") && line.ends_with(" 0.000000007 2")),
        "{now:?}"
    );
    // A stop ends all series of the instance but its state.
    let boundary = json!({"boundary": {"event": "stopped", "reason": "shutdown"}});
    meters.offer(&polled("s", false, vec![state("a1", 5, boundary)]));
    meters.offer(&polled("other", true, Vec::new()));
    let now = series(&meters);
    let of_a1: Vec<_> = now.iter().filter(|line| line.contains("a1")).collect();
    assert_eq!(of_a1.len(), 1, "{now:?}");
    assert!(of_a1[0].starts_with("nephometer_guest_power_state") && of_a1[0].ends_with(" 5 9000"));
    // A cycle replaces everything: a domain that could not be read has no series.
    meters.offer(&polled("s", true, vec![cpu("b2", 9, 3)]));
    assert_eq!(series(&meters).len(), 1);
    // The later value counts, whichever source it is from.
    meters.offer(&polled("zz", true, vec![cpu("b2", 8, 2)]));
    assert!(series(&meters)[0].ends_with(" 0.000000009 3"));
    let sources: [Arc<str>; 1] = ["zz".into()];
    meters.retain(sources.iter());
    assert!(series(&meters)[0].ends_with(" 0.000000008 2"));
}

#[test]
fn what_nobody_scrapes_is_bounded() {
    let meters = GuestMeters::new(Form::Ceilometer);
    for _ in 0..Bound::ScrapePending.size() * 2 {
        meters.offer(&polled("s", false, vec![cpu("a1", 1, 1)]));
    }
    assert_eq!(lock(&meters.offered).batches.len(), Bound::ScrapePending.size());
    meters.offer(&polled("s", true, vec![cpu("b2", 1, 1)]));
    assert_eq!(lock(&meters.offered).batches.len(), 1);
    assert_eq!(series(&meters).len(), 1);
}

#[test]
fn series_beyond_the_bound_are_left_out_and_counted() {
    let most = Bound::ScrapeSeries.size();
    let one = cpu("a1", 1, 1);
    let with_id = |number: usize| {
        let resource = Resource { id: format!("{number}").into(), ..Resource::default() };
        Sample { resource: Arc::new(resource), ..one.clone() }
    };
    let meters = GuestMeters::new(Form::Ceilometer);
    meters.offer(&polled("s", true, (0..most + 3).map(with_id).collect()));
    let text = text(&meters, TextFormat::Prometheus);
    assert_eq!(text.lines().filter(|line| line.starts_with("ceilometer_cpu{")).count(), most);
    assert!(text.ends_with("\nnephometer_guest_series_left_out 3\n"));
}

/// The numbers of libvirt's own documentation: a disk with bins from 0 to 100 ms.
#[test]
fn bins_of_libvirt_are_a_histogram() {
    let bin = |number: &str, index: usize, value: u64| {
        let part = format!("latency_histogram.read.bin.{index}");
        let kind = if number == "start" { MeterType::Gauge } else { MeterType::Cumulative };
        let meter =
            Meter::new(format!("libvirt.block.latency_histogram.read.bin.{number}"), kind, "");
        let more = json!({"disk_name": "vda", "part": part});
        sample(meter, &format!("a1-vda-{part}"), value.into(), (1, more))
    };
    let bins = [(0, 0), (10_000, 3), (1_000_000, 1047), (10_000_000, 2131), (100_000_000, 5)];
    let mut samples = Vec::new();
    for (index, (start, value)) in bins.into_iter().enumerate() {
        samples.push(bin("start", index, start));
        samples.push(bin("value", index, value));
    }
    let meters = GuestMeters::new(Form::Native);
    meters.offer(&polled("s", true, samples.clone()));
    let labels = "device=\"vda\",flavor=\"m1.tiny\",operation=\"read\",project=\"p1\",resource=\"a1-vda\",\
                  user=\"u1\",vm=\"a1\",vm_name=\"web a1\"";
    let name = "nephometer_guest_block_latency_seconds";
    let expected: String =
        [("1e-05", 0), ("0.001", 3), ("0.01", 1050), ("0.1", 3181), ("+Inf", 3186)]
            .iter()
            .map(|(bound, count)| format!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}\n"))
            .collect();
    let written = text(&meters, TextFormat::OpenMetrics);
    assert!(written.contains(&format!("{expected}{name}_count{{{labels}}} 3186\n")), "{written}");
    assert!(!written.contains("libvirt_block_latency"), "{written}");
    // A bin without a number is no histogram.
    samples.pop();
    meters.offer(&polled("s", true, samples));
    assert!(!text(&meters, TextFormat::OpenMetrics).contains("_bucket"));
}

proptest! {
    /// Tenants choose names and metadata. Whatever they write, each series is one line with balanced
    /// quotes, and label names are valid and unique.
    #[test]
    fn hostile_texts_stay_in_their_labels(
        name in "\\PC*|[\\x00-\\x20\"\\\\{}=,]*", key in "\\PC*|[\\x00-\\x20\"\\\\{}=,]*",
        native in any::<bool>(),
    ) {
        let form = if native { Form::Native } else { Form::Ceilometer };
        let meters = GuestMeters::new(form);
        let more = json!({"display_name": name, "user_metadata": {&key: &name, "server_group": &name}});
        let meter = Meter::new("cpu", MeterType::Cumulative, "ns");
        meters.offer(&polled("s", true, vec![sample(meter, "a1", 1_u64.into(), (1, more))]));
        let series = text(&meters, TextFormat::Prometheus);
        let line = series.split('\n').find(|line| line.contains("cpu") && !line.starts_with('#'));
        let line = line.unwrap();
        let mut rest = &line[line.find('{').unwrap() + 1..];
        let mut names = HashSet::new();
        loop {
            let (label, value) = rest.split_once("=\"").unwrap();
            prop_assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{label}");
            prop_assert!(names.insert(label.to_owned()), "{label} twice");
            let mut escaped = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            }).unwrap();
            prop_assert!(end <= Bound::ScrapeLabel.size() * 2);
            match value[end + 1..].strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    prop_assert!(value[end + 1..].starts_with("} "), "{line}");
                    break;
                }
            }
        }
        let lines = series.split('\n').filter(|line| line.contains("cpu")).count();
        prop_assert_eq!(lines, 3);
    }
}
