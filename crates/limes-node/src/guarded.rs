//! Response bodies on their way out, and the tasks of HTTP/2 streams.

use crate::connection::InFlight;
use crate::stall::{PORTION, StallClock, Waiting};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::cell::Cell;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The largest frame handed to an HTTP/2 stream at once.
const HTTP2_FRAME: usize = 64 << 10;

tokio::task_local! {
    /// What the HTTP/2 stream of this task waits for, and the bytes of its answer that hyper took so far.
    static STREAM: Cell<(Waiting, u64)>;
}

/// Runs each HTTP/2 stream in a task of its own, and ends one whose client takes its answer too slowly.
///
/// On HTTP/1 such a client blocks the socket, which the connection sees. On HTTP/2 it only closes the stream's
/// window: hyper then waits for room without end, holding what the body gave it. With the task goes the body, and the
/// guest behind it; the client is sent a reset, and its other streams go on.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) body_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let body_timeout = self.body_timeout;
        let watched = async move {
            let mut stream = pin!(stream);
            let mut clock = StallClock::new();
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let (waiting, taken) = STREAM.with(Cell::get);
                clock.poll(cx, (waiting, taken / PORTION), body_timeout)
            })
            .await;
        };
        tokio::spawn(STREAM.scope(Cell::new((Waiting::Nothing, 0)), watched));
    }
}

/// A response body that keeps its connection marked as busy.
pub(crate) struct Tracked<B> {
    body: B,
    /// On HTTP/2, what is left of a piece of the body.
    rest: Bytes,
    http2: bool,
    _in_flight: InFlight,
}

impl<B> Tracked<B> {
    pub(crate) fn new(body: B, in_flight: InFlight, http2: bool) -> Self {
        Self { body, rest: Bytes::new(), http2, _in_flight: in_flight }
    }
}

impl<B> Tracked<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| frame.map(|result| result.map_err(Into::into)))
    }

    /// The next frame, and word of it to the task of the stream.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (_, taken) = STREAM.with(Cell::get);
        if self.rest.is_empty() {
            match self.poll_body(cx) {
                Poll::Pending => {
                    STREAM.with(|stream| stream.set((Waiting::Nothing, taken)));
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return end,
            }
        }
        let size = match self.rest.len() {
            // The last byte goes alone: hyper takes it when the client has room for all before it, and the stream
            // is not over as long as something waits for that.
            size @ 2..=HTTP2_FRAME => size - 1,
            size => size.min(HTTP2_FRAME),
        };
        STREAM.with(|stream| stream.set((Waiting::Write, taken + size as u64)));
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }
}

impl<B> Body for Tracked<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.http2 { self.poll_stream(cx) } else { self.poll_body(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut sum = SizeHint::new();
        if let Some(upper) = hint.upper() {
            sum.set_upper(upper.saturating_add(rest));
        }
        sum.set_lower(hint.lower().saturating_add(rest));
        sum
    }
}
