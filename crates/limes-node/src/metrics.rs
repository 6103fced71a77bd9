//! Counters: a cell a server thread and function, summed when somebody asks.

use crate::logs::LogRing;
use crate::server::current_lane;
use limes_core::{ErrorKind, Tier, Timing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds of the duration histogram, in microseconds.
const BOUNDS_US: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
const OUTCOMES: usize = ErrorKind::ALL.len() + 1;
const PHASES: [&str; 11] = [
    "load",
    "process",
    "create",
    "boot",
    "route",
    "queue",
    "instantiate",
    "first_byte",
    "execute",
    "reset",
    "teardown",
];

/// What a node and its functions did since the start.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The node as a whole.
    pub node: NodeStats,
    /// Every function of the route table, by name.
    pub functions: BTreeMap<String, FunctionStats>,
}

/// Counters of the node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStats {
    /// Connections open now.
    pub connections_open: usize,
    /// Connections accepted and served.
    pub connections_accepted: u64,
    /// Connections closed at once because too many were open.
    pub connections_refused: u64,
    /// HTTP requests received.
    pub requests: u64,
    /// HTTP requests that named no function.
    pub unrouted: u64,
    /// Functions in the route table.
    pub functions: usize,
    /// Functions loaded now.
    pub loaded: usize,
    /// Invocations running or waiting now.
    pub invocations: usize,
    /// Whether it is shutting down.
    pub draining: bool,
    /// Seconds since the start.
    pub uptime_seconds: f64,
}

/// Counters of one function, all its revisions together.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionStats {
    /// The revision in the route table.
    pub revision: u64,
    /// Requests by outcome: `ok`, or the name of an error kind. What never happened is left out.
    pub requests: BTreeMap<&'static str, u64>,
    /// Invocations that hold a slot now.
    pub running: usize,
    /// Invocations that wait for one.
    pub queued: usize,
    /// Whether the current revision is loaded.
    pub loaded: bool,
    /// Which compiler made the code that the next request runs, if it is loaded.
    pub tier: Option<Tier>,
    /// How often a request had to load it.
    pub cold_loads: u64,
    /// From the accepted request to its whole answer (or its head, when the body streams on).
    pub duration: Histogram,
    /// Nanoseconds spent in each phase, by the names of `Timing`.
    pub phases_ns: BTreeMap<&'static str, u64>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
}

/// A histogram as Prometheus knows it.
#[derive(Clone, Debug, Serialize)]
pub struct Histogram {
    /// `(upper bound in seconds, observations at or below it)`; the bucket above all is `count`.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all observations, in seconds.
    pub sum: f64,
    /// Number of observations.
    pub count: u64,
}

/// What stays of a function when its revision changes: its counters and its log.
pub(crate) struct FunctionState {
    pub(crate) name: Arc<str>,
    pub(crate) logs: LogRing,
    lanes: usize,
    /// Made at the first request: most of ten thousand functions never see one.
    cells: OnceLock<Box<[FunctionCell]>>,
}

/// On cache lines of its own, so that server threads do not wait for one another.
#[repr(align(128))]
struct FunctionCell {
    outcomes: [AtomicU64; OUTCOMES],
    buckets: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_ns: AtomicU64,
    phases: [AtomicU64; PHASES.len()],
    cold_loads: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl FunctionCell {
    fn new() -> Self {
        Self {
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES],
            buckets: [const { AtomicU64::new(0) }; BOUNDS_US.len()],
            count: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
            phases: [const { AtomicU64::new(0) }; PHASES.len()],
            cold_loads: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }
}

impl FunctionState {
    pub(crate) fn new(name: &str, lanes: usize) -> Self {
        Self { name: name.into(), logs: LogRing::default(), lanes, cells: OnceLock::new() }
    }

    fn cell(&self) -> &FunctionCell {
        let cells = self.cells.get_or_init(|| (0..self.lanes).map(|_| FunctionCell::new()).collect());
        &cells[current_lane() % cells.len()]
    }

