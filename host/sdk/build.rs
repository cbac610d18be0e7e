//! What `component new` writes is inside the program: made again when any of it changes.

#[allow(clippy::disallowed_macros, reason = "it is how build scripts speak")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../wit");
    println!("cargo::rerun-if-changed=../../guest-examples/templates");
    println!("cargo::rerun-if-changed=../../guest-examples/Cargo.lock");
    for library in ["guest", "c", "go", "javascript", "python", "zig"] {
        println!("cargo::rerun-if-changed=../../guest-examples/nephometer-{library}");
    }
}
