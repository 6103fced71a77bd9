//! Waiting on behalf of an invocation.

use limes_core::{Control, Error, ErrorKind, Result, StopReason};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

/// `future`'s output, unless the invocation is stopped or its deadline passes first.
///
/// # Errors
/// [`ErrorKind::Stopped`] and [`ErrorKind::Timeout`].
pub(crate) async fn until<F: Future>(
    control: &Control,
    deadline: Instant,
    operation: &'static str,
    future: F,
) -> Result<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(tokio::time::sleep_until(deadline.into()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        control.register(cx.waker());
        if let Some(reason) = control.stop_reason() {
            return Poll::Ready(Err(stopped(operation, reason)));
        }
        sleep.as_mut().poll(cx).map(|()| Err(timed_out(operation)))
    })
    .await
}

/// `future`'s output, unless the deadline passes first; for what ends when the guest does.
///
/// A stop has one task to wake, and here that is the guest's.
///
/// # Errors
/// [`ErrorKind::Timeout`].
pub(crate) async fn until_guest<F: Future>(
    deadline: Instant,
    operation: &'static str,
    future: F,
) -> Result<F::Output> {
    tokio::time::timeout_at(deadline.into(), future).await.map_err(|_| timed_out(operation))
}

pub(crate) fn stopped(operation: &'static str, reason: StopReason) -> Error {
    Error::new(ErrorKind::Stopped, operation, format!("the invocation was {}", reason.describe()))
}

pub(crate) fn timed_out(operation: &'static str) -> Error {
    let message = format!(
        "the function's time was over before it could answer (while waiting: {operation}); try again, or raise `limits.timeout`"
    );
    Error::new(ErrorKind::Timeout, operation, message)
}
