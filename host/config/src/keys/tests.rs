//! The table of keys against the checks: every key is read, every default is the one that the checks
//! use, and the schemas accept what the checks accept.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{ConfigFile, ConfigKey, FILES, KeyDefault, ValueShape, each_key, schema};
use crate::raw::json_of;
use crate::{Inputs, Loaded, Origin, load, load_collector, load_host, settings};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator(name: &str) -> Validator {
    let schema = schema(FILES.iter().find(|file| file.name == name).unwrap());
    jsonschema::draft202012::new(&schema).unwrap()
}

fn text(name: &str, text: &str) -> Origin {
    Origin::Text { name: name.to_owned(), text: text.to_owned() }
}

fn inputs(settings: &str) -> Inputs {
    let config = text("nephometer.yaml", settings);
    Inputs { config, hostname: "h".to_owned(), ..Inputs::default() }
}

const PIPELINE: &str = "{sources: [{name: s, meters: ['*'], sinks: [k]}], \
     sinks: [{name: k, publishers: ['test://']}]}";

/// What is wrong with a file, each as one text; nothing if the checks accept it.
fn problems(name: &str, file: &str) -> Vec<String> {
    let loaded = match name {
        "nephometer.yaml" => load_host(&inputs(file)),
        "pipeline.yaml" => load(&Inputs { pipeline: text(name, file), ..inputs("{}") }),
        "polling.yaml" => load(&Inputs {
            pipeline: text("pipeline.yaml", PIPELINE),
            polling: text(name, file),
            ..inputs("{}")
        }),
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            fs::write(&path, file).unwrap();
            let loaded = load_collector(Some(&path));
            return loaded.err().map_or(Vec::new(), |error| lines(&error));
        }
    };
    loaded.err().map_or(Vec::new(), |error| lines(&error))
}

fn lines(error: &crate::ConfigError) -> Vec<String> {
    error.problems.iter().map(|problem| problem.what.clone()).collect()
}

/// A file with one value: `components.by_name.NAME.limits` and `sources[].name` are paths.
fn file_with(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |inner, step| match step.strip_suffix("[]") {
        Some(step) => json!({step: [inner]}),
        None => json!({step: inner}),
    })
}

/// What credentials need besides the key at `path`, if it is one of theirs.
fn complete_credentials(found: &mut Value, path: &str) {
    for (section, pointer) in
        [("service_credentials.", "/service_credentials"), ("api.keystone.", "/api/keystone")]
    {
        let Some(key) = path.strip_prefix(section).filter(|key| *key != "auth_url") else {
            continue;
        };
        let credentials = found.pointer_mut(pointer).unwrap_or_else(|| panic!("{key}"));
        credentials["auth_url"] = "http://k/v3".into();
        for key in ["password", "username", "project_name"] {
            if credentials.get(key).is_none() {
                credentials[key] = "x".into();
            }
        }
    }
}

/// The text of a key that signs components, and both halves of a login.
fn complete_registry(found: &mut Value, path: &str) {
    let at = |pointer: &str, found: &mut Value, key: &str, value: &str| {
        if let Some(map) = found.pointer_mut(pointer).and_then(Value::as_object_mut) {
            map.entry(key).or_insert_with(|| value.into());
        }
    };
    if path == "components.signatures.keys.NAME.revoked" {
        let pointer = "/components/signatures/keys/NAME";
        at(pointer, found, "pem", "-----BEGIN PUBLIC KEY-----");
    }
    match path.strip_prefix("components.registries.NAME.") {
        Some("username") => at("/components/registries/NAME", found, "password", "x"),
        Some("password") => at("/components/registries/NAME", found, "username", "x"),
        _ => {}
    }
}

