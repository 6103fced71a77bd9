//! Gives the component a memory of one size. It carries its picture, so that what it needs is known; and where a memory cannot grow, the
//! check of each access is one comparison with a constant, in places without guard pages: machines of their own.

use std::env;

/// Bytes: what the picture needs, twice.
const MEMORY: u32 = 16 << 20;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-cdylib=--initial-memory={MEMORY}");
        println!("cargo::rustc-link-arg-cdylib=--max-memory={MEMORY}");
    }
}
