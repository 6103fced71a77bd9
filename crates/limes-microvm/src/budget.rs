//! The memory that machines may take together: counted before one is started.

use limes_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Bytes that all machines of a process may take.
pub(crate) struct Budget {
    allowed: u64,
    used: Mutex<u64>,
    freed: Notify,
}

/// What a call that wants a machine gets.
pub(crate) enum Taken<M> {
    /// One that waited.
    Machine(M),
    /// Memory for a new one.
    Memory(Lease),
}

/// Memory of one machine; given back when it is dropped.
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// `allowed` in bytes.
    pub fn new(allowed: u64) -> Arc<Self> {
        Arc::new(Self { allowed, used: Mutex::new(0), freed: Notify::new() })
    }

    /// Takes memory for a machine if there is enough.
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let mut used = self.used.lock();
        let wanted = used.checked_add(bytes).filter(|wanted| *wanted <= self.allowed)?;
        *used = wanted;
        Some(Lease { budget: self.clone(), bytes })
    }

    /// A machine has come to wait: whoever waits for memory can have it, or end it.
    pub fn tell(&self) {
        self.freed.notify_waiters();
    }

    /// Takes a machine that is `waiting`, or memory for one, waiting for either until `deadline`; `make_room` is asked to end a machine
    /// that only waits.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when there is not enough in time, or never will be.
    pub async fn take<M>(
        self: &Arc<Self>,
        bytes: u64,
        deadline: Instant,
        waiting: impl Fn() -> Option<M>,
        make_room: impl Fn() -> bool,
    ) -> Result<Taken<M>> {
        loop {
            // Registered before it is looked, so that nothing given back between is missed.
            let freed = self.freed.notified();
            if let Some(machine) = waiting() {
                return Ok(Taken::Machine(machine));
            }
            if let Some(lease) = self.try_take(bytes) {
                return Ok(Taken::Memory(lease));
            }
            if bytes <= self.allowed && make_room() {
                continue;
            }
            if bytes > self.allowed || tokio::time::timeout_at(deadline.into(), freed).await.is_err() {
                return Err(self.exhausted(bytes));
            }
        }
    }

    fn exhausted(&self, bytes: u64) -> Error {
        let mib = |bytes: u64| bytes >> 20;
        let used = *self.used.lock();
        Error::new(
            ErrorKind::Overloaded,
            "start microVM",
            format!(
                "a machine of {} MiB does not fit: machines take {} of {} MiB; try again, give it less (`microvm.memory`), or raise the \
                 budget (LIMES_MICROVM_MEMORY)",
                mib(bytes),
                mib(used),
                mib(self.allowed)
            ),
        )
        .with("limit", "microvm memory")
        .with("allowed", self.allowed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.budget.used.lock() -= self.bytes;
        self.budget.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn nothing() -> Option<()> {
        None
    }

    #[tokio::test]
    async fn memory_is_counted_before_a_machine_starts_and_given_back_after() {
        let budget = Budget::new(100);
        let first = budget.try_take(60).unwrap();
        assert!(budget.try_take(60).is_none());
        let soon = Instant::now() + Duration::from_millis(5);
        let refused = budget.take(60, soon, nothing, || false).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        let waiting = {
            let budget = budget.clone();
            let later = Instant::now() + Duration::from_secs(30);
            tokio::spawn(async move { budget.take(60, later, nothing, || false).await })
        };
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!(*budget.used.lock(), 0);
    }

    #[tokio::test]
    async fn a_machine_that_only_waits_makes_room_for_one_that_is_called() {
        let budget = Budget::new(100);
        let idle = Mutex::new(budget.try_take(100));
        let deadline = Instant::now() + Duration::from_secs(30);
        let taken = budget.take(50, deadline, nothing, || idle.lock().take().is_some()).await;
        assert!(matches!(taken, Ok(Taken::Memory(_))));
    }

    #[tokio::test]
    async fn a_machine_that_comes_to_wait_is_had_or_makes_room() {
        for is_own in [true, false] {
            let budget = Budget::new(100);
            let busy = budget.try_take(100);
            let idle = Mutex::new(None);
            let waiting = || if is_own { idle.lock().take() } else { None };
            let make_room = || idle.lock().take().is_some();
            let deadline = Instant::now() + Duration::from_secs(30);
            let taken = budget.take(50, deadline, waiting, make_room);
            let (taken, ()) = tokio::join!(taken, async {
                *idle.lock() = busy;
                budget.tell();
            });
            assert_eq!(matches!(taken, Ok(Taken::Machine(_))), is_own);
            assert_eq!(matches!(taken, Ok(Taken::Memory(_))), !is_own);
        }
    }

    #[tokio::test]
    async fn a_machine_larger_than_all_is_refused_at_once() {
        let budget = Budget::new(100);
        let deadline = Instant::now() + Duration::from_secs(3600);
        assert!(budget.take(101, deadline, nothing, || true).await.is_err());
    }
}