    /// Counts one request and how long it took.
    pub(crate) fn request(&self, outcome: Option<ErrorKind>, took: Duration) {
        let cell = self.cell();
        cell.outcomes[outcome.map_or(0, |kind| kind as usize + 1)].fetch_add(1, Relaxed);
        cell.count.fetch_add(1, Relaxed);
        cell.sum_ns.fetch_add(took.as_nanos() as u64, Relaxed);
        let bucket = BOUNDS_US.partition_point(|&bound| Duration::from_micros(bound) < took);
        if let Some(bucket) = cell.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn phases(&self, timing: &Timing) {
        let Timing {
            load,
            process,
            create,
            boot,
            route,
            queue,
            instantiate,
            first_byte,
            execute,
            reset,
            teardown,
            ..
        } = *timing;
        let cell = self.cell();
        let spent =
            [load, process, create, boot, route, queue, instantiate, first_byte, execute, reset, teardown];
        for (sum, nanos) in cell.phases.iter().zip(spent) {
            if nanos > 0 {
                sum.fetch_add(nanos, Relaxed);
            }
        }
    }

    pub(crate) fn cold_load(&self) {
        self.cell().cold_loads.fetch_add(1, Relaxed);
    }

    pub(crate) fn bytes_in(&self, bytes: u64) {
        if bytes > 0 {
            self.cell().bytes_in.fetch_add(bytes, Relaxed);
        }
    }

    pub(crate) fn bytes_out(&self, bytes: u64) {
        if bytes > 0 {
            self.cell().bytes_out.fetch_add(bytes, Relaxed);
        }
    }

    pub(crate) fn stats(
        &self,
        revision: u64,
        tier: Option<Tier>,
        (running, queued): (usize, usize),
    ) -> FunctionStats {
        let cells = self.cells.get().map(|cells| &cells[..]).unwrap_or_default();
        let sum = |field: &dyn Fn(&FunctionCell) -> &AtomicU64| -> u64 {
            cells.iter().map(|cell| field(cell).load(Relaxed)).sum()
        };
        let names = std::iter::once("ok").chain(ErrorKind::ALL.iter().map(|kind| kind.name()));
        let requests = names
            .enumerate()
            .map(|(n, name)| (name, sum(&|cell| &cell.outcomes[n])))
            .filter(|&(_, count)| count > 0)
            .collect();
        let mut below = 0;
        let buckets = BOUNDS_US
            .iter()
            .enumerate()
            .map(|(n, &bound)| {
                below += sum(&|cell| &cell.buckets[n]);
                (bound as f64 / 1e6, below)
            })
            .collect();
        FunctionStats {
            revision,
            requests,
            running,
            queued,
            loaded: tier.is_some(),
            tier,
            cold_loads: sum(&|cell| &cell.cold_loads),
            duration: Histogram {
                buckets,
                sum: sum(&|cell| &cell.sum_ns) as f64 / 1e9,
                count: sum(&|cell| &cell.count),
            },
            phases_ns: PHASES
                .iter()
                .enumerate()
                .map(|(n, &name)| (name, sum(&|cell| &cell.phases[n])))
                .collect(),
            bytes_in: sum(&|cell| &cell.bytes_in),
            bytes_out: sum(&|cell| &cell.bytes_out),
        }
    }
}

/// Counters of the node, a cell a server thread.
pub(crate) struct NodeCounters(Box<[NodeCell]>);

#[derive(Default)]
#[repr(align(128))]
struct NodeCell {
    requests: AtomicU64,
    unrouted: AtomicU64,
    finished: AtomicU64,
}

impl NodeCounters {
    pub(crate) fn new(lanes: usize) -> Self {
        Self((0..lanes).map(|_| NodeCell::default()).collect())
    }

    fn cell(&self) -> &NodeCell {
        &self.0[current_lane() % self.0.len()]
    }

    pub(crate) fn request(&self) {
        self.cell().requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn unrouted(&self) {
        self.cell().unrouted.fetch_add(1, Relaxed);
    }

    pub(crate) fn finished(&self) {
        self.cell().finished.fetch_add(1, Relaxed);
    }

    /// `(requests, unrouted, finished)`
    pub(crate) fn sums(&self) -> (u64, u64, u64) {
        self.0.iter().fold((0, 0, 0), |(requests, unrouted, finished), cell| {
            (
                requests + cell.requests.load(Relaxed),
                unrouted + cell.unrouted.load(Relaxed),
                finished + cell.finished.load(Relaxed),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_their_bounds_belong_to_them() {
        let state = FunctionState::new("f", 2);
        state.request(None, Duration::from_micros(50));
        state.request(None, Duration::from_micros(51));
        state.request(Some(ErrorKind::Timeout), Duration::from_secs(31));
        let stats = state.stats(1, None, (0, 0));
        assert_eq!(stats.duration.buckets[0], (0.000_05, 1));
        assert_eq!(stats.duration.buckets[1], (0.000_1, 2));
        assert_eq!(stats.duration.buckets.last(), Some(&(30.0, 2)));
        assert_eq!(stats.duration.count, 3);
        assert_eq!(stats.requests, BTreeMap::from([("ok", 2), ("timeout", 1)]));
    }
}
