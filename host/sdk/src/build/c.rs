//! C: bindings, clang, component.

use std::process::Command;

use super::super::error::SdkError;
use super::super::tools::{find, on_path, run};
use super::super::{bindings, encode};
use super::Build;

pub(super) const REMEDY: &str =
    "on Debian: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32";

pub(super) fn build(what: &Build) -> Result<(), SdkError> {
    if what.world != "stateful-transformer" {
        return Err(SdkError::OnlyStateful);
    }
    let compilers = ["clang-19", "clang-21", "clang-20", "clang-18", "clang"];
    let clang = find("CLANG", &compilers, REMEDY)?;
    let work = what.work()?;
    bindings::c(&what.wit()?, &what.world, &work)?;
    let world = what.world.replace('-', "_");
    let module = work.join("module.wasm");
    let mut command = Command::new(&clang);
    command
        .current_dir(&what.folder)
        .args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
        ])
        // A trap tells its place in the source by this; the path of this machine stays out of it.
        .arg("-g")
        .arg(format!("-ffile-prefix-map={}=.", what.folder.display()))
        // A deep recursion ends there, instead of writing over the data.
        .args(["-Wl,--stack-first", "-Wl,-z,stack-size=262144"])
        .arg("-I")
        .arg(&work)
        .arg("-I")
        .arg(what.folder.join("nephometer"))
        .args(what.sources("c")?)
        .arg(work.join(format!("{world}.c")))
        .arg(work.join(format!("{world}_component_type.o")))
        .arg("-o")
        .arg(&module);
    // Debian's linker has the version in its name, as the compiler has.
    let name = clang.file_name().unwrap_or_default().to_string_lossy();
    if let Some(linker) = on_path(&[&name.replace("clang", "wasm-ld")]) {
        command.arg(format!("-fuse-ld={}", linker.display()));
    }
    run(&mut command)?;
    encode::encode(&module, &what.output)
}
