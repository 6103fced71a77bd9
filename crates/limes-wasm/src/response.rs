//! A guest's HTTP response on its way out.

use crate::guest::Guest;
use crate::http02::Reader;
use crate::session::{Head, Session};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use limes_core::{Body, Error, ErrorKind, Output, Result, StopReason};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// A response body as a guest gives it.
pub(crate) enum GuestBody {
    Empty,
    /// Of wasi:http 0.2.
    Pipe(Reader),
    /// Of wasi:http 0.3.
    Boxed(WasiBody),
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Pipe(reader) => Pin::new(reader).poll_frame(cx),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }
}

/// Runs `guest` until it has ended, or waits with its response head set: then the body streams.
///
/// A guest that has ended by then (nearly all) hands its body over as bytes; no task, no channel to
/// poll, one write to the socket. `limit` is in bytes of body.
pub(crate) async fn respond(mut guest: Guest<()>, session: Arc<Session>, limit: u64) -> Result<Output> {
    let mut early = None;
    let ended = poll_fn(|cx| match Pin::new(&mut guest).poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => {
            early = session.take_head();
            if early.is_some() { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await;
    if let Some(outcome) = ended {
        outcome?;
        let response = take_response(session.take_head(), &session)?;
        let response = whole(response, limit).await.map_err(|error| session.blame_denial(error))?;
        session.control.finish(Ok(()));
        return Ok(Output::Http(response));
    }
    let response = take_response(early, &session)?;
    let watched = session.clone();
    tokio::spawn(async move {
        match guest.await {
            Ok(()) => watched.end_half(),
            Err(error) => watched.fail(error),
        }
    });
    let announced = response.headers().get(http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    Ok(Output::Http(response.map(|body| {
        Body::stream(Streaming { body, session, sent: 0, announced, limit, broken: false, ended: false })
    })))
}

fn take_response(head: Option<Head>, session: &Session) -> Result<http::Response<GuestBody>> {
    let failure = match head {
        Some(Ok(response)) => return Ok(response),
        Some(Err(code)) => format!("the function answered with the error code {code}"),
        None => "the function ended without setting a response".to_owned(),
    };
    Err(session.blame_denial(Error::new(ErrorKind::GuestFailure, "run guest", failure)))
}

/// Takes the body of a guest that has ended: all of it is there.
async fn whole(response: http::Response<GuestBody>, limit: u64) -> Result<http::Response<Body>> {
    let (head, mut body) = response.into_parts();
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unfinished(&error))?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let data = joined(first, rest);
                let frames = [Ok(Frame::data(data)), Ok(frame)];
                let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
                return Ok(http::Response::from_parts(head, Body::stream(stream)));
            }
        };
        if (first.len() + rest.len() + data.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    Ok(http::Response::from_parts(head, Body::from(joined(first, rest))))
}

fn joined(first: Bytes, rest: Vec<u8>) -> Bytes {
    if rest.is_empty() { first } else { [&first[..], &rest].concat().into() }
}

fn unfinished(error: &HttpError) -> Error {
    Error::new(
        ErrorKind::GuestFailure,
        "run guest",
        format!("the function did not finish its response body as it announced: {error}"),
    )
}

fn too_large(limit: u64) -> Error {
    Error::limit("run guest", "response", limit, "more bytes of body")
}

/// The body of a guest that still runs. Dropped before its end, it stops the guest.
struct Streaming {
    body: GuestBody,
    session: Arc<Session>,
    sent: u64,
    /// The `content-length`: a server asks for no frame past it.
    announced: Option<u64>,
    limit: u64,
    /// The guest is failing; what it failed with is still to come.
    broken: bool,
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
        let frame = match this.broken {
            true => None,
            false => match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return Poll::Pending,
            },
        };
        let error = match frame {
            Some(Ok(frame)) => {
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.sent <= this.limit {
                    return Poll::Ready(Some(Ok(frame)));
                }
                this.session.breach(too_large(this.limit));
                this.session.control.stop(StopReason::Requested);
                too_large(this.limit)
            }
            // A body whose guest is gone ends, or breaks; only a guest that did not fail has finished it.
            None | Some(Err(_)) if this.session.is_failing() => {
                this.broken = true;
                match this.session.poll_failure(cx) {
                    Poll::Ready(error) => error,
                    Poll::Pending => return Poll::Pending,
                }
            }
            Some(Err(error)) => unfinished(&error),
            None => {
                this.ended = true;
                return Poll::Ready(None);
            }
        };
        this.ended = true;
        this.session.control.finish(Err(&error));
        Poll::Ready(Some(Err(error)))
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
            self.session.control.stop(StopReason::ClientGone);
        }
        self.session.end_half();
    }
}
