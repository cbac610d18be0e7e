//! Rebuilds the crate when one of the embedded files changes.

#[allow(clippy::disallowed_macros, reason = "build scripts print directives for cargo")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../wit");
    println!("cargo::rerun-if-changed=../../guest-examples/templates");
    println!("cargo::rerun-if-changed=../../guest-examples/Cargo.lock");
    for library in ["guest", "c", "go", "javascript", "python", "zig"] {
        println!("cargo::rerun-if-changed=../../guest-examples/nephometer-{library}");
    }
}
