use crate::{Error, Result};
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A streaming body behind a pointer.
pub type BoxBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>;

/// The body of a request or a response: nothing, bytes at hand, or a stream.
///
/// Dropping it tells the producer that nobody reads any more.
#[derive(Default)]
pub enum Body {
    /// No bytes, no trailers.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Frames as they come, trailers included.
    Stream(BoxBody),
}

impl Body {
    /// A body that streams from `body`.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }

    /// Reads the whole body; trailers are dropped.
    ///
    /// # Errors
    /// [`ErrorKind::RequestTooLarge`](crate::ErrorKind::RequestTooLarge) past `limit` bytes, or what the stream failed with.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes> {
        match self {
            Self::Empty => Ok(Bytes::new()),
            Self::Full(bytes) if bytes.len() as u64 > limit => {
                Err(Error::request_too_large(limit, bytes.len() as u64))
            }
            Self::Full(bytes) => Ok(bytes),
            Self::Stream(ref mut stream) => {
                let mut first = Bytes::new();
                let mut rest = BytesMut::new();
                while let Some(frame) = poll_fn(|cx| stream.as_mut().poll_frame(cx)).await {
                    let Ok(data) = frame?.into_data() else { continue };
                    let total = (first.len() + rest.len() + data.remaining()) as u64;
                    if total > limit {
                        return Err(Error::request_too_large(limit, total));
                    }
                    if first.is_empty() && rest.is_empty() {
                        first = data;
                    } else {
                        if rest.is_empty() {
                            rest.extend_from_slice(&std::mem::take(&mut first));
                        }
                        rest.extend_from_slice(&data);
                    }
                }
                Ok(if rest.is_empty() { first } else { rest.freeze() })
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
