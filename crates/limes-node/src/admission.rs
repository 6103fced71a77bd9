//! Who may run: a fixed number of slots a function, and a bounded queue for them.

use crate::waiting::until;
use limes_core::{Control, Error, ErrorKind, Limits, Phase, Result};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::Semaphore;

pub(crate) struct Admission {
    slots: Semaphore,
    concurrency: u32,
    queue: u32,
    queued: AtomicU32,
}

/// A place in the queue.
struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            slots: Semaphore::new(limits.concurrency as usize),
            concurrency: limits.concurrency,
            queue: limits.queue,
            queued: AtomicU32::new(0),
        }
    }

    /// Takes a slot, waiting in the queue for it: first come, first served. [`release`](Self::release) gives it back.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when the queue is full too, [`ErrorKind::Timeout`], [`ErrorKind::Stopped`].
    pub(crate) async fn acquire(&self, control: &Control, deadline: Instant) -> Result<()> {
        if let Ok(slot) = self.slots.try_acquire() {
            slot.forget();
            return Ok(());
        }
        let came = Instant::now();
        let enter = |queued: u32| (queued < self.queue).then_some(queued + 1);
        if self.queued.fetch_update(Relaxed, Relaxed, enter).is_err() {
            return Err(self.overloaded());
        }
        let _place = Place(&self.queued);
        let slot = until(control, deadline, "queue", self.slots.acquire()).await?;
        // The semaphore is never closed.
        slot.map_err(|closed| Error::new(ErrorKind::Internal, "queue", closed.to_string()))?.forget();
        control.record(Phase::Queue, came.elapsed());
        Ok(())
    }

    pub(crate) fn release(&self) {
        self.slots.add_permits(1);
    }

    fn overloaded(&self) -> Error {
        let Self { concurrency, queue, .. } = self;
        Error::new(
            ErrorKind::Overloaded,
            "queue",
            format!("all {concurrency} slots of the function are taken and {queue} requests wait already; try again later, or raise `limits.concurrency` or `limits.queue`"),
        )
        .with("concurrency", concurrency)
        .with("queue", queue)
    }
}
