//! The boundary between the Rust core and the Python package: `limes._native`.
//!
//! Nothing here decides anything: it converts and calls. What each item means is written in
//! `python/limes/_native.pyi`.

mod allocator;
mod engine;
mod error;
mod facts;
mod function;
mod invocation;
mod log;
mod node;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("WASMTIME_VERSION", limes_wasm::WASMTIME_VERSION)?;
    module.add_function(wrap_pyfunction!(facts::error_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(facts::default_limits, module)?)?;
    module.add_function(wrap_pyfunction!(facts::check_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(facts::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(facts::componentize, module)?)?;
    module.add_function(wrap_pyfunction!(log::start_log, module)?)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<function::Function>()?;
    module.add_class::<invocation::Invocation>()?;
    module.add_class::<invocation::Outcome>()?;
    module.add_class::<node::Node>()?;
    Ok(())
}
