//! Waiting without sleeping, where that pays: a thread whose next request comes at once looks for it instead of being woken for it.
//!
//! Waking a sleeping core costs more than a small function does (tens of microseconds, in a virtual machine most of all). A client
//! that sends one request after the other would pay it every time. So a server thread that ran out of work polls its sockets for
//! [`ServerConfig::busy_poll`](crate::ServerConfig::busy_poll) before it sleeps, under the rule of the kernel's halt polling: only while it
//! pays. A wait that was longer ends it until a shorter one has been seen, so an idle node uses no processor, and while it polls it yields to
//! whatever else wants the core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

thread_local! {
    static LANE: Lane = const { Lane::new() };
}

/// What one server thread knows about its waits.
struct Lane {
    window: Cell<Duration>,
    /// Since when there is nothing to do; `None` while there is.
    idle_since: Cell<Option<Instant>>,
    /// Whether the last wait was shorter than the window.
    pays: Cell<bool>,
    /// The polling task's, while it sleeps.
    waker: RefCell<Option<Waker>>,
}

impl Lane {
    const fn new() -> Self {
        Self {
            window: Cell::new(Duration::ZERO),
            idle_since: Cell::new(None),
            pays: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Whether to go on polling.
    fn goes_on(&self) -> bool {
        let Some(since) = self.idle_since.get() else { return false };
        if since.elapsed() > self.window.get() {
            self.pays.set(false);
        }
        self.pays.get()
    }
}

/// Polls on this thread from now on, for at most `window` at a time. Runs as a task of the thread's runtime, for ever.
pub(crate) async fn run(window: Duration) {
    LANE.with(|lane| lane.window.set(window));
    loop {
        poll_fn(|cx| {
            LANE.with(|lane| {
                if lane.goes_on() {
                    return Poll::Ready(());
                }
                *lane.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
        std::thread::yield_now();
        // The runtime looks at its sockets between two turns of a task that yields, and does not sleep.
        tokio::task::yield_now().await;
    }
}

/// The thread's runtime is about to sleep: it does not if this wakes a task.
pub(crate) fn before_park() {
    LANE.with(|lane| {
        if lane.window.get().is_zero() {
            return;
        }
        if lane.idle_since.get().is_none() {
            lane.idle_since.set(Some(Instant::now()));
        }
        if lane.pays.get()
            && let Some(waker) = lane.waker.borrow_mut().take()
        {
            waker.wake();
        }
    });
}

/// A client sent something: the wait is over.
pub(crate) fn received() {
    LANE.with(|lane| {
        if let Some(since) = lane.idle_since.take() {
            lane.pays.set(since.elapsed() <= lane.window.get());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// One wait of this thread, as its server sees it; says whether it would have polled.
    fn wait(window: Duration) -> bool {
        LANE.with(|lane| lane.window.set(window));
        before_park();
        let polls = LANE.with(Lane::goes_on);
        received();
        polls
    }

    #[test]
    fn a_thread_polls_after_a_short_wait_and_sleeps_after_a_long_one() {
        assert!(!wait(LONG), "nothing is known before the first wait");
        assert!(wait(LONG), "the wait before was short");
        assert!(!wait(Duration::from_nanos(1)), "this one outlasts the window");
        assert!(!wait(LONG), "the wait before was long");
        assert!(wait(LONG));
    }

    #[test]
    fn without_a_window_it_never_polls() {
        assert!(!wait(Duration::ZERO));
        assert!(!wait(Duration::ZERO));
    }
}
