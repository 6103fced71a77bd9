//! A guest's answer on its way out: the head, the bytes, the end.

use crate::channel::Window;
use crate::outcome::garbage;
use crate::watch::Watch;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use limes_channel::{Failure, Head};
use limes_core::{Body, Error, ErrorKind, Result, StopReason};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What has come of the answer and not been taken yet. Bytes are bounded by the window.
pub(crate) struct Answer {
    state: Mutex<State>,
    consumer: AtomicWaker,
    pub window: Window,
    limit: u64,
    /// Whether bytes are kept to the end: nobody takes them before.
    collects: bool,
}

#[derive(Default)]
struct State {
    head: Option<Result<http::response::Parts>>,
    frames: VecDeque<Frame<Bytes>>,
    bytes: u64,
    /// The head goes out, whatever the guest does next.
    stands: bool,
    complete: bool,
    end: Option<Result<()>>,
}

impl Answer {
    /// `limit` in bytes.
    pub fn new(limit: u64, collects: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            consumer: AtomicWaker::new(),
            window: Window::default(),
            limit,
            collects,
        })
    }

    /// Takes the head.
    pub fn head(&self, head: std::result::Result<Head<'_>, Failure<'_>>) {
        let head = match head {
            Ok(head) => parts(&head),
            Err(Failure { code, detail }) => {
                let separator = if detail.is_empty() { "" } else { ": " };
                let message = format!("the function answered with the error code {code}{separator}{detail}");
                Err(Error::new(ErrorKind::GuestFailure, "run guest", message))
            }
        };
        self.state.lock().head.get_or_insert(head);
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// They are none, come after the last, or are more than the limit `response`.
    pub fn chunk(&self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        if bytes.is_empty() || state.complete {
            return Err(garbage("a piece of its answer that is empty, or comes after the last"));
        }
        state.bytes += bytes.len() as u64;
        if state.bytes > self.limit {
            let asked =
                if self.collects { format!("{} bytes", state.bytes) } else { "more bytes of body".into() };
            return Err(Error::limit("run guest", "response", self.limit, asked));
        }
        state.frames.push_back(Frame::data(Bytes::copy_from_slice(bytes)));
        drop(state);
        if self.collects {
            self.window.pass(bytes.len() as u64);
        }
        self.consumer.wake();
        Ok(())
    }

    /// The body is complete, with these trailers.
    ///
    /// # Errors
    /// It was before, or HTTP does not have such trailers.
    pub fn finished(&self, trailers: &[(&str, &[u8])]) -> Result<()> {
        let mut state = self.state.lock();
        if state.complete {
            return Err(garbage("the end of its answer twice"));
        }
        if !trailers.is_empty() {
            state.frames.push_back(Frame::trailers(fields(trailers)?));
        }
        state.complete = true;
        drop(state);
        self.consumer.wake();
        Ok(())
    }

    /// The guest has ended.
    pub fn end(&self, outcome: Result<()>) {
        self.state.lock().end.get_or_insert(outcome);
        self.consumer.wake();
    }

    /// The head goes out as soon as it is there.
    pub fn stand(&self) {
        self.state.lock().stands = true;
    }

    /// The head of a guest that goes on, if it is there and [stands](Self::stand).
    pub fn take_early_head(&self) -> Option<Result<http::response::Parts>> {
        let mut state = self.state.lock();
        if state.stands { state.head.take() } else { None }
    }

    /// The head of a guest that has ended, if it is there.
    pub fn take_head(&self) -> Option<Result<http::response::Parts>> {
        self.state.lock().head.take()
    }

    /// All bytes of a guest that has ended.
    pub fn take_bytes(&self) -> Bytes {
        let mut state = self.state.lock();
        let mut data = state.frames.drain(..).filter_map(|frame| frame.into_data().ok());
        let Some(first) = data.next() else { return Bytes::new() };
        let rest: Vec<Bytes> = data.collect();
        if rest.is_empty() { first } else { [&first[..], &rest.concat()].concat().into() }
    }

    /// Whether the guest said that its body is complete.
    pub fn is_complete(&self) -> bool {
        self.state.lock().complete
    }

    /// The body of a guest that goes on.
    pub fn stream(self: Arc<Self>, watch: Arc<Watch>, announced: Option<u64>) -> Body {
        Body::stream(Streaming { answer: self, watch, sent: 0, announced, ended: false })
    }
}

fn fields(entries: &[(&str, &[u8])]) -> Result<HeaderMap> {
    let too_many = |_| garbage("more header fields than there can be");
    let mut map = HeaderMap::try_with_capacity(entries.len()).map_err(too_many)?;
    for (name, value) in entries {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| garbage("a header field that is none"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| garbage("a header value that is none"))?;
        map.try_append(name, value).map_err(too_many)?;
    }
    Ok(map)
}

fn parts(head: &Head<'_>) -> Result<http::response::Parts> {
    let status =
        http::StatusCode::from_u16(head.status).map_err(|_| garbage("a status that HTTP does not have"))?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = fields(&head.headers)?;
    Ok(parts)
}

/// The body of a guest that still runs. Dropped before its end, it stops the guest.
struct Streaming {
    answer: Arc<Answer>,
    watch: Arc<Watch>,
    sent: u64,
    /// The `content-length`: a server asks for no frame past it.
    announced: Option<u64>,
    ended: bool,
}

impl HttpBody for Streaming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        this.answer.consumer.register(cx.waker());
        let mut state = this.answer.state.lock();
        if let Some(Err(_)) = &state.end {
            this.ended = true;
            let error = state.end.take().and_then(Result::err);
            drop(state);
            return Poll::Ready(error.map(Err));
        }
        if let Some(frame) = state.frames.pop_front() {
            drop(state);
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.sent += bytes;
            this.answer.window.pass(bytes);
            return Poll::Ready(Some(Ok(frame)));
        }
        if state.complete || state.end.is_some() {
            this.ended = true;
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if !self.ended && self.announced != Some(self.sent) {
            self.watch.control.stop(StopReason::ClientGone);
        }
        self.watch.end_half();
    }
}
