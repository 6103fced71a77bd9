//! What the node knows about one invocation, and what it does when the guest logs and ends.

use crate::entry::Entry;
use crate::errors;
use crate::logs::Lines;
use crate::running::ShardIndex;
use crate::waiting::stopped;
use bytes::{Bytes, BytesMut};
use limes_core::{Control, Error, ErrorKind, LogStream, Observer, Result, StopReason, next_invocation_id};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// One invocation, from its request to the end of its guest.
pub(crate) struct Invoked {
    pub(crate) entry: Arc<Entry>,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) accepted: Instant,
    pub(crate) shard: ShardIndex,
    admitted: AtomicBool,
    body_too_large: AtomicBool,
    progress: Mutex<Progress>,
    pub(crate) capture: Option<Capture>,
}

#[derive(Default)]
struct Progress {
    /// Counted and logged: nothing that comes later changes the outcome.
    settled: bool,
    /// The response body streams: the guest's end is the request's.
    streaming: bool,
    /// How the guest ended, once it has.
    ended: Option<Result<()>>,
    stdout: Lines,
    stderr: Lines,
}

/// What a call past HTTP keeps of the guest's output, and how it learns of its end.
pub(crate) struct Capture {
    output: Mutex<(BytesMut, BytesMut)>,
    limit: usize,
    pub(crate) ended: Notify,
}

impl Capture {
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { output: Mutex::default(), limit, ended: Notify::new() }
    }

    /// Standard output and standard error so far.
    pub(crate) fn take(&self) -> (Bytes, Bytes) {
        let (stdout, stderr) = std::mem::take(&mut *self.output.lock());
        (stdout.freeze(), stderr.freeze())
    }
}

impl Invoked {
    /// Makes the invocation known: from now on it can be seen and stopped.
    pub(crate) fn begin(
        entry: Arc<Entry>,
        client: Option<SocketAddr>,
        accepted: Instant,
        capture: Option<Capture>,
    ) -> (Arc<Self>, Arc<Control>) {
        let invoked = Arc::new(Self {
            entry,
            client,
            accepted,
            shard: ShardIndex::current(),
            admitted: AtomicBool::new(false),
            body_too_large: AtomicBool::new(false),
            progress: Mutex::default(),
            capture,
        });
        let control = Control::new(next_invocation_id(), invoked.clone());
        invoked.entry.shared.running.insert(&control, &invoked);
        (invoked, control)
    }

    pub(crate) fn set_admitted(&self) {
        self.admitted.store(true, Ordering::Release);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }

    pub(crate) fn set_body_too_large(&self) {
        self.body_too_large.store(true, Ordering::Relaxed);
    }

    /// Whether the request body went past its limit while it was read.
    pub(crate) fn body_too_large(&self) -> bool {
        self.body_too_large.load(Ordering::Relaxed)
    }

    /// The request is answered with `outcome`, whatever the guest goes on doing. The first call counts.
    pub(crate) fn settle(&self, id: u64, outcome: Result<(), &Error>) {
        if !std::mem::replace(&mut self.progress.lock().settled, true) {
            self.count(outcome.err().map(Error::kind));
            if let Err(error) = outcome {
                self.log_failure(id, error);
            }
        }
    }

    /// The response head is sent, and the end of the guest will be the request's outcome.
    pub(crate) fn settle_at_end(&self, id: u64) {
        let mut progress = self.progress.lock();
        progress.streaming = true;
        if let Some(ended) = progress.ended.take() {
            drop(progress);
            self.settle(id, ended.as_ref().copied());
        }
    }

    fn count(&self, outcome: Option<ErrorKind>) {
        self.entry.state.request(outcome, self.accepted.elapsed());
    }

    fn log_failure(&self, id: u64, error: &Error) {
        // A flood that is turned away must not push what the function wrote out of its log.
        if error.kind() != ErrorKind::Overloaded {
            self.entry.state.logs.push_text(id, LogStream::System, errors::log_text(error).as_bytes());
        }
    }
}

impl Observer for Invoked {
    fn log(&self, control: &Control, stream: LogStream, bytes: &[u8]) {
        let logs = &self.entry.state.logs;
        if stream == LogStream::System {
            return logs.push_text(control.id(), stream, bytes);
        }
        if let Some(capture) = &self.capture {
            let mut output = capture.output.lock();
            let kept = if stream == LogStream::Stdout { &mut output.0 } else { &mut output.1 };
            let room = capture.limit.saturating_sub(kept.len());
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let mut progress = self.progress.lock();
        let lines = if stream == LogStream::Stdout { &mut progress.stdout } else { &mut progress.stderr };
        lines.feed(bytes, &mut |line| logs.push(control.id(), stream, line));
    }

    fn finished(&self, control: &Control, outcome: Result<(), &Error>) {
        let Self { entry, .. } = self;
        let kind = outcome.err().map(Error::kind);
        let (count, log) = {
            let mut progress = self.progress.lock();
            progress.ended = Some(outcome.map_err(errors::again));
            let logs = &entry.state.logs;
            progress.stdout.flush(&mut |line| logs.push(control.id(), LogStream::Stdout, line));
            progress.stderr.flush(&mut |line| logs.push(control.id(), LogStream::Stderr, line));
            let was_settled = progress.settled;
            progress.settled |= progress.streaming;
            (!was_settled && progress.streaming, was_settled || progress.streaming)
        };
        if count {
            self.count(kind);
        }
        if let (true, Err(error)) = (log, outcome) {
            self.log_failure(control.id(), error);
        }
        entry.state.phases(&control.timing());
        if self.admitted.swap(false, Ordering::AcqRel) {
            entry.admission.release();
        }
        entry.shared.running.remove(self.shard, control.id());
        entry.shared.counters.finished();
        if let Some(capture) = &self.capture {
            capture.ended.notify_one();
        }
    }
}

/// Ends the invocation when whoever waits for it goes away.
///
/// Sandboxes finish by themselves when their future is dropped; this covers what happens before they are asked,
/// and those that do not.
pub(crate) struct EndOnDrop {
    pub(crate) control: Arc<Control>,
    pub(crate) invoked: Arc<Invoked>,
    pub(crate) reason: StopReason,
    pub(crate) over: bool,
}

impl EndOnDrop {
    pub(crate) fn new(control: &Arc<Control>, invoked: &Arc<Invoked>, reason: StopReason) -> Self {
        Self { control: control.clone(), invoked: invoked.clone(), reason, over: false }
    }

    /// The request has its outcome; `error` also ends the guest's record, if the sandbox has not.
    pub(crate) fn settle(mut self, outcome: Result<(), &Error>) {
        self.over = true;
        if outcome.is_err() {
            self.control.finish(outcome);
        }
        self.invoked.settle(self.control.id(), outcome);
    }

    /// The guest's end will be the outcome.
    pub(crate) fn settle_at_end(mut self) {
        self.over = true;
        self.invoked.settle_at_end(self.control.id());
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if !self.over {
            self.control.stop(self.reason);
            let reason = self.control.stop_reason().unwrap_or(self.reason);
            let error = stopped("invoke", reason);
            self.control.finish(Err(&error));
            self.invoked.settle(self.control.id(), Err(&error));
        }
    }
}

/// Says why an invocation ends before its future is dropped, so that the sandbox can report it.
pub(crate) struct StopOnDrop<'a>(pub(crate) Option<(&'a Control, StopReason)>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((control, reason)) = self.0 {
            control.stop(reason);
        }
    }
}
