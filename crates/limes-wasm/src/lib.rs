//! The component sandbox, on Wasmtime.
