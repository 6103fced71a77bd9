//! What all functions of a node share: the running table, the counters, the threads that load, and who is loaded.

use crate::entry::Entry;
use crate::metrics::NodeCounters;
use crate::running::RunningTable;
use limes_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Loads at once. Loading is reading a file; only what must be compiled takes long, and that is parallel in itself.
const LOAD_THREADS: usize = 4;

pub(crate) struct Shared {
    pub(crate) started: Instant,
    pub(crate) running: RunningTable,
    pub(crate) counters: NodeCounters,
    pub(crate) blocking: Blocking,
    /// Set once the node drains: calls past HTTP are turned away.
    pub(crate) draining: AtomicBool,
    pub(crate) body_timeout: Duration,
    max_loaded: usize,
    loaded: Mutex<Vec<Weak<Entry>>>,
}

impl Shared {
    pub(crate) fn new(lanes: usize, max_loaded: usize, body_timeout: Duration) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            running: RunningTable::new(),
            counters: NodeCounters::new(lanes),
            blocking: Blocking::new()?,
            draining: AtomicBool::new(false),
            body_timeout,
            max_loaded: max_loaded.max(1),
            loaded: Mutex::default(),
        })
    }

    /// `entry` was loaded just now: unloads the least recently used when there are too many.
    pub(crate) fn loaded(&self, entry: &Arc<Entry>) {
        let mut loaded = self.loaded.lock();
        let is_other = |known: &Weak<Entry>| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(entry));
        if loaded.iter().all(is_other) {
            loaded.push(Arc::downgrade(entry));
        }
        if loaded.len() <= self.max_loaded {
            return;
        }
        loaded.retain(|known| known.upgrade().is_some_and(|known| known.is_loaded()));
        while loaded.len() > self.max_loaded {
            let oldest = (0..loaded.len())
                .filter(|&n| is_other(&loaded[n]))
                .min_by_key(|&n| loaded[n].upgrade().map_or(0, |known| known.last_used()));
            let Some(oldest) = oldest else { break };
            if let Some(entry) = loaded.swap_remove(oldest).upgrade() {
                entry.unload();
            }
        }
    }
}

/// A few threads that may block, started when needed.
pub(crate) struct Blocking(Option<Runtime>);

impl Blocking {
    fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOAD_THREADS)
            .thread_name("limes-load")
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "start", "cannot start the threads that load functions")
                    .from_source(error)
            })?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn_blocking(job);
        }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last owner may be a task of another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}
