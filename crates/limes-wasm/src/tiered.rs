//! A function whose code a fast compiler made, until the optimising compiler's is ready.

use crate::function::WasmFunction;
use limes_core::{BoxFuture, Contract, Function, Invocation, Output, Result, Tier};
use parking_lot::RwLock;
use std::sync::Arc;

/// Calls go to the code that is there when they begin, and end in it.
pub(crate) struct TieredFunction {
    current: RwLock<Arc<WasmFunction>>,
}

impl TieredFunction {
    pub fn new(baseline: WasmFunction) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(Arc::new(baseline)) })
    }

    /// Puts the optimised code in the place of the other.
    pub fn replace(&self, optimized: WasmFunction) {
        *self.current.write() = Arc::new(optimized);
    }

    fn current(&self) -> Arc<WasmFunction> {
        self.current.read().clone()
    }
}

impl Function for TieredFunction {
    fn contract(&self) -> Contract {
        self.current().contract()
    }

    fn tier(&self) -> Tier {
        self.current().tier()
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let current = self.current();
        Box::pin(async move { current.invoke(invocation).await })
    }
}