/// The same with what the checks need to read the key.
fn complete(file: &ConfigFile, path: &str, value: &Value) -> Value {
    let mut found = file_with(path, value);
    complete_credentials(&mut found, path);
    complete_registry(&mut found, path);
    let one = |found: &mut Value, list: &str, rest: &[(&str, Value)]| {
        for (key, value) in rest {
            if found[list][0].is_object() && found[list][0].get(*key).is_none() {
                found[list][0][*key] = value.clone();
            }
        }
    };
    match file.name {
        "collector.yaml" if path.starts_with("brokers[].") && !path.ends_with(".url_file") => {
            one(&mut found, "brokers", &[("url", "amqp://h".into())]);
        }
        "collector.yaml" if path.starts_with("secrets[].") => {
            one(&mut found, "secrets", &[("name", "n".into())]);
            if !path.ends_with("_file") {
                one(&mut found, "secrets", &[("secret", "s".into())]);
            }
        }
        "collector.yaml" if path.starts_with("store.classes[].") => {
            one(&mut found["store"], "classes", &[("name", "c".into()), ("meters", json!(["m"]))]);
        }
        "pipeline.yaml" | "polling.yaml" => {
            let mut rest = vec![("name", "s".into()), ("interval", 60.into())];
            if !path.ends_with("counters") {
                rest.push(("meters", json!(["*"])));
            }
            if file.name == "pipeline.yaml" {
                rest.push(("sinks", json!(["k"])));
                let sinks = json!([{"name": "k", "publishers": ["test://"]}]);
                if found.get("sinks").is_none() {
                    found["sinks"] = sinks;
                }
                let name = json!("k");
                one(&mut found, "sinks", &[("name", name), ("publishers", json!(["test://"]))]);
                if path.starts_with("sinks[].transformers[].") {
                    let inner = &mut found["sinks"][0];
                    let rest = [("name", "t".into()), ("parameters", json!({}))];
                    one(inner, "transformers", &rest);
                }
                if found.get("sources").is_none() {
                    found["sources"] = json!([{}]);
                }
            }
            one(&mut found, "sources", &rest);
        }
        _ => {}
    }
    found
}

/// The keys of all files, but those without an effect.
fn keys() -> impl Iterator<Item = (&'static ConfigFile, String, &'static ConfigKey)> {
    let keys = |file: &'static ConfigFile| {
        each_key(file.keys).into_iter().map(move |(path, key)| (file, path, key))
    };
    FILES.iter().flat_map(keys).filter(|(_, _, key)| !matches!(key.shape, ValueShape::Anything))
}

#[test]
fn every_key_of_the_table_is_read() {
    let mut unread = Vec::new();
    for (file, path, key) in keys() {
        // A list with a mapping is right for no key but lists of mappings.
        let value = match key.shape {
            ValueShape::Tables(..) => json!("x"),
            _ => json!([{"x": 1}]),
        };
        let found = problems(file.name, &complete(file, &path, &value).to_string());
        let name = format!("`{}`", key.name);
        if !found.iter().any(|what| what.contains(&name)) {
            unread.push(format!("{} {path}: {found:?}", file.name));
        }
    }
    assert!(unread.is_empty(), "{}", unread.join("\n"));
}

