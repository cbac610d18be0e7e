//! Builds C projects: generates bindings, runs clang, encodes the component.

use std::process::Command;

use super::super::error::SdkError;
use super::super::tools::{find, on_path, run};
use super::super::{bindings, encode};
use super::Build;

pub(super) const REMEDY: &str =
    "on Debian: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32";

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    if request.world != "stateful-transformer" {
        return Err(SdkError::OnlyStateful);
    }
    let compilers = ["clang-19", "clang-21", "clang-20", "clang-18", "clang"];
    let clang = find("CLANG", &compilers, REMEDY)?;
    let work = request.work_folder()?;
    bindings::c(&request.wit()?, &request.world, &work)?;
    let world = request.world.replace('-', "_");
    let module = work.join("module.wasm");
    let mut command = Command::new(&clang);
    command
        .current_dir(&request.folder)
        .args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
        ])
        // Debug information locates traps in the source, without the path on this machine.
        .arg("-g")
        .arg(format!("-ffile-prefix-map={}=.", request.folder.display()))
        // The stack comes first, so that a deep recursion traps instead of overwriting data.
        .args(["-Wl,--stack-first", "-Wl,-z,stack-size=262144"])
        .arg("-I")
        .arg(&work)
        .arg("-I")
        .arg(request.folder.join("nephometer"))
        .args(request.sources("c")?)
        .arg(work.join(format!("{world}.c")))
        .arg(work.join(format!("{world}_component_type.o")))
        .arg("-o")
        .arg(&module);
    // Debian puts the version into the names of the compiler and the linker.
    let name = clang.file_name().unwrap_or_default().to_string_lossy();
    if let Some(linker) = on_path(&[&name.replace("clang", "wasm-ld")]) {
        command.arg(format!("-fuse-ld={}", linker.display()));
    }
    run(&mut command)?;
    encode::encode(&module, &request.output)
}
