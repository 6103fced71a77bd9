//! A function whose code a fast compiler made, until the optimising compiler's is ready.

use crate::function::WasmFunction;
use limes_core::{BoxFuture, Contract, Function, Invocation, Output, Result, Tier};
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

/// How far what nobody waits for stands back behind calls, as nice(2) counts.
const NICE: i32 = 10;
/// For how long the optimising compiler leaves all of the machine to the first call: one that is longer has most to win by it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// One at a time: each compilation takes every core that is idle, and memory.
static OPTIMIZING: Mutex<()> = Mutex::new(());

/// Calls go to the code that is there when they begin, and end in it.
pub(crate) struct TieredFunction {
    current: RwLock<Arc<WasmFunction>>,
    /// Where the optimised code is made, once a first call has ended.
    optimizer: OnceLock<Thread>,
}

impl TieredFunction {
    pub fn new(baseline: WasmFunction) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(Arc::new(baseline)), optimizer: OnceLock::new() })
    }

    /// Puts the optimised code in the place of the other.
    pub fn replace(&self, optimized: WasmFunction) {
        *self.current.write() = Arc::new(optimized);
    }

    fn current(&self) -> Arc<WasmFunction> {
        self.current.read().clone()
    }
}

/// Makes optimised code by `optimize` on a thread of its own, and puts it in the place of what `function` has. It begins once a first
/// call or `patience` has ended. What fails is traced: the function goes on as it is.
///
/// `false` when there can be no such thread.
pub(crate) fn replace_when_made(
    function: &Arc<TieredFunction>,
    patience: Duration,
    optimize: impl FnOnce() -> Result<WasmFunction> + Send + 'static,
) -> bool {
    let (name, replaced) = (function.current().0.name.clone(), Arc::downgrade(function));
    let work = move || {
        thread::park_timeout(patience);
        let _turn = OPTIMIZING.lock();
        in_background(move || replace(&name, &replaced, optimize));
    };
    let Ok(thread) = thread::Builder::new().name("limes-optimize".into()).spawn(work) else {
        return false;
    };
    function.optimizer.get_or_init(|| thread.thread().clone());
    true
}

fn replace(name: &str, function: &Weak<TieredFunction>, optimize: impl FnOnce() -> Result<WasmFunction>) {
    match optimize() {
        Ok(optimized) => {
            if let Some(function) = function.upgrade() {
                function.replace(optimized);
            }
        }
        Err(error) => {
            tracing::warn!(function = name, error = %error, "cannot optimise; the function stays slower")
        }
    }
}

/// Runs `work`, and what it does in parallel, on threads that leave the processor to calls: the first ones run meanwhile.
///
/// The threads are this work's alone. In a common pool one that waits would take up other work, perhaps for what it holds.
fn in_background(work: impl FnOnce() + Send) {
    let stand_back = |_| {
        let _ = rustix::process::nice(NICE);
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|_| "limes-optimize".into())
        .start_handler(stand_back)
        .build();
    match pool {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
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
        Box::pin(async move {
            let output = current.invoke(invocation).await;
            if let Some(optimizer) = self.optimizer.get().filter(|_| current.tier() == Tier::Baseline) {
                optimizer.unpark();
            }
            output
        })
    }
}
