//! Runs the cases in `tests/cases/agent`: libvirt data of one domain, and the expected samples. See
//! the README there.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::harness::{Agent, ndjson, root, text};

#[test]
fn cases_hold_with_the_real_binary() {
    let mut files: Vec<_> = fs::read_dir(root().join("tests/cases/agent"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let wrong: String = files.iter().filter_map(|file| case(file).err()).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

fn case(file: &Path) -> Result<(), String> {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let case: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let agent = agent(name, &case);
    let result = match case["pipeline"].as_str() {
        Some(_) => published(&agent, &case),
        None => printed(&agent, &case),
    };
    result.map_err(|reason| format!("== {name}: {}\n{reason}\n", case["title"]))
}

/// An agent that replays a recording of this one domain.
fn agent(name: &str, case: &Value) -> Agent {
    let mut agent = Agent::new(&format!("case-{name}")).set("host", "test");
    let recording = agent.folder.at("recording");
    for folder in ["xml", "domstats"] {
        fs::create_dir_all(recording.join(folder)).unwrap();
    }
    fs::write(recording.join("xml/domain.xml"), xml(case)).unwrap();
    fs::write(recording.join("domstats/1700000000.000000000.txt"), stats(case)).unwrap();
    agent = agent.libvirt(&format!("replay://{}", recording.display()));
    for (key, value) in case["settings"].as_object().unwrap_or(&Map::new()) {
        agent = agent.set(key, value.clone());
    }
    let folder = agent.folder.path().display().to_string();
    let pipeline = case["pipeline"].as_str().map(|text| text.replace("FOLDER", &folder));
    let pipeline = pipeline.unwrap_or_else(|| {
        let every = Value::from(vec!["*"]);
        let meters = case.get("meters").unwrap_or(&every);
        format!(
            "sources: [{{name: s, interval: 1, meters: {meters}, sinks: [k]}}]\n\
             sinks: [{{name: k, publishers: ['test://']}}]\n"
        )
    });
    agent.pipeline(&pipeline)
}

fn xml(case: &Value) -> String {
    let flavor = |key: &str, usual: u64| case["flavor"][key].as_u64().unwrap_or(usual);
    format!(
        "<domain type='kvm' id='1'><name>instance-00000001</name>\
         <uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid>\
         <metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>\
         <nova:name>test.dom.com</nova:name><nova:flavor name='m1.tiny' id='42'>\
         <nova:memory>{}</nova:memory><nova:disk>{}</nova:disk><nova:swap>{}</nova:swap>\
         <nova:ephemeral>{}</nova:ephemeral><nova:vcpus>{}</nova:vcpus></nova:flavor>\
         <nova:owner><nova:user uuid='u'>u</nova:user><nova:project uuid='p'>p</nova:project>\
         </nova:owner></nova:instance></metadata>\
         <memory unit='KiB'>1048576</memory><currentMemory unit='KiB'>1048576</currentMemory>\
         <vcpu current='2'>4</vcpu><os><type arch='x86_64'>hvm</type></os>\
         <devices>{}</devices></domain>\n",
        flavor("memory", 512),
        flavor("disk", 1),
        flavor("swap", 0),
        flavor("ephemeral", 0),
        flavor("vcpus", 1),
        case["devices"].as_str().unwrap_or_default(),
    )
}

fn stats(case: &Value) -> String {
    let empty = Map::new();
    let given = case["stats"].as_object().unwrap_or(&empty);
    let mut text = "Domain: 'instance-00000001'\n".to_owned();
    if !given.contains_key("state.state") {
        text.push_str("  state.state=1\n");
    }
    for (key, value) in given {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("  {key}={value}\n"));
    }
    text
}

fn printed(agent: &Agent, case: &Value) -> Result<(), String> {
    let samples = ndjson(&agent.execute(&["once", "--format", "ndjson"]).code(0).stdout);
    for (meter, count) in case["counts"].as_object().unwrap_or(&Map::new()) {
        let made = samples.iter().filter(|sample| text(sample, "name") == meter).count();
        if Some(made as u64) != count.as_u64() {
            return Err(format!("{made} samples of {meter} instead of {count}"));
        }
    }
    for expected in case["expect"].as_array().unwrap_or(&Vec::new()) {
        let of = |key: &str, sample: &Value| {
            expected.get(key).is_none_or(|expected| sample[key] == *expected)
        };
        let mut fitting =
            samples.iter().filter(|sample| of("name", sample) && of("resource_id", sample));
        let (Some(sample), None) = (fitting.next(), fitting.next()) else {
            return Err(format!("no sample, or several, for {expected} in {samples:#?}"));
        };
        for (key, value) in expected.as_object().unwrap() {
            let is = key.split('.').fold(sample, |at, key| &at[key]);
            if is != value && is.as_f64().is_none_or(|is| Some(is) != value.as_f64()) {
                return Err(format!("{key} is {is} instead of {value} in {sample}"));
            }
        }
    }
    Ok(())
}

fn published(agent: &Agent, case: &Value) -> Result<(), String> {
    let polling = case["polling"].as_str().map(|text| agent.folder.write("polling.yaml", text));
    let mut arguments = vec!["once", "--publish"];
    if let Some(polling) = &polling {
        arguments.extend(["--polling", polling.to_str().unwrap()]);
    }
    agent.execute(&arguments).code(0);
    for (file, expected) in case["files"].as_object().unwrap() {
        let samples = ndjson(&fs::read_to_string(agent.folder.at(file)).unwrap_or_default());
        let mut meters: Vec<Value> = samples.iter().map(|sample| sample["name"].clone()).collect();
        meters.sort_by_key(ToString::to_string);
        if Value::from(meters.clone()) != *expected {
            return Err(format!("{file} has {meters:?} instead of {expected}"));
        }
    }
    Ok(())
}
