//! An HTTP request on its way in.

use crate::session::Session;
use bytes::Bytes;
use http::header::HOST;
use http_body::{Body as HttpBody, Frame, SizeHint};
use limes_core::{Body, Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi_http::Error as HttpError;

/// The request as the guest gets it: with an authority, and a body that ends the guest past `limit` bytes.
///
/// # Errors
/// A body that is known to be larger, or an authority that is none.
pub(crate) fn bounded(
    request: http::Request<Body>,
    limit: u64,
    session: &Arc<Session>,
) -> Result<http::Request<Incoming>> {
    let (mut head, body) = request.into_parts();
    let announced = body.size_hint().lower();
    if announced > limit {
        return Err(Error::request_too_large(limit, announced));
    }
    match head.headers.get(HOST).map(|host| host.to_str().is_ok()) {
        Some(true) => {}
        None if head.uri.authority().is_some() => {}
        // HTTP/1.0 needs no Host; wasi:http always shows one.
        None => {
            head.headers.insert(HOST, http::HeaderValue::from_static("localhost"));
        }
        Some(false) => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "read request",
                "the Host header is not text",
            ));
        }
    }
    let incoming = Incoming { body, left: limit, limit, session: session.clone() };
    Ok(http::Request::from_parts(head, incoming))
}

/// A request body with its limit.
pub(crate) struct Incoming {
    body: Body,
    left: u64,
    limit: u64,
    session: Arc<Session>,
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else { return Poll::Pending };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|error| {
                let seen = match error.kind() {
                    ErrorKind::RequestTooLarge => HttpError::HttpRequestBodySize(None),
                    _ => HttpError::ConnectionTerminated,
                };
                this.session.breach(error);
                seen
            })?;
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = this.left.checked_sub(size) else {
                let found = this.limit + size - this.left;
                this.session.breach(Error::request_too_large(this.limit, found));
                return Err(HttpError::HttpRequestBodySize(None));
            };
            this.left = left;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
