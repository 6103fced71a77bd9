//! One revision of one function in the route table: loaded when first needed, unloaded when long unused.

use crate::admission::Admission;
use crate::errors::{again, load_abandoned};
use crate::loader::Shared;
use crate::metrics::FunctionState;
use crate::waiting::until;
use arc_swap::ArcSwapOption;
use limes_core::{Contract, Control, Error, Function, FunctionSpec, Phase, Prepared, Result, Sandbox, Tier};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A function that can be invoked.
pub(crate) struct Loaded {
    pub(crate) function: Arc<dyn Function>,
    pub(crate) contract: Contract,
}

impl Loaded {
    fn new(function: Arc<dyn Function>) -> Arc<Self> {
        Arc::new(Self { contract: function.contract(), function })
    }
}

type Attempt = Option<Result<Arc<Loaded>, Arc<Error>>>;

pub(crate) struct Entry {
    pub(crate) spec: FunctionSpec,
    pub(crate) timeout: Duration,
    pub(crate) admission: Admission,
    pub(crate) state: Arc<FunctionState>,
    pub(crate) shared: Arc<Shared>,
    sandbox: Arc<dyn Sandbox>,
    function: ArcSwapOption<Loaded>,
    /// The load that is going on, for all who wait for it.
    loading: Mutex<Option<watch::Receiver<Attempt>>>,
    /// Nanoseconds from the node's start to the last request.
    last_used: AtomicU64,
}

impl Entry {
    pub(crate) fn new(
        spec: FunctionSpec,
        sandbox: Arc<dyn Sandbox>,
        state: Arc<FunctionState>,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            timeout: Duration::from_millis(spec.limits.timeout),
            admission: Admission::new(&spec.limits),
            spec,
            state,
            shared,
            sandbox,
            function: ArcSwapOption::empty(),
            loading: Mutex::new(None),
            last_used: AtomicU64::new(0),
        })
    }

    /// Takes a function that was prepared before it was published.
    pub(crate) fn set_prepared(self: &Arc<Self>, function: Arc<dyn Function>) {
        self.used(Instant::now());
        self.function.store(Some(Loaded::new(function)));
        self.shared.loaded(self);
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.function.load().is_some()
    }

    /// Which compiler made the code that the next request runs; `None` while none is loaded.
    pub(crate) fn tier(&self) -> Option<Tier> {
        self.function.load().as_ref().map(|loaded| loaded.function.tier())
    }

    /// Forgets the function; requests that use it keep it to their end.
    pub(crate) fn unload(&self) {
        self.function.store(None);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Relaxed)
    }

    fn used(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.shared.started).as_nanos() as u64;
        self.last_used.store(nanos, Relaxed);
    }

    /// The function, loaded if it has to be; all who need it meanwhile wait for the same load.
    ///
    /// # Errors
    /// What the sandbox failed with, [`Timeout`](limes_core::ErrorKind::Timeout) or
    /// [`Stopped`](limes_core::ErrorKind::Stopped). The next request tries again.
    pub(crate) async fn function(
        self: &Arc<Self>,
        control: &Control,
        accepted: Instant,
        deadline: Instant,
    ) -> Result<Arc<Loaded>> {
        self.used(accepted);
        let mut attempt = loop {
            if let Some(loaded) = self.function.load_full() {
                return Ok(loaded);
            }
            if let Some(attempt) = self.join_load() {
                break attempt;
            }
        };
        let came = Instant::now();
        let result = until(control, deadline, "load", attempt.wait_for(Option::is_some)).await?;
        let loaded = match result.as_deref() {
            Ok(Some(Ok(loaded))) => Ok(loaded.clone()),
            Ok(Some(Err(error))) => Err(again(error)),
            Ok(None) | Err(_) => Err(load_abandoned(&self.spec.name)),
        };
        control.record(Phase::Load, came.elapsed());
        loaded
    }

    /// The load that is going on, started if there is none; `None` when it is over already.
    fn join_load(self: &Arc<Self>) -> Option<watch::Receiver<Attempt>> {
        let mut loading = self.loading.lock();
        if let Some(attempt) = &*loading {
            return Some(attempt.clone());
        }
        if self.is_loaded() {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        *loading = Some(receiver.clone());
        drop(loading);
        let load = Load { entry: self.clone(), sender };
        self.shared.blocking.spawn(move || load.run());
        Some(receiver)
    }
}

/// One load. However it ends, even if it never begins, those who wait hear of it and the next request may try again.
struct Load {
    entry: Arc<Entry>,
    sender: watch::Sender<Attempt>,
}

impl Load {
    fn run(self) {
        let Self { entry, sender } = &self;
        entry.state.cold_load();
        let attempt = match entry.sandbox.prepare(&entry.spec) {
            Ok(Prepared { function, .. }) => {
                let loaded = Loaded::new(function);
                entry.function.store(Some(loaded.clone()));
                entry.shared.loaded(entry);
                Ok(loaded)
            }
            Err(error) => Err(Arc::new(error)),
        };
        entry.loading.lock().take();
        sender.send_replace(Some(attempt));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut loading = self.entry.loading.lock();
        if loading.as_ref().is_some_and(|attempt| attempt.same_channel(&self.sender.subscribe())) {
            loading.take();
        }
    }
}
