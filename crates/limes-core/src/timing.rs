use serde::Serialize;

/// Whether the compile cache answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// There was no cache to ask (JIT, or the function was loaded already).
    #[default]
    Unused,
    /// Machine code came from the cache.
    Hit,
    /// The component was compiled, and the result stored.
    Miss,
}

/// Which compiler made the code that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A fast compiler's, until the optimised code is ready.
    Baseline,
    /// The optimising compiler's.
    #[default]
    Optimized,
}

/// What each phase of one invocation cost, in nanoseconds; 0 for a phase that did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// WebAssembly to machine code.
    pub compile: u64,
    /// From bytes on disk (component or artifact) to something that can be instantiated.
    pub load: u64,
    /// Starting a monitor's process; microVMs only, as are `create`, `boot` and `teardown`.
    pub process: u64,
    /// Making the virtual machine, or restoring it.
    pub create: u64,
    /// From the machine's first instruction to the function being instantiated.
    pub boot: u64,
    /// From the accepted request to the function it names.
    pub route: u64,
    /// Waiting for a concurrency slot.
    pub queue: u64,
    /// A fresh store and instance.
    pub instantiate: u64,
    /// From the start of the guest's code to its response head; HTTP contracts only.
    pub first_byte: u64,
    /// From the start of the guest's code to its end.
    pub execute: u64,
    /// Giving the instance back, its memory clean.
    pub reset: u64,
    /// Ending the virtual machine and its process.
    pub teardown: u64,
    /// Whether the compile cache answered.
    pub cache: CacheOutcome,
    /// Which compiler made the code that was loaded, or that ran.
    pub tier: Tier,
}

/// One field of [`Timing`] that is measured while an invocation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the fields of Timing")]
pub enum Phase {
    Load,
    Route,
    Queue,
    Instantiate,
    FirstByte,
    Execute,
    Reset,
    Process,
    Create,
    Boot,
    Teardown,
}
