//! Request bodies on their way in, counted and timed.

use crate::invoked::Invoked;
use crate::server::Connection;
use crate::waiting::timed_out;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use limes_core::{Error, ErrorKind, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The body of an HTTP request, as a guest may read it: within its limit, its deadline, and without long pauses.
pub(crate) struct RequestBody {
    pub(crate) incoming: Incoming,
    pub(crate) connection: Arc<Connection>,
    pub(crate) invoked: Arc<Invoked>,
    pub(crate) limit: u64,
    pub(crate) read: u64,
    pub(crate) stall: Duration,
    pub(crate) deadline: Instant,
    /// Made at the first pause.
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
    /// Whether `timer` counts.
    pub(crate) paused: bool,
    pub(crate) over: bool,
}

impl RequestBody {
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.over = true;
        self.connection.linger();
        Poll::Ready(Some(Err(error)))
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if !std::mem::replace(&mut self.paused, true) {
            let until = self.deadline.min(Instant::now() + self.stall).into();
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let error = if Instant::now() >= self.deadline {
            timed_out("read body")
        } else {
            let message = format!("the client sent nothing of the request body for {:?}", self.stall);
            Error::new(ErrorKind::Timeout, "read body", message)
        };
        self.fail(error)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => self.poll_pause(cx),
            Poll::Ready(None) => {
                self.over = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.paused = false;
                self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.read > self.limit {
                    self.invoked.set_body_too_large();
                    let error = Error::request_too_large(self.limit, self.read);
                    return self.fail(error);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let message = "the request body broke off or was malformed";
                let error = Error::new(ErrorKind::InvalidArgument, "read body", message).from_source(error);
                self.fail(error)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { self.incoming.size_hint() }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.invoked.entry.state.bytes_in(self.read);
        if !self.is_end_stream() {
            self.connection.linger();
        }
    }
}
