//! Response bodies, as the data plane hands them to HTTP.

use crate::invoked::Invoked;
use crate::waiting::stopped;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use limes_core::{BoxBody, Control, Error, Result, StopReason};
use std::future::poll_fn;
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
    /// The `content-length`: hyper asks for no frame past it.
    announced: Option<u64>,
}

impl GuestBody {
    pub(crate) fn new(
        body: BoxBody,
        announced: Option<u64>,
        control: &Arc<Control>,
        invoked: &Arc<Invoked>,
    ) -> Self {
        Self { body: Some(body), control: control.clone(), invoked: invoked.clone(), written: 0, announced }
    }

    /// Takes what the guest goes on to write, for nobody: its answer is whole without it.
    pub(crate) async fn discard(mut self) {
        while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {}
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
            && self.announced != Some(self.written)
        {
            self.control.stop(StopReason::ClientGone);
            drop(body);
            // For sandboxes that do not do so themselves; the first call counts.
            let reason = self.control.stop_reason().unwrap_or(StopReason::ClientGone);
            self.control.finish(Err(&stopped("invoke", reason)));
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
