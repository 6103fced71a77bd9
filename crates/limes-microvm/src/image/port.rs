//! Plain HTTP/1.1 to a port of the image.

use super::machines::Open;
use super::{garbage, gone};
use crate::driver::Monitor;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use limes_core::{Body, Error, Result};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long one attempt to connect may take, and the pause before the next.
const ATTEMPT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// Fields that belong to a connection, and are not passed on.
const HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// The request as the image gets it.
pub(super) fn outgoing(head: http::request::Parts, body: Bytes) -> Request<Full<Bytes>> {
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let mut headers = without_hops(head.headers);
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, authority.unwrap_or(HeaderValue::from_static("localhost")));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method;
    // A path that was parsed once is one.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.headers_mut() = headers;
    request
}

fn without_hops(mut headers: HeaderMap) -> HeaderMap {
    for name in HOP {
        headers.remove(name);
    }
    headers
}

/// A connection to the image, as soon as it takes one.
///
/// # Errors
/// Its machine ends before.
pub(super) async fn reach(monitor: &dyn Monitor) -> Result<TcpStream> {
    let reached = async {
        loop {
            if let Ok(Ok(socket)) = tokio::time::timeout(ATTEMPT, monitor.connect()).await {
                return socket;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        socket = reached => Ok(socket),
        () = monitor.ended() => Err(gone("it did not listen")),
    }
}

/// Sends a request, and gives the response with its whole body.
///
/// Where a connection closes without a byte of answer, nobody listened behind it yet (a forwarded port takes connections before the guest
/// does), and another is made.
///
/// # Errors
/// The body is longer than `limit` bytes, the image does not speak HTTP, or its machine ends.
pub(super) async fn exchange(
    open: &mut Open,
    monitor: &dyn Monitor,
    request: Request<Full<Bytes>>,
    limit: u64,
) -> Result<Response<Body>> {
    let answered = async {
        loop {
            let socket = match open {
                Open::Port(waiting) => waiting.take(),
                Open::Vsock(_) => None,
            };
            let socket = match socket {
                Some(socket) => socket,
                None => reach(monitor).await?,
            };
            if let Some(response) = attempt(socket, request.clone(), limit).await? {
                return Ok(response);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        response = answered => response,
        () = monitor.ended() => Err(gone("its connection is cut")),
    }
}

/// `None` when the connection closed before there was an answer.
async fn attempt(
    socket: TcpStream,
    request: Request<Full<Bytes>>,
    limit: u64,
) -> Result<Option<Response<Body>>> {
    let no_http = |error: hyper::Error| garbage(&format!("does not speak HTTP: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(no_http)?;
    let exchange = async {
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) if error.is_parse() => return Err(no_http(error)),
            Err(_) => return Ok(None),
        };
        let (mut head, body) = response.into_parts();
        let body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => Error::limit("run guest", "response", limit, "more bytes of body"),
            Err(error) => gone(&format!("its answer breaks off: {error}")),
        })?;
        head.headers = without_hops(head.headers);
        Ok(Some(Response::from_parts(head, Body::from(body.to_bytes()))))
    };
    // The connection moves no bytes unless it is polled.
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        _ = connection => exchange.await,
    }
}
