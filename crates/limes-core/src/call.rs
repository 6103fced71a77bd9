use crate::{
    Body, BoxFuture, Control, Error, Function, Input, Invocation, LogStream, Observer, Output, Result, Timing,
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A number for the next invocation, unique in the process.
pub fn next_invocation_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A call outside a node: the handle to stop it, and the future that makes it.
pub struct Started {
    /// The handle on the call.
    pub control: Arc<Control>,
    /// Makes the call where it is polled. Dropping it stops the guest.
    pub future: BoxFuture<'static, Result<Completed>>,
}

/// A call that is over.
pub struct Completed {
    /// What the function answered; the body of an HTTP response has been read.
    pub output: Output,
    /// What each phase cost.
    pub timing: Timing,
    /// What the guest wrote to stdout.
    pub stdout: Bytes,
    /// What the guest wrote to stderr.
    pub stderr: Bytes,
}

/// Calls `function` with `input`, to its end: at most `timeout` of wall-clock time and `response` bytes of body.
pub fn call(function: Arc<dyn Function>, input: Input, timeout: Duration, response: u64) -> Started {
    let recorder = Arc::new(Recorder::default());
    let control = Control::new(next_invocation_id(), recorder.clone());
    let watched = control.clone();
    let future = Box::pin(async move {
        let control = watched.clone();
        let deadline = Instant::now() + timeout;
        let invocation = Invocation { input, control, deadline, timeout };
        let output = match function.invoke(invocation).await? {
            Output::Http(answer) => {
                let (head, body) = answer.into_parts();
                let bytes = body.collect(response).await?;
                Output::Http(http::Response::from_parts(head, Body::from(bytes)))
            }
            other => other,
        };
        // A guest may outlive its answer: what it cost and wrote is known when it is gone.
        poll_fn(|cx| recorder.poll_gone(cx)).await;
        let (stdout, stderr) = recorder.take();
        Ok(Completed { output, timing: watched.timing(), stdout, stderr })
    });
    Started { control, future }
}

/// Keeps what the guest writes.
#[derive(Default)]
struct Recorder {
    stdout: parking_lot::Mutex<Vec<u8>>,
    stderr: parking_lot::Mutex<Vec<u8>>,
    gone: AtomicBool,
    waiting: AtomicWaker,
}

impl Recorder {
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.register(cx.waker());
        if self.gone.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&self) -> (Bytes, Bytes) {
        (std::mem::take(&mut *self.stdout.lock()).into(), std::mem::take(&mut *self.stderr.lock()).into())
    }
}

impl Observer for Recorder {
    fn log(&self, _: &Control, stream: LogStream, bytes: &[u8]) {
        match stream {
            LogStream::Stdout => self.stdout.lock().extend_from_slice(bytes),
            LogStream::Stderr => self.stderr.lock().extend_from_slice(bytes),
            LogStream::System => {}
        }
    }

    fn finished(&self, _: &Control, _: Result<(), &Error>) {
        self.gone.store(true, Ordering::Release);
        self.waiting.wake();
    }
}
