//! The last python-ceilometerclient, unmodified: every read command, and those that post.

use std::process::Command;

use super::api::{Served, served};
use crate::harness::{Collector, root};

fn client(address: &str, arguments: &[&str]) -> (bool, String) {
    let program = root().join("target/tools/ceilometerclient/bin/ceilometer");
    let program = program.canonicalize().unwrap_or_else(|_| {
        panic!("{} does not exist; install it with: scripts/ceilometerclient", program.display())
    });
    let output = Command::new(program)
        .args(["--os-endpoint", &format!("http://{address}"), "--os-token", "t"])
        .args(arguments)
        .env("PYTHONWARNINGS", "ignore")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

const SAMPLE: &str = "3a5f2c1e-6821-41e5-9d70-000000000001";
const FILTER: &str = r#"{"and": [{"=": {"meter": "cpu_util"}}, {">": {"volume": 3}}]}"#;
const LIST: &str = r#"[{"counter_name":"foo","counter_type":"gauge","counter_unit":"B","counter_volume":1,"resource_id":"r1","project_id":"p","user_id":"u"}]"#;

/// Commands, and parts of what they print. Words in braces are replaced.
const CASES: &[(&[&str], &[&str])] = &[
    (&["meter-list"], &["| cpu_util | gauge | %    | r1 ", "inst-1-tap/with space"]),
    (&["meter-list", "-l", "5", "--unique", "True", "-q", "project=p1;resource=r1"], &["cpu_util"]),
    (&["sample-list"], &[SAMPLE, "| 1.5 ", "{time}"]),
    (&["sample-list", "-l", "1", "-q", "resource_id=r1;meter=cpu_util"], &["| 2.5 "]),
    (&["sample-list", "-m", "cpu_util"], &["| 3.5 "]),
    (&["sample-list", "-m", "cpu_util", "-l", "10", "-q", "{between}"], &["| 2.5 "]),
    (&["statistics", "-m", "cpu_util"], &["| 3.5 ", "| 2.5 | 7.5 | 3 ", "| 1200.0 "]),
    (
        &["statistics", "-m", "cpu_util", "-p", "600", "-g", "resource_id", "-a", "avg"],
        &["{'resource_id': 'r1'}", "| Avg |"],
    ),
    (
        &[
            "statistics",
            "-m",
            "cpu_util",
            "-p",
            "3600",
            "-g",
            "resource_id",
            "-g",
            "project_id",
            "-a",
            "avg",
            "-a",
            "max",
            "-a",
            "cardinality<-resource_id",
            "-q",
            "{from}",
        ],
        &["cardinality/resource_id", "| 1.0 "],
    ),
    (&["resource-list"], &["| r1 ", "| openstack | u1      | p2 "]),
    (&["resource-list", "-l", "2", "-q", "project=p1;metadata.display_name=r1"], &["| r1 "]),
    (&["resource-show", "r1"], &["| project_id  | p1 ", "\"flavor.id\": \"1\""]),
    (&["resource-show", "inst-1-tap/with space"], &["| project_id  | p2 "]),
    (&["sample-show", SAMPLE], &["| volume      | 1.5 ", "| meter       | cpu_util ", "{time}"]),
    (&["query-samples"], &[SAMPLE]),
    (
        &[
            "query-samples",
            "--filter",
            FILTER,
            "--orderby",
            r#"[{"timestamp": "desc"}]"#,
            "--limit",
            "7",
        ],
        &["| 3.5 "],
    ),
    (&["capabilities"], &["\"statistics:aggregation:selectable:cardinality\": true"]),
    (
        &[
            "sample-create",
            "-r",
            "r1",
            "-m",
            "foo",
            "--meter-type",
            "gauge",
            "--meter-unit",
            "B",
            "--sample-volume",
            "3",
            "--resource-metadata",
            r#"{"a":"b"}"#,
            "--timestamp",
            "{time}",
        ],
        &["| volume            | 3.0 ", "{\"a\": \"b\"}", "None:openstack"],
    ),
    (&["sample-create-list", LIST, "--direct", "True"], &["| r1          | foo  | gauge | 1.0 "]),
];

#[test]
fn the_client_of_ceilometer_runs_unmodified() {
    let Served { collector: _collector, running, address, date } =
        served(Collector::new("collector-client"));
    let time = format!("{date}T10:00:00");
    let between = format!(
        "timestamp>{time};timestamp<={date}T11:00:00;resource_id=r1;\
        metadata.display_name=r1"
    );
    // The client cannot sort two groups of one period: it compares dictionaries.
    let from = format!("timestamp>={date}T00:00:00;resource_id=r1");
    let filled = |word: &&str| match *word {
        "{time}" => time.clone(),
        "{between}" => between.clone(),
        "{from}" => from.clone(),
        word => word.to_owned(),
    };
    for (arguments, expected) in CASES {
        let arguments: Vec<String> = arguments.iter().map(filled).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (worked, text) = client(&address, &words);
        assert!(worked, "{arguments:?}: {text}");
        for part in expected.iter().map(filled) {
            assert!(text.contains(&part), "{arguments:?} prints no {part:?}:\n{text}");
        }
    }
    for (arguments, expected) in [
        (
            &["sample-list", "-m", "x", "-q", "project_id!=p9"][..],
            "unimplemented operator for project_id",
        ),
        (&["event-list"], "404"),
        (&["alarm-list"], "410"),
        (&["resource-show", "nosuch"], "nosuch"),
    ] {
        let (worked, text) = client(&address, arguments);
        assert!(!worked && text.contains(expected), "{arguments:?}: {text}");
    }
    running.stop().code(0);
}
