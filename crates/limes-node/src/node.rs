//! The node: functions behind a server.

use crate::call::{Call, start};
use crate::config::NodeConfig;
use crate::dispatch::Dispatcher;
use crate::entry::Entry;
use crate::loader::Shared;
use crate::logs::LogLine;
use crate::metrics::{FunctionState, NodeStats, Stats};
use crate::running::Running;
use crate::server::{Server, thread_count};
use crate::table::{Table, check};
use arc_swap::ArcSwap;
use limes_core::{
    Contract, Error, ErrorKind, FunctionSpec, Prepared, Result, Sandbox, SandboxKind, Started, StopReason,
    Timing,
};
use parking_lot::Mutex;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a drained node waits for those it stopped to give their answers.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What the server threads and the owner of a node share.
pub(crate) struct Inner {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) shared: Arc<Shared>,
}

/// The data plane: listens, routes, admits, runs. All methods may be called from any thread.
///
/// Dropping it shuts down hard: running guests are stopped and connections closed. [`drain`](Self::drain) first to
/// lose nothing.
pub struct Node {
    inner: Arc<Inner>,
    sandboxes: Vec<Arc<dyn Sandbox>>,
    server: Server,
    address: SocketAddr,
    lanes: usize,
    /// Held while the route table is changed.
    changing: Mutex<()>,
}

/// What publishing a function came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Published {
    /// How it is called.
    pub contract: Contract,
    /// What loading it cost: `compile`, `load` and `cache`.
    pub timing: Timing,
}

/// What a drain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Invocations that ended by themselves within the grace period.
    pub finished: u64,
    /// Invocations that were stopped after it.
    pub stopped: u64,
}

impl Node {
    /// Binds and starts to serve. There are no functions yet: until [`restore`](Self::restore) says which there are, one
    /// that is not there is unavailable, not missing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the address cannot be bound or a thread not be started.
    pub fn start(config: NodeConfig, sandboxes: Vec<Arc<dyn Sandbox>>) -> Result<Self> {
        let lanes = thread_count(config.threads);
        let shared = Arc::new(Shared::new(lanes, config.max_loaded, config.body_timeout)?);
        let inner = Arc::new(Inner { table: ArcSwap::default(), shared });
        let server = Server::start(config.server(), |_| Dispatcher { inner: inner.clone() })?;
        let address = server.local_addr();
        Ok(Self { inner, sandboxes, server, address, lanes, changing: Mutex::new(()) })
    }

    /// Where it listens, the port filled in.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves these functions, and only these. Each is loaded at its first request; what was known of functions
    /// of the same names (counters, log) stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a bad name, host or limit, a name or host that occurs twice, or a sandbox the
    /// node does not have. Nothing changes then.
    pub fn restore(&self, specs: Vec<FunctionSpec>) -> Result<()> {
        let _changing = self.changing.lock();
        let known = self.inner.table.load_full();
        let entries = specs.into_iter().map(|spec| self.entry(&known, spec)).collect::<Result<Vec<_>>>()?;
        self.inner.table.store(Arc::new(Table::new(entries)?));
        Ok(())
    }

    /// Loads a function, then puts it in the place of its earlier revision at once. Requests that run or wait on the
    /// earlier one end there. Blocks while the sandbox compiles.
    ///
    /// Of two calls for one name the last to be ready wins: the caller keeps them in order.
    ///
    /// # Errors
    /// What [`restore`](Self::restore) fails with, or the sandbox. Nothing changes then.
    pub fn publish(&self, spec: FunctionSpec) -> Result<Published> {
        let entry = self.entry(&self.inner.table.load(), spec)?;
        // Before the seconds of compiling too, so that what cannot be published fails at once.
        self.inner.table.load().with(entry.clone())?;
        let Prepared { function, timing } = self.sandbox(entry.spec.sandbox)?.prepare(&entry.spec)?;
        let contract = function.contract();

        let _changing = self.changing.lock();
        let known = self.inner.table.load_full();
        // The name may have come or gone meanwhile, and its counters and log with it.
        let entry = self.entry(&known, entry.spec.clone())?;
        let table = known.with(entry.clone())?;
        entry.set_prepared(function);
        self.inner.table.store(Arc::new(table));
        Ok(Published { contract, timing })
    }

    /// Takes a function out of the route table, with its counters and its log. Its running invocations go on to
    /// their end. False when there was none of that name.
    pub fn remove(&self, name: &str) -> bool {
        let _changing = self.changing.lock();
        match self.inner.table.load().without(name) {
            Some(table) => {
                self.inner.table.store(Arc::new(table));
                true
            }
            None => false,
        }
    }

