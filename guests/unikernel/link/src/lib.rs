//! For build scripts of unikernels: links the way of the kernel, without a C runtime and with everything where the machine expects it.
#![deny(missing_docs)]

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel/kernel.ld");

/// Tells Cargo how the programs of the package whose build script calls this are linked.
pub fn as_unikernel() {
    println!("cargo:rerun-if-changed={SCRIPT}");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,-zmax-page-size=4096",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{SCRIPT}");
}
