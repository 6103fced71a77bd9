//! From Wasmtime's errors to those of Limes.

use crate::engine::no_slot;
use crate::host::Host;
use crate::spares::NO_ROOM;
use limes_core::{Error, ErrorKind};
use std::fmt::{self, Write};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// What Wasmtime says, and has no type for, when a guest has made as many handles as it may.
const NO_HANDLE: &str = "store handle limit exceeded";

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
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || root.ends_with(NO_HANDLE) {
        return Error::limit("run guest", "handles", limits.handles.into(), "one more");
    }
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
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let mut text = "error while executing at wasm backtrace:".to_owned();
    for (at, frame) in trace.frames().iter().enumerate() {
        let offset = frame.module_offset().map(|offset| format!("{offset:#8x} - ")).unwrap_or_default();
        let module = shown(frame.module().name().unwrap_or("<unknown>"));
        let function = match frame.func_name() {
            Some(name) => shown(name),
            None => format!("<wasm function {}>", frame.func_index()),
        };
        text += &format!("\n  {at:>3}: {offset}{module}!{function}");
    }
    text
}

/// What is shown of a name, demangled where it is Rust's.
fn shown(name: &str) -> String {
    let mut shown = Shown(String::new());
    // It fails when there is no more room.
    let _ = write!(shown, "{:#}", rustc_demangle::demangle(name));
    shown.0
}

/// The beginning of a name: it is the guest's, and what a mangled one stands for can be many thousand times as long as the name.
struct Shown(String);

impl Shown {
    /// Bytes.
    const MOST: usize = 400;
}

impl Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(Self::MOST.saturating_sub(self.0.len()));
        self.0.push_str(&text[..room]);
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_were_written() {
        for (name, is) in [
            ("inner_call", "inner_call"),
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
            ("_RNvC6hidden4call", "hidden::call"),
        ] {
            assert_eq!(shown(name), is);
        }
    }

    #[test]
    fn a_name_is_shown_in_part_however_much_it_stands_for() {
        let itself = "é".repeat(50_000);
        let of_cpp = format!("_Z1f1AIiES_I{}ES_I{}E", "S0_".repeat(1000), "S1_".repeat(1000));
        // A tuple of a thousand tuples of a thousand tuples, each there once and referred to then.
        let thousand = |inner: &str, at: &str| format!("T{inner}{}E", format!("B{at}_").repeat(999));
        let of_rust = format!("_RINvC1a1f{}E", thousand(&thousand(&thousand("u", "a"), "9"), "8"));
        assert!(shown(&of_rust).starts_with("a::f::<((((), (), "), "{}", shown(&of_rust));
        for name in [itself, of_cpp, of_rust] {
            assert!(shown(&name).len() <= Shown::MOST, "{name}");
        }
    }
}