    /// Prepares a call past HTTP, through the same admission as requests. The guest runs where the future is polled,
    /// which needs a tokio runtime with time; dropping the future stops it. What it wrote is kept up to
    /// `limits.output` bytes a stream.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unavailable`] while the node starts or drains,
    /// [`ErrorKind::RequestTooLarge`], or [`ErrorKind::InvalidArgument`] for a method, path or header that HTTP does not have.
    pub fn start_call(&self, name: &str, call: Call) -> Result<Started> {
        if self.inner.shared.draining.load(Ordering::SeqCst) {
            let message = "the node is shutting down; call another, or this one when it is back";
            return Err(Error::new(ErrorKind::Unavailable, "invoke", message));
        }
        start(self.find(name)?, call)
    }

    /// The invocations that wait or run, the oldest first.
    pub fn running(&self) -> Vec<Running> {
        self.inner.shared.running.list()
    }

    /// Stops an invocation; false when there is none of that identity.
    pub fn stop(&self, id: u64) -> bool {
        let control = self.inner.shared.running.get(id);
        if let Some(control) = &control {
            control.stop(StopReason::Requested);
        }
        control.is_some()
    }

    /// The oldest `limit` lines of a function's log with a number above `after`. The last 4,096 lines are kept, up
    /// to 1 MiB.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn logs(&self, name: &str, after: u64, limit: usize) -> Result<Vec<LogLine>> {
        Ok(self.find(name)?.state.logs.after(after, limit))
    }

    /// Counters of the node and of every function.
    pub fn stats(&self) -> Stats {
        let Inner { table, shared } = &*self.inner;
        let table = table.load();
        let connections = self.server.connections();
        let by_function = shared.running.by_function();
        let functions: std::collections::BTreeMap<_, _> = table
            .by_name
            .iter()
            .map(|(name, entry)| {
                let now = by_function.get(name).copied().unwrap_or_default();
                (name.to_string(), entry.state.stats(entry.spec.revision, entry.tier(), now))
            })
            .collect();
        let (requests, unrouted, _) = shared.counters.sums();
        let node = NodeStats {
            connections_open: connections.open,
            connections_accepted: connections.accepted,
            connections_refused: connections.refused,
            requests,
            unrouted,
            functions: functions.len(),
            loaded: functions.values().filter(|function| function.loaded).count(),
            invocations: shared.running.len(),
            draining: shared.draining.load(Ordering::Relaxed),
            uptime_seconds: shared.started.elapsed().as_secs_f64(),
        };
        Stats { node, functions }
    }

    /// Shuts down without losing an accepted request, and blocks until that is done.
    ///
    /// Connections in the backlog are accepted and answered, and so is what is in flight or pipelined; then the
    /// connections are closed. What still runs after `grace` is stopped with [`StopReason::Shutdown`], and answered
    /// so where it can be. Afterwards the node answers nothing; its counters and logs can still be read.
    pub fn drain(&self, grace: Duration) -> DrainReport {
        let Shared { draining, running, counters, .. } = &*self.inner.shared;
        let server = &self.server;
        let (.., before) = counters.sums();
        draining.store(true, Ordering::SeqCst);
        server.begin_drain();
        let idle = || running.len() == 0;
        let ended = server.wait_idle(Instant::now() + grace, idle);
        let (.., after) = counters.sums();
        let mut stopped = 0;
        if !ended {
            let controls = running.controls();
            stopped = controls.len() as u64;
            controls.iter().for_each(|control| control.stop(StopReason::Shutdown));
            server.wait_idle(Instant::now() + STOP_GRACE, idle);
        }
        server.stop();
        DrainReport { finished: after - before, stopped }
    }

    fn find(&self, name: &str) -> Result<Arc<Entry>> {
        self.inner.table.load().find(name).cloned()
    }

    fn entry(&self, known: &Table, spec: FunctionSpec) -> Result<Arc<Entry>> {
        check(&spec)?;
        let sandbox = self.sandbox(spec.sandbox)?.clone();
        let state = match known.by_name.get(&*spec.name) {
            Some(earlier) => earlier.state.clone(),
            None => Arc::new(FunctionState::new(&spec.name, self.lanes)),
        };
        Ok(Entry::new(spec, sandbox, state, self.inner.shared.clone()))
    }

    fn sandbox(&self, kind: SandboxKind) -> Result<&Arc<dyn Sandbox>> {
        self.sandboxes.iter().find(|sandbox| sandbox.kind() == kind).ok_or_else(|| {
            let message = format!("this node has no sandbox of kind {kind:?}; name another in `sandbox`");
            Error::new(ErrorKind::InvalidArgument, "load", message)
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Shared { draining, running, .. } = &*self.inner.shared;
        draining.store(true, Ordering::SeqCst);
        running.controls().iter().for_each(|control| control.stop(StopReason::Shutdown));
        self.server.stop();
    }
}
