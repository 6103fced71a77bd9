//! The component sandbox, on Wasmtime.
mod capture;
mod command;
pub mod compile;
pub mod component;
mod engine;
mod failure;
mod function;
mod grants;
mod guest;
mod host;
mod http02;
mod http03;
mod limiter;
mod request;
mod response;
mod sandbox;
mod session;

pub use sandbox::{Settings, WasmSandbox, read_file};

/// Version of the engine inside.
pub const WASMTIME_VERSION: &str = "48.0.8";
