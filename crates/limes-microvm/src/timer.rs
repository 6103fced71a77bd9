//! What a machine has computed, and when: until its guest must be over, and until what the guest said of its answer stands.

use crate::driver::Monitor;
use limes_core::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::coop::unconstrained;
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
            // Also where the guest's messages have used up what the task may do at a time.
            let due = pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready();
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

/// After how long a guest that computes is looked after, and how often from then on.
const LOOK: Duration = Duration::from_millis(5);

/// What a guest computes before what it said of its answer stands, where its instructions are the processor's: one that fails at once has by then.
pub(crate) const SETTLED: Duration = LOOK;

/// Looks now and then how long a machine has computed.
///
/// Its own time counts, not that of the clock on the wall: on a busy host a process waits for its processor longer than a short guest runs.
#[derive(Default)]
pub(crate) struct Lookout {
    sleep: Option<Pin<Box<Sleep>>>,
    /// What the machine had computed at the first look.
    before: Option<Duration>,
}

impl Lookout {
    /// Counts from the next look on.
    pub fn restart(&mut self) {
        self.before = None;
    }

    /// Ready at each look, with what the machine has computed since the first.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        computed: impl FnOnce() -> Option<Duration>,
    ) -> Poll<Duration> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
        ready!(sleep.as_mut().poll(cx));
        sleep.as_mut().reset(tokio::time::Instant::now() + LOOK);
        let computed = computed().unwrap_or_default();
        let before = *self.before.get_or_insert(computed);
        Poll::Ready(computed.saturating_sub(before))
    }

    /// Waits until what the machine's guest said stands.
    pub async fn settled(&mut self, monitor: &dyn Monitor) {
        poll_fn(|cx| {
            while ready!(self.poll(cx, || monitor.computed())) < monitor.settles() {}
            Poll::Ready(())
        })
        .await;
    }
}
