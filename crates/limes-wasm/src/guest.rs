//! A guest on its way: polled where its caller polls, ended by its deadline, its limits, or a stop.

use crate::function::{Prepared, Time};
use crate::session::Session;
use limes_core::{Error, ErrorKind, Result, StopReason};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Drives one guest to its end, and reports to the invocation's control when that is a failure. Success is reported by
/// whoever takes the answer: it may not be what was promised.
///
/// Dropping it ends the guest at once.
pub(crate) struct Guest<T> {
    code: Option<Pin<Box<dyn Future<Output = Result<T>> + Send>>>,
    session: Arc<Session>,
    deadline: Instant,
    timeout: Duration,
    /// Made only when the guest first waits: most never do.
    timer: Option<Pin<Box<Sleep>>>,
    function: Arc<Prepared>,
}

impl<T> Guest<T> {
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) when no slot is free.
    pub fn new(
        code: impl Future<Output = Result<T>> + Send + 'static,
        session: Arc<Session>,
        (deadline, timeout): Time,
        function: Arc<Prepared>,
    ) -> Result<Self> {
        function.engine.enter()?;
        Ok(Self { code: Some(Box::pin(code)), session, deadline, timeout, timer: None, function })
    }

    fn end(&mut self, outcome: Result<T>) -> Poll<Result<T>> {
        if outcome.is_err() {
            self.session.mark_failing();
        }
        self.code = None;
        if let Err(error) = &outcome {
            self.session.control.finish(Err(error));
        }
        Poll::Ready(outcome)
    }

    /// Why the guest must not go on, if it must not.
    fn interruption(&self) -> Option<Error> {
        if let Some(breach) = self.session.take_breach() {
            return Some(breach);
        }
        let reason = self.session.control.stop_reason()?;
        Some(Error::new(ErrorKind::Stopped, "run guest", reason.describe()))
    }
}

impl<T> Future for Guest<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let Some(code) = &mut this.code else {
            return Poll::Ready(Err(Error::new(
                ErrorKind::Internal,
                "run guest",
                "the guest has ended already",
            )));
        };
        if this.timer.is_some() {
            this.session.computed.resume();
        }
        if let Poll::Ready(outcome) = code.as_mut().poll(cx) {
            return this.end(outcome);
        }
        this.session.computed.pause();
        this.session.control.register(cx.waker());
        if let Some(error) = this.interruption() {
            return this.end(Err(error));
        }
        let deadline = this.deadline;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        // A guest that computes is polled again at once and must not outrun its timer's driver.
        if timer.as_mut().poll(cx).is_ready() || Instant::now() >= deadline {
            let error = Error::timed_out(this.timeout);
            return this.end(Err(error));
        }
        Poll::Pending
    }
}

impl<T> Drop for Guest<T> {
    fn drop(&mut self) {
        if self.code.is_some() {
            self.session.control.stop(StopReason::ClientGone);
            let reason = self.session.control.stop_reason().unwrap_or(StopReason::ClientGone);
            let _ = self.end(Err(Error::new(ErrorKind::Stopped, "run guest", reason.describe())));
        }
        self.function.engine.leave();
    }
}
