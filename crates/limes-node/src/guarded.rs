//! Response bodies on their way out.

use crate::connection::InFlight;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The largest frame handed to an HTTP/2 stream at once, and the largest body that needs no guard.
const HTTP2_FRAME: usize = 64 << 10;

/// A response body that keeps its connection marked as busy.
///
/// On HTTP/1 a client that does not read blocks the socket, which the connection sees. On HTTP/2 it only closes
/// the stream's window: hyper then no longer polls the body, and nothing in it could end the guest behind it.
/// So a body that may last is guarded there: taken away when the client has not asked for more in time.
pub(crate) enum Tracked<B> {
    Plain { body: B, _in_flight: InFlight },
    Guarded { slot: Arc<Slot<B>>, watchdog: AbortHandle },
}

pub(crate) struct Slot<B>(Mutex<Held<B>>);

struct Held<B> {
    body: Option<(B, InFlight)>,
    rest: Bytes,
    /// Since when it is the client's turn.
    offered: Option<Instant>,
}

impl<B> Tracked<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    pub(crate) fn new(body: B, in_flight: InFlight, http2: bool, timeout: Duration) -> Self {
        let small = body.size_hint().upper().is_some_and(|size| size <= HTTP2_FRAME as u64);
        if !http2 || small {
            return Self::Plain { body, _in_flight: in_flight };
        }
        let held = Held { body: Some((body, in_flight)), rest: Bytes::new(), offered: Some(Instant::now()) };
        let slot = Arc::new(Slot(Mutex::new(held)));
        let watchdog = tokio::spawn(watch(Arc::downgrade(&slot), timeout)).abort_handle();
        Self::Guarded { slot, watchdog }
    }
}

async fn watch<B>(slot: Weak<Slot<B>>, timeout: Duration) {
    loop {
        let wake = {
            let Some(slot) = slot.upgrade() else { return };
            let mut held = slot.0.lock();
            match held.offered {
                Some(since) if since.elapsed() >= timeout => {
                    let body = held.body.take();
                    drop(held);
                    // Outside the lock: dropping the body stops the guest.
                    drop(body);
                    return;
                }
                Some(since) => since + timeout,
                None => Instant::now() + timeout,
            }
        };
        tokio::time::sleep_until(wake.into()).await;
    }
}

impl<B> Slot<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut held = self.0.lock();
        if held.rest.is_empty() {
            let Some((body, _)) = &mut held.body else {
                return Poll::Ready(Some(Err("the client did not read the response in time".into())));
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    held.offered = None;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => held.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Poll::Ready(end) => return Poll::Ready(end.map(|result| result.map_err(Into::into))),
            }
        }
        held.offered = Some(Instant::now());
        let size = held.rest.len().min(HTTP2_FRAME);
        Poll::Ready(Some(Ok(Frame::data(held.rest.split_to(size)))))
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
        match &mut *self {
            Self::Plain { body, .. } => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|result| result.map_err(Into::into)))
            }
            Self::Guarded { slot, .. } => slot.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain { body, .. } => body.is_end_stream(),
            Self::Guarded { slot, .. } => {
                let held = slot.0.lock();
                held.rest.is_empty() && held.body.as_ref().is_some_and(|(body, _)| body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain { body, .. } => body.size_hint(),
            Self::Guarded { slot, .. } => {
                let held = slot.0.lock();
                let rest = held.rest.len() as u64;
                let hint = held.body.as_ref().map(|(body, _)| body.size_hint()).unwrap_or_default();
                let mut sum = SizeHint::new();
                if let Some(upper) = hint.upper() {
                    sum.set_upper(upper.saturating_add(rest));
                }
                sum.set_lower(hint.lower().saturating_add(rest));
                sum
            }
        }
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        if let Self::Guarded { watchdog, .. } = self {
            watchdog.abort();
        }
    }
}
