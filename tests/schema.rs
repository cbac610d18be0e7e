//! `nephometer schema`: the schemas in `config/schema` are those of the program, and the shipped files
//! name them for editors. `host/config/src/keys` compares them with the checks.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::root;

const KINDS: [&str; 4] = ["nephometer", "pipeline", "polling", "collector"];

fn schema(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    let output = command.arg("schema").args(arguments).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// `NEPHOMETER_TEST_UPDATE=1` writes the files.
#[test]
fn the_files_are_what_the_program_prints() {
    for kind in KINDS {
        let (code, printed) = schema(&[&format!("{kind}.yaml")]);
        assert_eq!(code, Some(0));
        assert_eq!(schema(&[kind]), (Some(0), printed.clone()));
        let path = root().join(format!("config/schema/{kind}.json"));
        if std::env::var_os("NEPHOMETER_TEST_UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &printed).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == printed,
            "{} is out of date; NEPHOMETER_TEST_UPDATE=1 writes it",
            path.display()
        );
    }
}

#[test]
fn the_shipped_files_name_their_schema_and_are_valid() {
    for kind in KINDS {
        let file = root().join(format!("config/{kind}.yaml"));
        let text = fs::read_to_string(&file).unwrap();
        let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=");
        // A relative name is looked for beside the file.
        let path = file.parent().unwrap().join(named.unwrap());
        let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(schema["title"], format!("{kind}.yaml"));
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let document: Value = serde_yaml::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{kind}: {errors:?}");
        // The packages put it beside the file, too.
        let manifest = if kind == "collector" { "collector" } else { "nephometer" };
        let manifest = root().join(format!("host/{manifest}/Cargo.toml"));
        let manifest = fs::read_to_string(manifest).unwrap();
        let asset = format!("\"../../config/schema/{kind}.json\", \"etc/nephometer/schema/\"");
        assert!(manifest.contains(&asset), "{kind}");
        assert!(manifest.contains(&format!("\"/etc/nephometer/schema/{kind}.json\"")), "{kind}");
    }
}

#[test]
fn without_a_file_all_are_printed() {
    let (code, printed) = schema(&[]);
    assert_eq!(code, Some(0));
    let all: Value = serde_json::from_str(&printed).unwrap();
    for kind in KINDS {
        let name = format!("{kind}.yaml");
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(
            (&all[&name]["title"], &all[&name]["$schema"]),
            (&name.as_str().into(), &dialect.into())
        );
    }
    assert_eq!(schema(&["secret.yaml"]).0, Some(64));
}
