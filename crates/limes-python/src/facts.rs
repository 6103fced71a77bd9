//! Facts that need no engine.

use crate::error::{from_json, raise, to_json};
use limes_core::{AddressPattern, Error, ErrorKind, HostPattern, Limits};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pyfunction]
pub(crate) fn error_kinds() -> Vec<(&'static str, u16, u8, bool)> {
    ErrorKind::ALL.iter().map(|k| (k.name(), k.http_status(), k.exit_code(), k.retryable())).collect()
}

#[pyfunction]
pub(crate) fn default_limits() -> PyResult<String> {
    to_json(&Limits::default())
}

#[pyfunction]
pub(crate) fn check_pattern(grant: &str, pattern: &str) -> PyResult<()> {
    let checked = match grant {
        "http" => pattern.parse::<HostPattern>().map(drop),
        "tcp" | "udp" => pattern.parse::<AddressPattern>().map(drop),
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            "read grants",
            format!("`{grant}` has no patterns; http, tcp and udp have"),
        )),
    };
    checked.map_err(|error| raise(&error))
}

#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, component: &[u8]) -> PyResult<String> {
    let inspection = py.detach(|| limes_microvm::inspect(component)).map_err(|error| raise(&error))?;
    to_json(&inspection)
}

#[pyfunction]
pub(crate) fn componentize<'py>(py: Python<'py>, module: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let component =
        py.detach(|| limes_wasm::component::componentize(module)).map_err(|error| raise(&error))?;
    Ok(PyBytes::new(py, &component))
}

/// The limits and grants of a call to [`load`](crate::engine::Engine::load).
pub(crate) fn limits_and_grants(limits: &str, grants: &str) -> PyResult<(Limits, limes_core::Grants)> {
    Ok((from_json("limits", limits)?, from_json("grants", grants)?))
}
