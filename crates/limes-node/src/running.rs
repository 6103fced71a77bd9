//! The invocations that exist now.

use crate::invoked::Invoked;
use crate::server::current_lane;
use limes_core::Control;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const SHARDS: usize = 16;

/// One invocation that waits or runs.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// What [`Node::stop`](crate::Node::stop) takes.
    pub id: u64,
    /// The function's name.
    pub function: String,
    /// Its revision.
    pub revision: u64,
    /// Since it came in; whole milliseconds, `age_ms`, in JSON.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// The client, unless it came past HTTP.
    pub client: Option<SocketAddr>,
}

fn millis<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(age.as_millis() as u64)
}

/// A shard a server thread: on the request path no thread waits for another, and only the rare look-up by
/// identity goes through all.
pub(crate) struct RunningTable([Shard; SHARDS]);

/// On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<u64, Entry>>);

type Entry = (Arc<Control>, Arc<Invoked>);

/// Where an invocation is in the table.
#[derive(Clone, Copy)]
pub(crate) struct ShardIndex(usize);

impl ShardIndex {
    /// That of the current thread.
    pub(crate) fn current() -> Self {
        Self(current_lane() % SHARDS)
    }
}

impl RunningTable {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Shard::default()))
    }

    pub(crate) fn insert(&self, control: &Arc<Control>, invoked: &Arc<Invoked>) {
        let entry = (control.clone(), invoked.clone());
        self.0[invoked.shard.0].0.lock().insert(control.id(), entry);
    }

    pub(crate) fn remove(&self, shard: ShardIndex, id: u64) {
        // Bound, so that what it holds is dropped outside the lock.
        let _removed = self.0[shard.0].0.lock().remove(&id);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Control>> {
        self.0.iter().find_map(|shard| shard.0.lock().get(&id).map(|(control, _)| control.clone()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.0.lock().len()).sum()
    }

    pub(crate) fn controls(&self) -> Vec<Arc<Control>> {
        self.0
            .iter()
            .flat_map(|shard| shard.0.lock().values().map(|(control, _)| control.clone()).collect::<Vec<_>>())
            .collect()
    }

    /// `(running, queued)` by function.
    pub(crate) fn by_function(&self) -> HashMap<Arc<str>, (usize, usize)> {
        let mut counts: HashMap<Arc<str>, (usize, usize)> = HashMap::new();
        for shard in &self.0 {
            for (_, invoked) in shard.0.lock().values() {
                let count = counts.entry(invoked.entry.state.name.clone()).or_default();
                if invoked.is_admitted() { count.0 += 1 } else { count.1 += 1 }
            }
        }
        counts
    }

    pub(crate) fn list(&self) -> Vec<Running> {
        let mut list = Vec::new();
        for shard in &self.0 {
            list.extend(shard.0.lock().values().map(|(control, invoked)| Running {
                id: control.id(),
                function: invoked.entry.state.name.to_string(),
                revision: invoked.entry.spec.revision,
                age: invoked.accepted.elapsed(),
                client: invoked.client,
            }));
        }
        list.sort_by(|a, b| b.age.cmp(&a.age).then(a.id.cmp(&b.id)));
        list
    }
}
