//! `Function`: a component that can be invoked.

use crate::engine::Calls;
use crate::error::to_json;
use crate::invocation::Invocation;
use bytes::Bytes;
use limes_core::{Body, Contract, Error, ErrorKind, Input, Limits, Prepared, Tier};
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;

#[pyclass(frozen, module = "limes._native")]
pub(crate) struct Function {
    prepared: Prepared,
    limits: Limits,
    runtime: Arc<Calls>,
}

impl Function {
    pub fn new(prepared: Prepared, limits: Limits, runtime: Arc<Calls>) -> Self {
        Self { prepared, limits, runtime }
    }

    fn call(&self, input: Input, timeout_ms: Option<u64>) -> Invocation {
        let timeout =
            Duration::from_millis(timeout_ms.unwrap_or(self.limits.timeout).min(self.limits.timeout));
        let started = limes_core::call(self.prepared.function.clone(), input, timeout, self.limits.response);
        Invocation::new(started, self.prepared.timing, self.runtime.clone())
    }
}

/// The contract's name at the boundary.
pub(crate) fn contract_name(contract: Contract) -> &'static str {
    match contract {
        Contract::Run => "run",
        Contract::Http02 => "http02",
        Contract::Http03 => "http03",
        Contract::Cli02 => "cli02",
        Contract::Cli03 => "cli03",
    }
}

/// An HTTP request from its parts.
pub(crate) fn request(
    method: &str,
    uri: &str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
) -> limes_core::Result<http::Request<Body>> {
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in &headers {
        request = request.header(name.as_str(), value.as_slice());
    }
    request.body(Body::from(Bytes::from(body))).map_err(|error| {
        Error::new(
            ErrorKind::InvalidArgument,
            "make request",
            format!("`{method} {uri}` with those headers is no HTTP request"),
        )
        .from_source(error)
    })
}

#[pymethods]
impl Function {
    #[getter]
    fn contract(&self) -> &'static str {
        contract_name(self.prepared.function.contract())
    }

    #[getter]
    fn tier(&self) -> &'static str {
        match self.prepared.function.tier() {
            Tier::Baseline => "baseline",
            Tier::Optimized => "optimized",
        }
    }

    #[getter]
    fn timing(&self) -> PyResult<String> {
        to_json(&self.prepared.timing)
    }

    #[pyo3(signature = (args, *, timeout_ms = None))]
    fn run(&self, args: String, timeout_ms: Option<u64>) -> Invocation {
        self.call(Input::Run(args), timeout_ms)
    }

    #[pyo3(signature = (method, uri, headers, body, *, timeout_ms = None))]
    fn http(
        &self,
        method: &str,
        uri: &str,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        timeout_ms: Option<u64>,
    ) -> PyResult<Invocation> {
        let request = request(method, uri, headers, body).map_err(|error| crate::error::raise(&error))?;
        Ok(self.call(Input::Http(request), timeout_ms))
    }

    #[pyo3(signature = (args, stdin, *, timeout_ms = None))]
    fn command(&self, args: Vec<String>, stdin: Vec<u8>, timeout_ms: Option<u64>) -> Invocation {
        self.call(Input::Command { args, stdin: Body::from(Bytes::from(stdin)) }, timeout_ms)
    }
}
