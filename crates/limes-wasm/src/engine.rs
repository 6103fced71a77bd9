//! The Wasmtime engine as Limes sets it up, and the clock that bounds its guests.

use crate::compile::Target;
use limes_core::{Error, ErrorKind, Result, Tier};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

/// How long an epoch lasts: the grain of the `cpu` limit, and how long a busy guest keeps its thread.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a running guest after which the ticker sleeps until the next one starts.
const IDLE_TICKS: u32 = 200;

/// Stack the host's own functions need on top of the guest's.
const HOST_STACK: u64 = 512 << 10;

/// How an [`Engine`](wasmtime::Engine) is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EngineSettings {
    /// WebAssembly stack in bytes: a property of the engine, so functions with another limit get another engine.
    pub stack: u64,
    /// Instances alive at once; `None` allocates each from the operating system instead of a pool.
    pub slots: Option<u32>,
    /// Whether components may be asynchronous (WASI 0.3): machinery that each call of any other would pay for.
    pub concurrent: bool,
    /// Which compiler's code it runs: they pass arguments in different ways, so each has an engine.
    pub tier: Tier,
}

/// An engine and its ticker.
pub(crate) struct Engine {
    target: Target,
    ticker: Arc<Ticker>,
}

impl Engine {
    pub fn new(settings: EngineSettings) -> Result<Self> {
        let target = Target::new(config(settings)).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "start engine",
                format!("the WebAssembly engine does not start with {settings:?}; fewer `slots` need less address space"),
            )
            .from_source(error)
        })?;
        Ok(Self { ticker: Ticker::start(target.engine())?, target })
    }

    pub fn wasmtime(&self) -> &wasmtime::Engine {
        self.target.engine()
    }

    /// What components are compiled for that this engine runs.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A guest starts: the epoch advances until [`leave`](Self::leave).
    pub fn enter(&self) {
        self.ticker.enter();
    }

    /// A guest that [`enter`](Self::enter)ed has ended.
    pub fn leave(&self) {
        self.ticker.leave();
    }
}

fn config(settings: EngineSettings) -> Config {
    let mut config = Config::new();
    let stack = usize::try_from(settings.stack).unwrap_or(usize::MAX);
    let whole_stack = usize::try_from(settings.stack + HOST_STACK).unwrap_or(usize::MAX);
    config
        .epoch_interruption(true)
        .wasm_component_model_async(settings.concurrent)
        .concurrency_support(settings.concurrent)
        .max_wasm_stack(stack)
        .async_stack_size(whole_stack)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .parallel_compilation(true);
    if settings.tier == Tier::Baseline {
        config.strategy(Strategy::Winch);
    }
    if let Some(slots) = settings.slots {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    }
    config
}

/// A pool of `slots` instances. Address space is reserved, memory is not: what stays resident
/// between requests is bounded by the `keep_resident` figures times the warm slots.
fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(8))
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(4))
        .total_stacks(slots)
        .total_gc_heaps(slots)
        .max_component_instance_size(2 << 20)
        .max_core_instance_size(2 << 20)
        .max_memories_per_module(16)
        .max_tables_per_module(16)
        .table_elements(200_000)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(128 << 10)
        .max_unused_warm_slots(64)
        // Only the pages a request wrote are reset, where the kernel can tell (Linux 6.7).
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Raises the engine's epoch every [`TICK`] while guests run, and sleeps while none does.
struct Ticker {
    active: AtomicUsize,
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            active: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let (weak, engine) = (Arc::downgrade(&ticker), engine.weak());
        let handle = std::thread::Builder::new()
            .name("limes-epoch".into())
            .spawn(move || {
                let mut idle = 0;
                while let (Some(ticker), Some(engine)) = (Weak::upgrade(&weak), engine.upgrade()) {
                    engine.increment_epoch();
                    idle = if ticker.active.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                    if idle >= IDLE_TICKS {
                        idle = 0;
                        drop(engine);
                        ticker.park();
                    } else {
                        drop((ticker, engine));
                        std::thread::sleep(TICK);
                    }
                }
            })
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "start engine", "cannot start the epoch thread")
                    .from_source(error)
            })?;
        let _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    /// Sleeps until a guest starts, looking up now and then whether the engine is gone.
    fn park(self: Arc<Self>) {
        self.parked.store(true, Ordering::SeqCst);
        // A guest that started before it could see `parked` has raised `active` already.
        if self.active.load(Ordering::SeqCst) == 0 {
            drop(self);
            std::thread::park_timeout(Duration::from_secs(1));
        } else {
            self.parked.store(false, Ordering::SeqCst);
        }
    }

    fn enter(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn leave(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    #[cold]
    fn wake(&self) {
        self.parked.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
