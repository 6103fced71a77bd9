//! When a guest must be over: by the wall clock, and by the time its machine has computed.

use crate::driver::Monitor;
use limes_core::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The clock of one call.
pub(crate) struct Timer {
    deadline: Instant,
    timeout: Duration,
    cpu: Duration,
    /// What the machine had computed before the call.
    cpu_before: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// `cpu` in milliseconds.
    pub fn new(deadline: Instant, timeout: Duration, cpu: u64, monitor: &dyn Monitor) -> Self {
        let cpu_before = monitor.computed().unwrap_or_default();
        Self { deadline, timeout, cpu: Duration::from_millis(cpu), cpu_before, sleep: None }
    }

    /// The error that ends the guest, once there is one.
    pub fn poll(&mut self, cx: &mut Context<'_>, monitor: &dyn Monitor) -> Poll<Error> {
        loop {
            let (deadline, left) = (self.deadline, self.cpu);
            // A machine has one processor: it cannot have computed longer than the time that has passed.
            let sleep = self.sleep.get_or_insert_with(|| {
                Box::pin(tokio::time::sleep_until(deadline.min(Instant::now() + left).into()))
            });
            let due = sleep.as_mut().poll(cx).is_ready();
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(Error::timed_out(self.timeout));
            }
            if !due {
                return Poll::Pending;
            }
            let computed = monitor.computed().unwrap_or_default().saturating_sub(self.cpu_before);
            let Some(left) = self.cpu.checked_sub(computed).filter(|left| !left.is_zero()) else {
                let allowed = u64::try_from(self.cpu.as_millis()).unwrap_or(u64::MAX);
                return Poll::Ready(Error::limit(
                    "run guest",
                    "cpu",
                    allowed,
                    "more milliseconds of computing",
                ));
            };
            // The process of the monitor has more threads than one.
            let next = (now + left.max(Duration::from_millis(1))).min(self.deadline);
            if let Some(sleep) = &mut self.sleep {
                sleep.as_mut().reset(next.into());
            }
        }
    }
}
