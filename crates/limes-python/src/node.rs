//! `Node`: the data plane.

use crate::engine::{Calls, Engine};
use crate::error::{from_json, raise, to_json};
use crate::function::contract_name;
use crate::invocation::Invocation;
use bytes::Bytes;
use limes_core::{Error, ErrorKind, FunctionSpec, Sandbox, Timing};
use limes_node::{Call, NodeConfig};
use pyo3::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[pyclass(frozen, module = "limes._native")]
pub(crate) struct Node {
    node: limes_node::Node,
    runtime: Arc<Calls>,
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (engine, listen, *, threads = 0, busy_poll_us = None))]
    fn new(
        py: Python<'_>,
        engine: &Engine,
        listen: &str,
        threads: usize,
        busy_poll_us: Option<u64>,
    ) -> PyResult<Self> {
        let listen: SocketAddr = listen.parse().map_err(|_| {
            raise(&Error::new(
                ErrorKind::InvalidArgument,
                "start node",
                format!("`{listen}` is no address to listen on; write ADDRESS:PORT, such as 127.0.0.1:8080"),
            ))
        })?;
        let mut config = NodeConfig { listen, threads, ..NodeConfig::default() };
        if let Some(us) = busy_poll_us {
            config.busy_poll = Duration::from_micros(us);
        }
        let sandboxes: Vec<Arc<dyn Sandbox>> = vec![engine.sandbox.clone(), engine.microvm.clone()];
        let node = py.detach(|| limes_node::Node::start(config, sandboxes)).map_err(|error| raise(&error))?;
        Ok(Self { node, runtime: engine.runtime.clone() })
    }

    #[getter]
    fn address(&self) -> String {
        self.node.local_addr().to_string()
    }

    fn restore(&self, py: Python<'_>, specs: &str) -> PyResult<()> {
        let specs: Vec<FunctionSpec> = from_json("specs", specs)?;
        py.detach(|| self.node.restore(specs)).map_err(|error| raise(&error))
    }

    fn publish(&self, py: Python<'_>, spec: &str) -> PyResult<String> {
        let spec: FunctionSpec = from_json("spec", spec)?;
        let published = py.detach(|| self.node.publish(spec)).map_err(|error| raise(&error))?;
        to_json(&serde_json::json!({
            "contract": contract_name(published.contract),
            "timing": published.timing,
        }))
    }

    fn remove(&self, name: &str) -> bool {
        self.node.remove(name)
    }

    #[pyo3(signature = (name, *, args = vec![], method = "GET", path = "/", headers = vec![], body = vec![], timeout_ms = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn invoke(
        &self,
        name: &str,
        args: Vec<String>,
        method: &str,
        path: &str,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        timeout_ms: Option<u64>,
    ) -> PyResult<Invocation> {
        let call = Call {
            args,
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: Bytes::from(body),
            timeout: timeout_ms.map(Duration::from_millis),
        };
        let started = self.node.start_call(name, call).map_err(|error| raise(&error))?;
        Ok(Invocation::new(started, Timing::default(), self.runtime.clone()))
    }

    fn running(&self) -> PyResult<String> {
        to_json(&self.node.running())
    }

    fn stop(&self, invocation: u64) -> bool {
        self.node.stop(invocation)
    }

    #[pyo3(signature = (name, *, after = 0, limit = 1000))]
    fn logs(&self, name: &str, after: u64, limit: usize) -> PyResult<String> {
        let lines = self.node.logs(name, after, limit).map_err(|error| raise(&error))?;
        to_json(&lines)
    }

    fn stats(&self, py: Python<'_>) -> PyResult<String> {
        to_json(&py.detach(|| self.node.stats()))
    }

    fn drain(&self, py: Python<'_>, grace_ms: u64) -> PyResult<String> {
        to_json(&py.detach(|| self.node.drain(Duration::from_millis(grace_ms))))
    }
}