#[test]
fn the_schemas_accept_what_the_checks_accept() {
    let values = json!([
        null, true, false, 0, 1, 2, -1, 60, 1.5, 9_000_000_000_u64, 99_999_999_999_999_i64, "", "x",
        "*", "true", "Yes", "off", "0", "1", " 3_0 ", "-5", "3s", "500ms", "1.5 s", "7", "0s",
        "forever", "64MiB", "16 mb", "1.5k", "512", "2GiB", "a:b", "a,b", "test://", "amqp://u:p@h",
        "amqp://h,amqp://i", "sim://", "http://h/v3", "127.0.0.1:9", "none", "liberty", "zed",
        "python2", "polling", "source", "durable", "hold", "reset", "block", "naive", "native",
        "internalURL", "v3token", "loopback", [], ["x"], ["*"], [""], [1], [true], [null], ["none"],
        ["amqp://h"], ["test://"], ["k"], ["stopped-cpu"], ["h:80"], {}, {"x": {}}, {"x": 1}
    ]);
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for file in &FILES {
        let validator = validator(file.name);
        for (path, key) in each_key(file.keys) {
            for value in values.as_array().unwrap() {
                let document = complete(file, &path, value);
                let is_valid = validator.is_valid(&document);
                let found = problems(file.name, &document.to_string());
                accepted += usize::from(found.is_empty());
                if found.is_empty() && !is_valid {
                    wrong.push(format!("{} {path} {value}: the schema refuses it", file.name));
                }
                // Of a list or a mapping in the wrong place the schema knows as much as the checks.
                let is_shape = value.is_array() || value.is_object();
                let is_scalar = !matches!(
                    key.shape,
                    ValueShape::Texts(_)
                        | ValueShape::Words(_)
                        | ValueShape::Names
                        | ValueShape::Scalars
                        | ValueShape::Meters
                        | ValueShape::Publishers
                        | ValueShape::Table(_)
                        | ValueShape::Tables(..)
                        | ValueShape::ByName(_)
                        | ValueShape::Options(_)
                        | ValueShape::Anything
                );
                if is_shape && is_scalar && (is_valid || found.is_empty()) {
                    wrong.push(format!("{} {path} {value}: accepted", file.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn unknown_keys_are_refused_where_the_checks_refuse_them() {
    for (file, path, key) in keys() {
        let (ValueShape::Table(table) | ValueShape::ByName(table) | ValueShape::Tables(table, _)) =
            key.shape
        else {
            continue;
        };
        let path = match key.shape {
            ValueShape::ByName(_) => format!("{path}.NAME.nonsense"),
            ValueShape::Tables(..) => format!("{path}[].nonsense"),
            _ => format!("{path}.nonsense"),
        };
        let document = complete(file, &path, &json!(1));
        let refused = !problems(file.name, &document.to_string()).is_empty();
        assert_eq!(refused, table.closed, "{} {path}", file.name);
        assert_eq!(!validator(file.name).is_valid(&document), table.closed, "{} {path}", file.name);
    }
}

/// All defaults of a table, written out; those of lists of mappings are left out.
fn defaults(table: &'static super::KeyTable) -> Value {
    let mut found = json!({});
    for key in table.keys {
        match (key.shape, key.default) {
            (ValueShape::Table(inner), _) => found[key.name] = defaults(inner),
            (ValueShape::ByName(inner), _) => found[key.name] = json!({"NAME": defaults(inner)}),
            (_, KeyDefault::Value(text)) => found[key.name] = json_of(text),
            _ => {}
        }
    }
    found
}

#[test]
fn the_defaults_are_those_of_the_checks() {
    let spec = |text: &str| format!("{:?}", load_host(&inputs(text)).unwrap().spec);
    let mut all = defaults(FILES[0].keys);
    // Both need what has no default: credentials an address, TLS a certificate.
    for key in ["service_credentials", "prometheus", "telemetry"] {
        all[key].as_object_mut().unwrap().remove("tls");
    }
    all.as_object_mut().unwrap().remove("service_credentials");
    // A key needs its text, and an entry of `registries` is one without any of its keys.
    for key in ["registries", "signatures"] {
        all["components"].as_object_mut().unwrap().remove(key);
    }
    assert_eq!(spec(&all.to_string()), spec("{components: {by_name: {NAME: {}}}}"));
    let collector = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.yaml");
        fs::write(&path, text).unwrap();
        format!("{:?}", load_collector(Some(&path)).unwrap())
    };
    let mut all = defaults(FILES[3].keys);
    all["api"].as_object_mut().unwrap().remove("keystone");
    assert_eq!(collector(&all.to_string()), collector("{}"));
    let broker = |rest: Value| {
        let mut broker = rest;
        broker["url"] = "amqp://h".into();
        json!([broker])
    };
    all["brokers"] = broker(defaults(&super::BROKER));
    assert_eq!(
        collector(&all.to_string()),
        collector(&json!({"brokers": broker(json!({}))}).to_string())
    );
}

/// The blocks of YAML in a page.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.filter_map(|block| block.split("\n```").next()).map(str::to_owned).collect()
}

fn files_in(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().is_some_and(|path| path.ends_with(ending)));
    files
}

#[test]
fn files_that_the_checks_accept_are_valid() {
    let mut texts = Vec::new();
    for folder in ["config", "tests/config/good", "tests/config/bad", "tests/config/components"] {
        for path in files_in(folder, ".yaml") {
            let bytes = fs::read(&path).unwrap();
            texts.extend(String::from_utf8(bytes).ok().map(|text| (path, text)));
        }
    }
    for folder in ["docs", "host", "."] {
        for path in files_in(folder, ".md") {
            let page = fs::read_to_string(&path).unwrap();
            texts.extend(blocks(&page).into_iter().map(|block| (path.clone(), block)));
        }
    }
    let mut counts = [0; 4];
    for (at, file) in FILES.iter().enumerate() {
        let validator = validator(file.name);
        for (path, text) in &texts {
            // Also text of the collector may be empty for the checks, and fragments of other files.
            let document = json_of(text);
            let keys = document.as_object().map(|map| map.keys().collect::<Vec<_>>());
            let is_its =
                keys.is_some_and(|keys| keys.iter().any(|key| file.keys.key(key).is_some()));
            if is_its && problems(file.name, text).is_empty() {
                counts[at] += 1;
                let errors: Vec<String> =
                    validator.iter_errors(&document).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{}: {errors:?}\n{text}", path.display());
            }
        }
    }
    assert!(counts.iter().zip([3, 12, 9, 1]).all(|(found, least)| *found >= least), "{counts:?}");
}

#[test]
fn files_of_a_wrong_shape_are_refused() {
    let validator = |name| validator(name);
    let pipeline = validator("pipeline.yaml");
    for name in [
        "empty",
        "entries-that-are-no-mappings",
        "no-sinks",
        "no-sources",
        "not-a-mapping",
        "source-without-keys",
        "wrong-top-level-types",
        "empty-values",
    ] {
        let path = repository().join(format!("tests/config/bad/{name}.yaml"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!pipeline.is_valid(&json_of(&text)), "{name}");
    }
    let host = validator("nephometer.yaml");
    for text in [
        "5",
        "[libvirt]",
        "libvirt: qemu:///system",
        "libvirt: {uri: [qemu:///system]}",
        "libvirt: {deadline: soon}",
        "libvirt: {parallel: 65}",
        "libvrit: {uri: 'sim://'}",
        "compatibility: kilo",
        "quirks: stopped-cpu",
        "store: {total: 511MiBs}",
        "store: {when_full: wait}",
        "components: {by_name: {a: {limits: {memory: much}}}}",
        "components: {by_name: [a]}",
        "amqp: {tls: true}",
        "polling: {topics: []}",
    ] {
        assert!(!host.is_valid(&json_of(text)), "{text}");
        assert!(!problems("nephometer.yaml", text).is_empty(), "{text}");
    }
    let collector = validator("collector.yaml");
    for text in [
        "brokers: amqp://h",
        "brokers: [{queues: [a]}]",
        "secrets: [{name: one}]",
        "store: {keep: never}",
        "store: {classes: [{name: a}]}",
        "api: {access: everyone}",
        "commit: {rows: many}",
    ] {
        assert!(!collector.is_valid(&json_of(text)), "{text}");
        assert!(!problems("collector.yaml", text).is_empty(), "{text}");
    }
}

#[test]
fn the_shipped_files_show_every_key() {
    for (file, name) in [(&FILES[0], "nephometer.yaml"), (&FILES[3], "collector.yaml")] {
        let text = fs::read_to_string(repository().join("config").join(name)).unwrap();
        // Names of the same thing, and what is refused or only for tests.
        let left_out = [
            "token",
            "insecure",
            "user_id",
            "user_domain_id",
            "project_id",
            "project_domain_id",
            "application_credential_name",
            "application_credential_secret_file",
            "token_file",
            "secret_file",
        ];
        // The collector's file names the keys of service_credentials, which the agent's file shows.
        let own = |path: &str| !path.starts_with("api.keystone.");
        for (path, key) in each_key(file.keys).into_iter().filter(|(path, _)| own(path)) {
            let is_shown = text.lines().any(|line| {
                let line = line.trim_start_matches([' ', '#', '-']);
                line.starts_with(&format!("{}:", key.name))
            });
            assert!(is_shown || left_out.contains(&key.name), "{name}: {path}");
        }
    }
}

#[test]
fn effective_values_without_a_file_are_the_defaults() {
    let found = settings(&Inputs { pipeline: text("p.yaml", PIPELINE), ..inputs("{}") }).unwrap();
    assert!(found.is_valid);
    let of_host = || found.settings.iter().filter(|one| one.file == "nephometer.yaml");
    let shown: Vec<&str> = of_host().map(|one| one.key.as_str()).collect();
    for (path, key) in each_key(FILES[0].keys) {
        // Credentials and single components have defaults where they are set.
        let applies = !path.starts_with("service_credentials.") && !path.contains(".NAME");
        if applies && matches!(key.default, KeyDefault::Value(_)) {
            assert!(shown.contains(&&*path), "{path} is not in {shown:?}");
        }
    }
    for setting in of_host() {
        assert!(!setting.is_changed, "{setting:?}");
        assert_eq!(Some(&setting.value), setting.default.as_ref(), "{setting:?}");
    }
    let Loaded { spec, .. } = load_host(&inputs("{}")).unwrap();
    let value = |key: &str| &of_host().find(|one| one.key == key).unwrap().value;
    assert_eq!(*value("libvirt.events"), json!(spec.libvirt.events));
    assert_eq!(*value("discovery.identity_name_discovery"), json!(spec.discovery.identity_names));
    assert_eq!(*value("libvirt.uri"), json!(spec.libvirt.uri));
    assert_eq!(*value("host"), json!("h"));
}
