use crate::{Contract, FunctionSpec, Invocation, Output, Result, SandboxKind, Tier, Timing};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to run functions: WebAssembly in the process, a microVM, ...
pub trait Sandbox: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> SandboxKind;

    /// Does everything that can be done before the first request: read, check, compile, link.
    ///
    /// Blocks, for seconds when it has to compile: call it where blocking is allowed.
    ///
    /// # Errors
    /// The component cannot be read, is not valid, exports no contract, or imports what is not offered.
    fn prepare(&self, spec: &FunctionSpec) -> Result<Prepared>;
}

/// A function that can be invoked, and what it cost to get there.
pub struct Prepared {
    /// The function.
    pub function: Arc<dyn Function>,
    /// `compile`, `load`, `cache` and `tier` are set.
    pub timing: Timing,
}

/// One prepared function. Every invocation gets a fresh instance.
pub trait Function: Send + Sync {
    /// How it is called.
    fn contract(&self) -> Contract;

    /// Which compiler made the code that the next call runs.
    fn tier(&self) -> Tier {
        Tier::Optimized
    }

    /// Calls it.
    ///
    /// The future runs the guest where it is polled, and yields to other tasks of its thread every
    /// few milliseconds. It needs a tokio runtime. For HTTP it ends with the response head; the body
    /// goes on by itself. Dropping the future, or the response's body, stops the guest at once.
    ///
    /// # Errors
    /// The input does not fit the contract, or the guest trapped, passed a limit, was stopped, or timed out.
    /// Whatever happens, `invocation.control` is told by the end through [`Control::finish`](crate::Control::finish).
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>>;
}
