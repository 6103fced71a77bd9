use crate::{Body, Error, Phase, Tier, Timing};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

/// What a function is called with; the variant follows its contract.
pub enum Input {
    /// For [`Contract::Run`](crate::Contract::Run).
    Run(String),
    /// For the HTTP contracts. The URI holds path and query; the authority is in `Host` or the URI.
    Http(http::Request<Body>),
    /// For the command contracts.
    Command {
        /// Arguments after the program name and the granted ones.
        args: Vec<String>,
        /// Standard input.
        stdin: Body,
    },
}

/// What a function answered; the variant follows its contract.
pub enum Output {
    /// The string `run` returned.
    Run(String),
    /// The response; its body may still be produced by the guest.
    Http(http::Response<Body>),
    /// The command ended.
    Command {
        /// 0 for success.
        exit_code: i32,
        /// What it wrote, unless stdio was inherited.
        stdout: Bytes,
        /// What it wrote, unless stdio was inherited.
        stderr: Bytes,
    },
}

/// One call: what goes in, how it is watched and stopped, and when it must be over.
pub struct Invocation {
    /// What the function is called with.
    pub input: Input,
    /// The handle others hold on this call.
    pub control: Arc<Control>,
    /// When the wall-clock limit passes.
    pub deadline: Instant,
    /// The wall-clock limit itself, for errors: waiting for a slot may have used part of it.
    pub timeout: Duration,
}

/// Why an invocation is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked: Python, the command line or the admin API.
    Requested,
    /// The client of the HTTP request went away.
    ClientGone,
    /// The node shuts down and the grace period is over.
    Shutdown,
}

impl StopReason {
    /// The reason in words, for errors and logs.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Requested => "stopped on request",
            Self::ClientGone => "stopped because its client went away",
            Self::Shutdown => "stopped because the node shut down",
        }
    }
}

/// Which of the guest's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Limes itself: what was denied, why it failed.
    System,
}

/// Who wants to know what an invocation does. Called on the thread that runs the guest: be quick.
pub trait Observer: Send + Sync {
    /// The guest wrote `bytes` (not aligned to lines).
    fn log(&self, control: &Control, stream: LogStream, bytes: &[u8]);

    /// The guest is gone and its instance given back. Called exactly once.
    fn finished(&self, control: &Control, outcome: Result<(), &Error>);
}

const PHASES: usize = 11;

/// The handle on a running invocation: identity, stop switch, phase clock.
pub struct Control {
    id: u64,
    stop: AtomicU8,
    finished: AtomicBool,
    baseline: AtomicBool,
    waker: AtomicWaker,
    phases: [AtomicU64; PHASES],
    observer: Arc<dyn Observer>,
}

impl Control {
    /// A handle for invocation `id` (unique in the process), reporting to `observer`.
    pub fn new(id: u64, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            id,
            stop: AtomicU8::new(0),
            finished: AtomicBool::new(false),
            baseline: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            phases: [const { AtomicU64::new(0) }; PHASES],
            observer,
        })
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Asks the sandbox to end this invocation now. The first reason stays. Does not wait; safe from any thread.
    pub fn stop(&self, reason: StopReason) {
        let code = reason as u8 + 1;
        let _ = self.stop.compare_exchange(0, code, Ordering::Release, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Why the invocation is to stop, if it is.
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::Requested),
            2 => Some(StopReason::ClientGone),
            _ => Some(StopReason::Shutdown),
        }
    }

    /// Remembers whom [`stop`](Self::stop) must wake. For sandboxes, before they wait.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Records how long `phase` took. The last value stays.
    pub fn record(&self, phase: Phase, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.phases[phase as usize].store(nanos, Ordering::Relaxed);
    }

    /// Records which compiler made the code that runs.
    pub fn record_tier(&self, tier: Tier) {
        self.baseline.store(tier == Tier::Baseline, Ordering::Relaxed);
    }

    /// The phases recorded so far.
    pub fn timing(&self) -> Timing {
        let phase = |p: Phase| self.phases[p as usize].load(Ordering::Relaxed);
        Timing {
            load: phase(Phase::Load),
            route: phase(Phase::Route),
            queue: phase(Phase::Queue),
            instantiate: phase(Phase::Instantiate),
            first_byte: phase(Phase::FirstByte),
            execute: phase(Phase::Execute),
            reset: phase(Phase::Reset),
            process: phase(Phase::Process),
            create: phase(Phase::Create),
            boot: phase(Phase::Boot),
            teardown: phase(Phase::Teardown),
            tier: if self.baseline.load(Ordering::Relaxed) { Tier::Baseline } else { Tier::Optimized },
            ..Timing::default()
        }
    }

    /// Passes guest output on to the observer.
    pub fn log(&self, stream: LogStream, bytes: &[u8]) {
        self.observer.log(self, stream, bytes);
    }

    /// Tells the observer that the guest is gone. Only the first call counts.
    pub fn finish(&self, outcome: Result<(), &Error>) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            self.observer.finished(self, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Observer for Count {
        fn log(&self, _: &Control, _: LogStream, _: &[u8]) {}
        fn finished(&self, _: &Control, _: Result<(), &Error>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn finished_is_reported_once() {
        let count = Arc::new(Count::default());
        let control = Control::new(1, count.clone());
        control.finish(Ok(()));
        control.finish(Ok(()));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_first_stop_reason_stays() {
        let control = Control::new(1, Arc::new(Count::default()));
        assert_eq!(control.stop_reason(), None);
        control.stop(StopReason::ClientGone);
        control.stop(StopReason::Requested);
        assert_eq!(control.stop_reason(), Some(StopReason::ClientGone));
    }

    #[test]
    fn phases_keep_what_was_recorded() {
        let control = Control::new(1, Arc::new(Count::default()));
        control.record(Phase::Execute, Duration::from_micros(3));
        assert_eq!(control.timing().execute, 3_000);
        assert_eq!(control.timing().reset, 0);
    }
}
