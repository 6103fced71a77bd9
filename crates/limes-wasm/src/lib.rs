//! The component sandbox, on Wasmtime.
//!
//! [`WasmSandbox`] takes a component from bytes to something that can be invoked ([`component`] says what the bytes are,
//! [`compile`] turns them into machine code, once), and every invocation gets a store and an instance of its own. A call's way:
//!
//! - `function`: the input is matched with the contract; `run`, `http02`, `http03` and `command` each call one;
//! - `host`, `limiter`, `grants`, `capture`: what the guest finds there, and what it may not do;
//! - `guest`: polls it, and ends it by its deadline, its limits or a stop; `session`: what outlives the store;
//! - `fuse`: linked core modules made one before they are compiled, or two: what they begin with, and their code;
//! - `tiered`: a fast compiler's code until the optimised one is ready;
//! - `request`, `response`: HTTP bodies in and out; `failure`: Wasmtime's errors in the terms of Limes.
#![deny(missing_docs)]

mod capture;
mod command;
pub mod compile;
pub mod component;
mod engine;
mod failure;
mod function;
mod fuse;
pub mod grants;
mod guest;
mod host;
mod http02;
mod http03;
mod limiter;
mod request;
mod response;
mod sandbox;
mod session;
mod spares;
mod tiered;
mod unikernel;

pub use sandbox::{Settings, WasmSandbox, read_component, read_file};
pub use unikernel::{Processor, UnikernelCode};

/// Version of the engine inside.
pub const WASMTIME_VERSION: &str = "48.0.8";

#[cfg(test)]
mod tests {
    #[test]
    fn the_engines_version_is_the_one_that_is_built_in() {
        let locked = format!("name = \"wasmtime\"\nversion = \"{}\"", super::WASMTIME_VERSION);
        assert!(include_str!("../../../Cargo.lock").contains(&locked));
    }
}
