//! `Invocation` and `Outcome`: one call, from before its start to after its end.

use crate::engine::Calls;
use crate::error::{raise, to_json};
use bytes::Bytes;
use limes_core::{
    Body, BoxFuture, Completed, Control, Error, ErrorKind, Output, Result, Started, StopReason, Timing,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a blocking call looks for Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

enum State {
    New(BoxFuture<'static, Result<Completed>>),
    Going,
    Over(Box<Result<Completed>>),
    Taken,
}

#[pyclass(frozen, module = "limes._native")]
pub(crate) struct Invocation {
    control: Arc<Control>,
    state: Arc<Mutex<State>>,
    /// What loading the function cost: part of the timing users see.
    loading: Timing,
    runtime: Arc<Calls>,
}

impl Invocation {
    pub fn new(started: Started, loading: Timing, runtime: Arc<Calls>) -> Self {
        let state = Arc::new(Mutex::new(State::New(started.future)));
        Self { control: started.control, state, loading, runtime }
    }

    fn take(&self) -> PyResult<BoxFuture<'static, Result<Completed>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Going) {
            State::New(future) => Ok(future),
            other => {
                *state = other;
                Err(misuse("this invocation was started already; make another"))
            }
        }
    }

    fn outcome_of(&self, completed: Result<Completed>) -> PyResult<Outcome> {
        let completed = completed.map_err(|error| raise(&error))?;
        let Timing { compile, load, cache, .. } = self.loading;
        let load = completed.timing.load.max(load);
        Ok(Outcome {
            timing: Timing { compile, load, cache, ..completed.timing },
            ..Outcome::from(completed)
        })
    }
}

fn misuse(message: &str) -> PyErr {
    raise(&Error::new(ErrorKind::InvalidArgument, "invoke", message))
}

#[pymethods]
impl Invocation {
    #[getter]
    fn id(&self) -> u64 {
        self.control.id()
    }

    fn wait(&self, py: Python<'_>) -> PyResult<Outcome> {
        let future = self.take()?;
        let completed = py.detach(|| {
            self.runtime.block_on(async {
                let mut future = pin!(future);
                loop {
                    match tokio::time::timeout(SIGNAL_CHECK, &mut future).await {
                        Ok(completed) => return Ok(completed),
                        Err(_) => {
                            if let Err(signal) = Python::attach(|py| py.check_signals()) {
                                self.control.stop(StopReason::Requested);
                                let _ = future.await;
                                return Err(signal);
                            }
                        }
                    }
                }
            })
        })?;
        self.outcome_of(completed)
    }

    fn start(&self, done: Py<PyAny>) -> PyResult<()> {
        let future = self.take()?;
        let state = self.state.clone();
        self.runtime.spawn(async move {
            let completed = future.await;
            *state.lock().unwrap_or_else(PoisonError::into_inner) = State::Over(Box::new(completed));
            Python::attach(|py| {
                if let Err(error) = done.call0(py) {
                    error.write_unraisable(py, None);
                }
            });
        });
        Ok(())
    }

    fn outcome(&self) -> PyResult<Outcome> {
        let taken = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut *state, State::Taken) {
                State::Over(completed) => Ok(*completed),
                other => {
                    *state = other;
                    Err(misuse("this invocation is not over, or its outcome was taken already"))
                }
            }
        };
        self.outcome_of(taken?)
    }

    fn stop(&self) {
        self.control.stop(StopReason::Requested);
    }
}

#[pyclass(frozen, module = "limes._native")]
#[derive(Default)]
pub(crate) struct Outcome {
    #[pyo3(get)]
    text: Option<String>,
    #[pyo3(get)]
    status: Option<u16>,
    #[pyo3(get)]
    exit_code: Option<i32>,
    headers: Option<Vec<(String, Bytes)>>,
    body: Option<Bytes>,
    stdout: Bytes,
    stderr: Bytes,
    timing: Timing,
}

impl From<Completed> for Outcome {
    fn from(completed: Completed) -> Self {
        let Completed { output, timing, stdout, stderr } = completed;
        let outcome = Self { stdout, stderr, timing, ..Self::default() };
        match output {
            Output::Run(text) => Self { text: Some(text), ..outcome },
            Output::Command { exit_code, .. } => Self { exit_code: Some(exit_code), ..outcome },
            Output::Http(response) => {
                let (head, body) = response.into_parts();
                let headers = head.headers.iter();
                let headers =
                    headers.map(|(k, v)| (k.to_string(), Bytes::copy_from_slice(v.as_bytes()))).collect();
                let body = match body {
                    Body::Full(bytes) => bytes,
                    Body::Empty | Body::Stream(_) => Bytes::new(),
                };
                Self {
                    status: Some(head.status.as_u16()),
                    headers: Some(headers),
                    body: Some(body),
                    ..outcome
                }
            }
        }
    }
}

#[pymethods]
impl Outcome {
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Option<Vec<(String, Bound<'py, PyBytes>)>> {
        let headers = self.headers.as_ref()?;
        Some(headers.iter().map(|(name, value)| (name.clone(), PyBytes::new(py, value))).collect())
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.body.as_ref().map(|body| PyBytes::new(py, body))
    }

    #[getter]
    fn stdout<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.stdout)
    }

    #[getter]
    fn stderr<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.stderr)
    }

    #[getter]
    fn timing(&self) -> PyResult<String> {
        to_json(&self.timing)
    }
}
