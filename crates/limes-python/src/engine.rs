//! `Engine`: the sandbox, and the threads asynchronous calls run on.

use crate::allocator::while_loading;
use crate::error::{from_json, raise, to_json};
use crate::facts::limits_and_grants;
use crate::function::Function;
use limes_core::{CompileMode, Error, ErrorKind, MicroVm, SandboxKind};
use limes_microvm::MicroVmSandbox;
use limes_wasm::{Settings, WasmSandbox};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The threads that calls run on. Dropped, it does not wait for them: one may be waiting for the lock that Python
/// holds while it drops this.
pub(crate) struct Calls(Option<Runtime>);

impl std::ops::Deref for Calls {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is taken only when this is dropped")
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[pyclass(frozen, module = "limes._native")]
pub(crate) struct Engine {
    pub sandbox: Arc<WasmSandbox>,
    pub microvm: Arc<MicroVmSandbox>,
    pub runtime: Arc<Calls>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*, cache_dir = None, cache_bytes = 2 << 30, jit = false, slots = 1000, microvm = "{}"))]
    fn new(
        py: Python<'_>,
        cache_dir: Option<PathBuf>,
        cache_bytes: u64,
        jit: bool,
        slots: u32,
        microvm: &str,
    ) -> PyResult<Self> {
        let mut microvm: limes_microvm::Settings = from_json("microvm", microvm)?;
        let cache_dir = cache_dir.filter(|_| !jit);
        microvm.known = cache_dir.as_ref().map(|cache| cache.join("monitors.json"));
        let settings = Settings { cache_dir, cache_bytes, slots };
        let sandbox = py.detach(|| WasmSandbox::new(settings)).map_err(|error| raise(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("limes-call")
            .enable_all()
            .build()
            .map_err(|error| {
                raise(
                    &Error::new(ErrorKind::Internal, "start engine", "cannot start threads")
                        .from_source(error),
                )
            })?;
        let sandbox = Arc::new(sandbox);
        let microvm = Arc::new(MicroVmSandbox::new(sandbox.clone(), microvm));
        Ok(Self { sandbox, microvm, runtime: Arc::new(Calls(Some(runtime))) })
    }

    #[pyo3(signature = (component = None, path = None, *, name = "", limits = "{}", grants = "{}", tiered = false, sandbox = "wasm", microvm = "{}"))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn load(
        &self,
        py: Python<'_>,
        component: Option<Vec<u8>>,
        path: Option<PathBuf>,
        name: &str,
        limits: &str,
        grants: &str,
        tiered: bool,
        sandbox: &str,
        microvm: &str,
    ) -> PyResult<Function> {
        let sandbox: SandboxKind = from_json("sandbox", &format!("\"{sandbox}\""))?;
        let microvm: MicroVm = from_json("microvm", microvm)?;
        let compile = if tiered { CompileMode::Tiered } else { CompileMode::Optimized };
        let (limits, grants) = limits_and_grants(limits, grants)?;
        let call_limits = limits.clone();
        let load = || {
            let bytes = match (component, path) {
                (Some(bytes), None) => bytes,
                (None, Some(path)) => limes_wasm::read_file(&path)?,
                _ => {
                    return Err(Error::new(
                        ErrorKind::InvalidArgument,
                        "load",
                        "give the component's bytes or its path",
                    ));
                }
            };
            match sandbox {
                SandboxKind::Wasm => self.sandbox.load(name, &bytes, limits, grants, compile),
                SandboxKind::MicroVm => self.microvm.load(name, &bytes, limits, grants, &microvm),
            }
        };
        let loaded = py.detach(|| while_loading(load));
        let prepared = loaded.map_err(|error| raise(&error))?;
        Ok(Function::new(prepared, call_limits, self.runtime.clone()))
    }

    fn compile<'py>(&self, py: Python<'py>, component: Vec<u8>) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let compiled = py.detach(|| while_loading(|| self.sandbox.compile(&component)));
        let (artifact, timing) = compiled.map_err(|error| raise(&error))?;
        Ok((PyBytes::new(py, &artifact), to_json(&timing)?))
    }

    fn microvms(&self, py: Python<'_>) -> PyResult<String> {
        to_json(&py.detach(|| self.microvm.probe()))
    }

    fn cache_info(&self, py: Python<'_>) -> PyResult<String> {
        let info = py.detach(|| self.sandbox.cache_info()).map_err(|error| raise(&error))?;
        to_json(&info)
    }

    fn cache_clear(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.sandbox.cache_clear()).map_err(|error| raise(&error))
    }

    fn cache_verify(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        py.detach(|| self.sandbox.cache_verify()).map_err(|error| raise(&error))
    }
}
