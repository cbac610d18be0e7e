//! Zig: the bindings for C, translated; Zig's compiler; component.

use std::process::Command;

use super::super::error::SdkError;
use super::super::tools::{find, output, run};
use super::super::{bindings, encode, files};
use super::Build;

const REMEDY: &str =
    "install Zig 0.17 (https://ziglang.org; or `pip install ziglang`, whose command is python-zig)";

pub(super) fn build(what: &Build) -> Result<(), SdkError> {
    let zig = find("ZIG", &["zig", "python-zig"], REMEDY)?;
    let work = what.work()?;
    bindings::c(&what.wit()?, &what.world, &work)?;
    let world = what.world.replace('-', "_");
    let command = |name: &str| {
        let mut command = Command::new(&zig);
        command
            .current_dir(&what.folder)
            .env("ZIG_LOCAL_CACHE_DIR", work.join("zig-cache"))
            .args([name, "-target", "wasm32-wasi", "-lc"]);
        command
    };
    let header = work.join(format!("{world}.h"));
    let translated = output(command("translate-c").arg(header))?;
    let bound = work.join("bindings.zig");
    files::write(&bound, translated)?;
    let module = work.join("module.wasm");
    run(command("build-exe")
        .args(["-mexec-model=reactor", "-fno-entry", "-OReleaseSafe"])
        // Without it the start asks WASI for random numbers.
        .arg("-fno-stack-protector")
        // Of every instance's memory; the usual 16 MiB is more than all the rest.
        .args(["--stack", "1048576"])
        // What is C has to stand before the first module: it belongs to the root.
        .arg(work.join(format!("{world}.c")))
        .arg(work.join(format!("{world}_component_type.o")))
        .args(["--dep", "nephometer", "--dep", "bindings", "-Mroot=component.zig"])
        .arg("-Mnephometer=nephometer/nephometer.zig")
        .arg(format!("-Mbindings={}", bound.display()))
        .arg(format!("-femit-bin={}", module.display())))?;
    encode::encode(&module, &what.output)
}
