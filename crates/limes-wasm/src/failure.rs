//! From Wasmtime's errors to those of Limes.

use crate::engine::no_slot;
use crate::host::Host;
use crate::spares::NO_ROOM;
use limes_core::{Error, ErrorKind};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// What it means that the guest ended with `error`.
///
/// A limit that was passed and a grant that was missing come before the trap they led to.
pub(crate) fn translate(error: wasmtime::Error, host: &Host) -> Error {
    let limits = &host.function().limits;
    if let Some(breach) = host.session.take_breach() {
        return breach;
    }
    if let Some(reason) = host.session.control.stop_reason() {
        return Error::new(ErrorKind::Stopped, "run guest", reason.describe());
    }
    if let Some(breach) = host.limiter.breach() {
        return breach;
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Error::limit("run guest", "handles", limits.handles.into(), "one more");
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return no_slot().from_source(error);
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        let failure = Error::new(
            ErrorKind::GuestFailure,
            "run guest",
            format!("the function exited with code {code} instead of answering"),
        )
        .with("exit_code", code);
        return host.session.blame_denial(failure);
    }
    let root = error.root_cause().to_string();
    if root.starts_with("resource limit exceeded") {
        let asked = root.rsplit(' ').next().unwrap_or("more");
        return Error::limit("instantiate", "instances", limits.instances.into(), asked);
    }
    if root.starts_with(NO_ROOM) {
        return Error::new(ErrorKind::Overloaded, "instantiate", root);
    }
    if let Some(Trap::StackOverflow) = error.downcast_ref() {
        return Error::limit("run guest", "stack", limits.stack, "more").with("backtrace", backtrace(&error));
    }
    host.session.blame_denial(trap(&error, &root))
}

fn trap(error: &wasmtime::Error, root: &str) -> Error {
    let trapped = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("the function trapped: {trap}"),
        None => format!("the function trapped: {root}"),
    };
    Error::new(ErrorKind::GuestTrap, "run guest", trapped).with("backtrace", backtrace(error))
}

/// The wasm frames, innermost first, one a line.
fn backtrace(error: &wasmtime::Error) -> String {
    error
        .downcast_ref::<WasmBacktrace>()
        .map(|trace| trace.to_string().trim_end().to_owned())
        .unwrap_or_default()
}
