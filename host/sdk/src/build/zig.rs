//! Builds Zig projects: generates C bindings, translates them, runs Zig's compiler, encodes the
//! component.

use std::process::Command;

use super::super::error::SdkError;
use super::super::tools::{find, output, run};
use super::super::{bindings, encode, files};
use super::Build;

const REMEDY: &str =
    "install Zig 0.17 (https://ziglang.org; or `pip install ziglang`, whose command is python-zig)";

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let zig = find("ZIG", &["zig", "python-zig"], REMEDY)?;
    let work = request.work_folder()?;
    bindings::c(&request.wit()?, &request.world, &work)?;
    let world = request.world.replace('-', "_");
    let command = |name: &str| {
        let mut command = Command::new(&zig);
        command
            .current_dir(&request.folder)
            .env("ZIG_LOCAL_CACHE_DIR", work.join("zig-cache"))
            .args([name, "-target", "wasm32-wasi", "-lc"]);
        command
    };
    let header = work.join(format!("{world}.h"));
    let translated = output(command("translate-c").arg(header))?;
    let zig_bindings = work.join("bindings.zig");
    files::write(&zig_bindings, translated)?;
    let module = work.join("module.wasm");
    run(command("build-exe")
        .args(["-mexec-model=reactor", "-fno-entry", "-OReleaseSafe"])
        // The stack protector would import random numbers of WASI.
        .arg("-fno-stack-protector")
        // The default stack of 16 MiB is larger than all other memory of an instance.
        .args(["--stack", "1048576"])
        // C files have to precede the first module: they belong to the root module.
        .arg(work.join(format!("{world}.c")))
        .arg(work.join(format!("{world}_component_type.o")))
        .args(["--dep", "nephometer", "--dep", "bindings", "-Mroot=component.zig"])
        .arg("-Mnephometer=nephometer/nephometer.zig")
        .arg(format!("-Mbindings={}", zig_bindings.display()))
        .arg(format!("-femit-bin={}", module.display())))?;
    encode::encode(&module, &request.output)
}
