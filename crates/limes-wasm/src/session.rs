//! What one invocation shares between its guest, its observers and its response.

use crate::response::GuestBody;
use futures_util::task::AtomicWaker;
use limes_core::{Control, Error, ErrorKind, LogStream, Phase, Result};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// State outside the store: the guest's host functions write it, the driver and the response read it.
pub(crate) struct Session {
    pub control: Arc<Control>,
    /// Set with `breach`, so that the guest's clock can look without a lock.
    breached: AtomicBool,
    /// Set before the store of a failed guest goes: its half-written body then ends in an error, not as if complete.
    failing: AtomicBool,
    /// When the guest's code began.
    begun: OnceLock<Instant>,
    pub computed: Computed,
    /// Bytes of bodies that the guest wrote and nobody has read: the host has them, of all bodies together no more than the limit `memory`.
    pub unread: AtomicU64,
    /// Whether the guest, or else its body, has come to its end without failing.
    half_ended: AtomicBool,
    /// Who waits for the failure of a guest that is failing.
    waiting: AtomicWaker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    breach: Option<Error>,
    denied: Option<Denial>,
    head: Option<Head>,
    failure: Option<Error>,
}

/// The processor's time that a guest has taken, by the clock of the thread that polls it.
///
/// Most guests end when they are polled first, within an epoch, and are not measured: reading that clock costs as much as all else that is
/// measured of a call.
#[derive(Default)]
pub(crate) struct Computed {
    /// Nanoseconds, until `since`.
    sum: AtomicU64,
    /// What the thread's clock said when it was counted last, in nanoseconds; 0 while the guest is not polled, and when it is polled first.
    since: AtomicU64,
}

impl Computed {
    /// The guest is polled again.
    pub fn resume(&self) {
        self.since.store(thread_time(), Ordering::Relaxed);
    }

    /// The guest waits.
    pub fn pause(&self) {
        if self.since.load(Ordering::Relaxed) > 0 {
            self.count(0);
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// All until now, of a guest that is polled. `unmeasured` is what counts for the time before the first of these looks.
    pub fn look(&self, unmeasured: Duration) -> Duration {
        Duration::from_nanos(self.count(unmeasured.as_nanos() as u64))
    }

    fn count(&self, unmeasured: u64) -> u64 {
        let now = thread_time();
        let passed = match self.since.swap(now, Ordering::Relaxed) {
            0 => unmeasured,
            since => now.saturating_sub(since),
        };
        self.sum.fetch_add(passed, Ordering::Relaxed) + passed
    }
}

/// Nanoseconds that this thread has computed.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Something the guest asked for and was not granted.
#[derive(Clone)]
pub(crate) struct Denial {
    pub grant: &'static str,
    pub wanted: String,
}

/// The response as the guest gave it.
pub(crate) type Head = Result<http::Response<GuestBody>, String>;

impl Session {
    pub fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            control,
            breached: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            begun: OnceLock::new(),
            computed: Computed::default(),
            unread: AtomicU64::new(0),
            half_ended: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            state: Mutex::default(),
        })
    }

    /// A limit was passed: the guest ends with `error` as soon as it can be made to. The first breach stays.
    pub fn breach(&self, error: Error) {
        self.state.lock().breach.get_or_insert(error);
        self.breached.store(true, Ordering::Release);
    }

    pub fn is_breached(&self) -> bool {
        self.breached.load(Ordering::Acquire)
    }

    pub fn take_breach(&self) -> Option<Error> {
        if self.is_breached() { self.state.lock().breach.take() } else { None }
    }

    /// The guest asked for what its grants do not hold. Logged; becomes the error if the guest fails.
    pub fn deny(&self, grant: &'static str, wanted: impl Into<String>) {
        let denial = Denial { grant, wanted: wanted.into() };
        let line = format!("denied {}: `{}` is not granted\n", grant, denial.wanted);
        self.control.log(LogStream::System, line.as_bytes());
        self.state.lock().denied.get_or_insert(denial);
    }

    /// Wraps an error of the guest when it was denied something before: that is then what to mend.
    pub fn blame_denial(&self, error: Error) -> Error {
        let Some(denial) = self.state.lock().denied.clone() else { return error };
        Error::new(
            ErrorKind::MissingGrant,
            "run guest",
            format!(
                "the function failed after it was denied `{}`; grant it with `grants.{}` if it should have it",
                denial.wanted, denial.grant
            ),
        )
        .with("grant", denial.grant)
        .with("wanted", denial.wanted)
        .from_source(error)
    }

    /// The guest's code begins at `now`.
    pub fn begin(&self, now: Instant) {
        let _ = self.begun.set(now);
    }

    /// The guest set its response.
    pub fn respond(&self, head: Head) {
        if let Some(begun) = self.begun.get() {
            self.control.record(Phase::FirstByte, begun.elapsed());
        }
        self.state.lock().head = Some(head);
    }

    pub fn take_head(&self) -> Option<Head> {
        self.state.lock().head.take()
    }

    pub fn mark_failing(&self) {
        self.failing.store(true, Ordering::Release);
    }

    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// The guest, or its streaming body, has ended: when both have, the invocation has succeeded.
    pub fn end_half(&self) {
        if self.half_ended.swap(true, Ordering::AcqRel) {
            self.control.finish(Ok(()));
        }
    }

    /// The guest failed after its response head was taken: for the body to report.
    pub fn fail(&self, error: Error) {
        self.state.lock().failure.get_or_insert(error);
        self.waiting.wake();
    }

    /// What a guest that [is failing](Self::is_failing) failed with.
    pub fn poll_failure(&self, cx: &mut Context<'_>) -> Poll<Error> {
        self.waiting.register(cx.waker());
        match self.state.lock().failure.take() {
            Some(error) => Poll::Ready(error),
            None => Poll::Pending,
        }
    }
}
