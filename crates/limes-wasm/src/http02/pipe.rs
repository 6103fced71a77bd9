//! The way of a body's bytes from the guest to whoever reads them: bounded, in memory, one lock.

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime::format_err;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};
use wasmtime_wasi_http::Error as HttpError;
use wasmtime_wasi_http::p2::body::StreamContext;

/// Bytes that may wait to be read; a guest with more to write waits.
const CAPACITY: usize = 1 << 20;

struct State {
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
pub(super) fn pipe(context: StreamContext, length: Option<u64>) -> (Writer, Reader) {
    let shared = Arc::new(Mutex::new(State {
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

/// What the resource of the body holds. A guest that leaves without a word has ended its body where it stands.
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
        if state.length.is_some_and(|length| length != written) {
            end(state, End::Broken);
            return Err(written);
        }
        end(state, End::Finished(trailers));
        Ok(())
    }

    /// Ends the body as one that is not whole.
    pub fn abort(&self) {
        end(self.0.lock(), End::Broken);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        end(self.0.lock(), End::Finished(None));
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
        state.waiting += bytes.len();
        state.chunks.push_back(bytes);
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
        if let Some(chunk) = state.chunks.pop_front() {
            state.waiting -= chunk.len();
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
        state.chunks.clear();
        let writer = state.writer.take();
        release(state, writer);
    }
}
