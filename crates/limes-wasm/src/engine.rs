//! The Wasmtime engine as Limes sets it up, and the clock that bounds its guests.

use crate::compile::Target;
use crate::spares::Spares;
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
    /// Guests alive at once.
    pub slots: u32,
    pub allocation: Allocation,
    /// Whether components may be asynchronous (WASI 0.3): machinery that each call of any other would pay for.
    pub concurrent: bool,
    /// Which compiler's code it runs: they pass arguments in different ways, so each has an engine.
    pub tier: Tier,
}

/// Where an engine has what instances are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Allocation {
    /// From the operating system, each time.
    System,
    /// From Wasmtime's pool.
    Pool,
    /// From what each thread keeps: for instances with little memory.
    Spares,
}

/// An engine and its ticker.
pub(crate) struct Engine {
    target: Target,
    ticker: Arc<Ticker>,
    slots: usize,
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
        Ok(Self { ticker: Ticker::start(target.engine())?, target, slots: settings.slots as usize })
    }

    pub fn wasmtime(&self) -> &wasmtime::Engine {
        self.target.engine()
    }

    /// What components are compiled for that this engine runs.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A guest starts: the epoch advances until [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) when no slot is free.
    pub fn enter(&self) -> Result<()> {
        if self.ticker.enter() < self.slots {
            return Ok(());
        }
        self.leave();
        Err(no_slot())
    }

    /// A guest that [`enter`](Self::enter)ed has ended.
    pub fn leave(&self) {
        self.ticker.leave();
    }
}

/// Every slot of an engine is taken.
pub(crate) fn no_slot() -> Error {
    let message = "every instance slot of the engine is taken; try again, or start it with more `slots`";
    Error::new(ErrorKind::Overloaded, "instantiate", message)
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
    match settings.allocation {
        Allocation::System => {}
        Allocation::Pool => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings.slots)));
        }
        Allocation::Spares => {
            let spares = Arc::new(Spares);
            // What a memory begins with is copied into it.
            config.with_host_memory(spares.clone()).with_host_stack(spares).memory_init_cow(false);
        }
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
        // Only the pages a request wrote are reset, where the kernel can tell (Linux 6.7). Wasmtime 48 asks for those in memory: one that was
        // swapped out would be the next request's, as it is.
        .pagemap_scan(if may_swap() { Enabled::No } else { Enabled::Auto });
    pool
}

/// Whether the system may swap memory out.
fn may_swap() -> bool {
    // A line of titles, and one for each device or file.
    std::fs::read_to_string("/proc/swaps").map_or(true, |swaps| swaps.lines().nth(1).is_some())
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

    /// Says how many guests there were before.
    fn enter(&self) -> usize {
        let before = self.active.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        before
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
