//! Response bodies, as the data plane hands them to HTTP.

use crate::invoked::Invoked;
use crate::waiting::stopped;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use limes_core::{Body, BoxBody, Control, Error, Result, StopReason};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What answers a request: bytes at hand, or what a guest goes on producing.
pub(crate) enum Outgoing {
    Bytes(Bytes),
    Guest(GuestBody),
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// A body behind which a guest runs. Dropped before its end, it ends the guest.
pub(crate) struct GuestBody {
    body: Option<BoxBody>,
    control: Arc<Control>,
    invoked: Arc<Invoked>,
    written: u64,
}

impl GuestBody {
    pub(crate) fn new(body: BoxBody, control: Arc<Control>, invoked: Arc<Invoked>) -> Self {
        Self { body: Some(body), control, invoked, written: 0 }
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.written += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => self.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        self.invoked.entry.state.bytes_out(self.written);
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
        {
            self.control.stop(StopReason::ClientGone);
            drop(body);
            // For sandboxes that do not do so themselves; the first call counts.
            let reason = self.control.stop_reason().unwrap_or(StopReason::ClientGone);
            self.control.finish(Err(&stopped("invoke", reason)));
        }
    }
}

impl Outgoing {
    /// The body of a guest's response. Says also whether the guest still produces it.
    pub(crate) fn guest(body: Body, control: &Arc<Control>, invoked: &Arc<Invoked>) -> (Self, bool) {
        match body {
            Body::Empty => (Self::Bytes(Bytes::new()), false),
            Body::Full(bytes) => {
                invoked.entry.state.bytes_out(bytes.len() as u64);
                (Self::Bytes(bytes), false)
            }
            Body::Stream(body) => (Self::Guest(GuestBody::new(body, control.clone(), invoked.clone())), true),
        }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Guest(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Guest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Guest(body) => body.size_hint(),
        }
    }
}
