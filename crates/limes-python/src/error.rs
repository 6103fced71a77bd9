//! Errors across the boundary: `limes.errors.from_native` makes the exception.

use limes_core::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The Python exception for an error of the core.
pub(crate) fn raise(error: &Error) -> PyErr {
    Python::attach(|py| {
        let context = PyDict::new(py);
        let made =
            error.context().iter().try_for_each(|(key, value)| context.set_item(key, value)).and_then(|()| {
                py.import("limes.errors")?.call_method1(
                    "from_native",
                    (error.kind().name(), error.operation(), error.to_string(), context),
                )
            });
        match made {
            Ok(exception) => PyErr::from_value(exception),
            Err(failed) => failed,
        }
    })
}

/// Reads a JSON argument.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, json: &str) -> PyResult<T> {
    serde_json::from_str(json).map_err(|error| {
        raise(&Error::new(ErrorKind::InvalidArgument, "read arguments", format!("bad {what}: {error}")))
    })
}

/// Writes a JSON answer.
pub(crate) fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| {
        raise(&Error::new(ErrorKind::Internal, "write answer", "an answer is not JSON").from_source(error))
    })
}
