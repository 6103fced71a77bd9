//! The way of a body's bytes from the guest to whoever reads them: bounded, in memory, one lock.

use crate::host::Host;
use crate::session::Session;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use limes_core::Error;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use wasmtime::format_err;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};
use wasmtime_wasi_http::Error as HttpError;
use wasmtime_wasi_http::p2::body::StreamContext;

/// Bytes that may wait to be read; a guest with more to write waits.
const CAPACITY: usize = 1 << 20;

/// Pieces in which they wait; what a guest writes in more, of a few bytes each, is joined.
const PIECES: usize = 32;

struct State {
    session: Arc<Session>,
    /// Bytes that may wait in all bodies of the call.
    most: u64,
    context: StreamContext,
    /// Bytes that were announced.
    length: Option<u64>,
    written: u64,
    /// Bytes in `chunks`.
    waiting: usize,
    chunks: VecDeque<Bytes>,
    end: End,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum End {
    /// More may come.
    Open,
    Finished(Option<http::HeaderMap>),
    Broken,
    /// The reader has seen it.
    Told,
}

type Shared = Arc<Mutex<State>>;

/// Makes a pipe for a body of `length` bytes, or of any length.
pub(super) fn pipe(host: &Host, context: StreamContext, length: Option<u64>) -> (Writer, Reader) {
    let shared = Arc::new(Mutex::new(State {
        session: host.session.clone(),
        most: host.function().limits.memory,
        context,
        length,
        written: 0,
        waiting: 0,
        chunks: VecDeque::new(),
        end: End::Open,
        reader_gone: false,
        reader: None,
        writer: None,
    }));
    (Writer(shared.clone()), Reader(shared))
}

impl State {
    /// Puts bytes in line.
    ///
    /// # Errors
    /// All bodies of the call together have too many.
    fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        let added = bytes.len() as u64;
        let all = self.session.unread.fetch_add(added, Ordering::Relaxed) + added;
        self.waiting += bytes.len();
        let joins = self.chunks.len() >= PIECES;
        match self.chunks.back_mut() {
            Some(last) if joins => {
                let mut joined = BytesMut::from(std::mem::take(last));
                joined.extend_from_slice(&bytes);
                *last = joined.freeze();
            }
            _ => self.chunks.push_back(bytes),
        }
        if all > self.most {
            return Err(Error::limit("run guest", "memory", self.most, format!("{all} bytes of bodies")));
        }
        Ok(())
    }

    /// Takes the first of them.
    fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.pop_front()?;
        self.waiting -= chunk.len();
        self.session.unread.fetch_sub(chunk.len() as u64, Ordering::Relaxed);
        Some(chunk)
    }
}

/// Sets how the body ends, once, and tells the reader.
fn end(mut state: MutexGuard<'_, State>, how: End) {
    if matches!(state.end, End::Open) {
        state.end = how;
    }
    let reader = state.reader.take();
    release(state, reader);
}

/// Wakes who waited for what was done, when the lock is free again.
fn release(state: MutexGuard<'_, State>, waiting: Option<Waker>) {
    drop(state);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

/// What the resource of the body holds. A guest that leaves without a word has ended its body where it stands; that is its end if no more was
/// announced.
pub(super) struct Writer(Shared);

impl Writer {
    /// The stream the guest writes through.
    pub fn stream(&self) -> Stream {
        Stream(self.0.clone())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The bytes written, when others were announced; the body is then broken.
    pub fn finish(&self, trailers: Option<http::HeaderMap>) -> Result<(), u64> {
        let state = self.0.lock();
        let written = state.written;
        let whole = state.length.is_none_or(|length| length == written);
        end(state, if whole { End::Finished(trailers) } else { End::Broken });
        if whole { Ok(()) } else { Err(written) }
    }

    /// Ends the body as one that is not whole.
    pub fn abort(&self) {
        end(self.0.lock(), End::Broken);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.finish(None);
    }
}

/// `output-stream` of a body.
pub(super) struct Stream(Shared);

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let mut state = self.0.lock();
        if state.reader_gone {
            return Err(StreamError::Closed);
        }
        if bytes.len() > CAPACITY - state.waiting {
            return Err(StreamError::Trap(format_err!("write exceeded budget")));
        }
        state.written += bytes.len() as u64;
        if state.length.is_some_and(|length| state.written > length) {
            let error = state.context.as_body_size_error(state.written);
            return Err(StreamError::LastOperationFailed(format_err!(error)));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = state.push(bytes) {
            let trap = format_err!("{error}");
            state.session.breach(error);
            return Err(StreamError::Trap(trap));
        }
        let reader = state.reader.take();
        release(state, reader);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        if self.0.lock().reader_gone { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        let state = self.0.lock();
        if state.reader_gone { Err(StreamError::Closed) } else { Ok(CAPACITY - state.waiting) }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.reader_gone || state.waiting < CAPACITY {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The end that is read, as a body. Dropped, it closes the guest's stream.
pub(crate) struct Reader(Shared);

impl Body for Reader {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.pop() {
            let writer = state.writer.take();
            release(state, writer);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::Open => {
                state.end = End::Open;
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Finished(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            End::Broken => Poll::Ready(Some(Err(HttpError::HttpProtocolError))),
            End::Finished(None) | End::Told => Poll::Ready(None),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reader_gone = true;
        while state.pop().is_some() {}
        let writer = state.writer.take();
        release(state, writer);
    }
}
