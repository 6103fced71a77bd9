//! From an HTTP request to a function's input, and from its output to the response.

use crate::entry::Loaded;
use crate::errors;
use crate::headers::remove_hop_by_hop;
use crate::incoming::RequestBody;
use crate::invoked::{EndOnDrop, Invoked, StopOnDrop};
use crate::node::Inner;
use crate::outgoing::{GuestBody, Outgoing};
use crate::server::{Connection, Serve};
use crate::turn::turn;
use crate::waiting::until;
use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, response};
use http_body::Body as _;
use hyper::body::Incoming;
use limes_core::{
    Body, Contract, Control, Error, ErrorKind, Input, Invocation, Output, Phase, Result, StopReason,
};
use std::sync::Arc;
use std::time::Instant;

/// How `run` and command functions are called.
const CALLABLE: &str = "GET, POST, PUT";

/// Answers the requests of one server thread.
pub(crate) struct Dispatcher {
    pub(crate) inner: Arc<Inner>,
}

impl Serve for Dispatcher {
    type Body = Outgoing;

    async fn call(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> Response<Outgoing> {
        let accepted = Instant::now();
        let http2 = request.version() == Version::HTTP_2;
        let head_only = request.method() == Method::HEAD;
        let counters = &self.inner.shared.counters;
        counters.request();
        let routed = self.inner.table.load().route(&request);
        let answer = match routed {
            Err(error) => {
                counters.unrouted();
                if !request.body().is_end_stream() {
                    connection.linger();
                }
                Err(error)
            }
            Ok((entry, path)) => {
                let (invoked, control) = Invoked::begin(entry, Some(connection.peer()), accepted, None);
                control.record(Phase::Route, accepted.elapsed());
                let answer = answer(&connection, &invoked, &control, path, request).await;
                turn().await;
                answer
            }
        };
        let response = answer.unwrap_or_else(|error| {
            let mut response = errors::response(&error);
            if !http2 && error.kind() == ErrorKind::RequestTooLarge {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        });
        if http2 && has_no_body(head_only, response.status()) { without_body(response) } else { response }
    }
}

/// Whether the answer to a request ends with its head (RFC 9110, section 6.4.1).
fn has_no_body(head_only: bool, status: StatusCode) -> bool {
    head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The head alone; of a `HEAD` with the length of the body. On HTTP/1 hyper does this itself.
fn without_body(response: Response<Outgoing>) -> Response<Outgoing> {
    let (mut parts, body) = response.into_parts();
    match (parts.status, body.size_hint().exact()) {
        (StatusCode::NO_CONTENT, _) => drop(parts.headers.remove(header::CONTENT_LENGTH)),
        (StatusCode::NOT_MODIFIED, _) | (_, None | Some(0)) => {}
        (_, Some(length)) => {
            parts.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
    }
    Response::from_parts(parts, Outgoing::from(Bytes::new()))
}

fn informational(status: StatusCode) -> Error {
    let message = format!("the function answered with {status}, which is not a final status");
    Error::new(ErrorKind::GuestFailure, "invoke", message)
}

async fn answer(
    connection: &Arc<Connection>,
    invoked: &Arc<Invoked>,
    control: &Arc<Control>,
    path: PathAndQuery,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>> {
    let end = EndOnDrop::new(control, invoked, StopReason::ClientGone);
    match invoke(connection, invoked, control, path, request).await {
        Ok(Answer::Whole(response)) => {
            end.settle(Ok(()));
            Ok(response)
        }
        Ok(Answer::Streams(response)) => {
            end.settle_at_end();
            Ok(response)
        }
        Ok(Answer::BadMethod(error)) => {
            end.settle(Err(&error));
            Ok(errors::method_not_allowed(&error, CALLABLE))
        }
        Err(error) => {
            end.settle(Err(&error));
            Err(error)
        }
    }
}

enum Answer {
    Whole(Response<Outgoing>),
    Streams(Response<Outgoing>),
    BadMethod(Error),
}

async fn invoke(
    connection: &Arc<Connection>,
    invoked: &Arc<Invoked>,
    control: &Arc<Control>,
    path: PathAndQuery,
    request: Request<Incoming>,
) -> Result<Answer> {
    let limits = &invoked.entry.spec.limits;
    let declared = request.body().size_hint().lower();
    if declared > limits.request {
        connection.linger();
        return Err(Error::request_too_large(limits.request, declared));
    }
    let head_only = request.method() == Method::HEAD;
    let deadline = invoked.accepted + invoked.entry.timeout;
    let unread = Unread { connection, is_left: !request.body().is_end_stream() };
    let loaded = enter(invoked, control, deadline).await?;
    if !loaded.contract.is_http() && !matches!(*request.method(), Method::GET | Method::POST | Method::PUT) {
        return Ok(Answer::BadMethod(errors::bad_method(request.method(), CALLABLE)));
    }
    let (mut parts, incoming) = request.into_parts();
    let body = request_body(incoming, connection, invoked, deadline);
    unread.settled();
    let input = match loaded.contract {
        Contract::Run => {
            let body = body.collect(limits.request);
            Input::Run(argument(until(control, deadline, "read body", body).await??)?)
        }
        Contract::Cli02 | Contract::Cli03 => Input::Command { args: Vec::new(), stdin: body },
        Contract::Http02 | Contract::Http03 => {
            if let Some(authority) = parts.uri.authority() {
                // HTTP/2 has it in `:authority`, and an absolute URI goes before the header (RFC 9112, 3.2.2).
                if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
                    parts.headers.insert(header::HOST, host);
                }
            }
            parts.uri = Uri::from(path);
            remove_hop_by_hop(&mut parts.headers);
            Input::Http(Request::from_parts(parts, body))
        }
    };
    let output = run(&loaded, control, (invoked.accepted, deadline), input, StopReason::ClientGone).await;
    if invoked.body_too_large() {
        return Err(Error::request_too_large(limits.request, limits.request + 1));
    }
    respond(output?, head_only, control, invoked)
}

/// Asks for a lingering close when a request's body was not even given to a guest.
struct Unread<'a> {
    connection: &'a Connection,
    is_left: bool,
}

impl Unread<'_> {
    fn settled(mut self) {
        self.is_left = false;
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if self.is_left {
            self.connection.linger();
        }
    }
}

/// Waits for a slot, and for the function to be loaded.
pub(crate) async fn enter(invoked: &Invoked, control: &Control, deadline: Instant) -> Result<Arc<Loaded>> {
    invoked.entry.admission.acquire(control, deadline).await?;
    invoked.set_admitted();
    invoked.entry.function(control, invoked.accepted, deadline).await
}

/// Runs the guest to its output; `reason` is why it would be stopped by this future's drop.
pub(crate) async fn run(
    loaded: &Loaded,
    control: &Arc<Control>,
    (accepted, deadline): (Instant, Instant),
    input: Input,
    reason: StopReason,
) -> Result<Output> {
    let timeout = deadline.saturating_duration_since(accepted);
    let invocation = Invocation { input, control: control.clone(), deadline, timeout };
    let mut future = loaded.function.invoke(invocation);
    // Declared after the future, so dropped before it.
    let mut stop = StopOnDrop(Some((control, reason)));
    let output = (&mut future).await;
    stop.0 = None;
    output
}

fn request_body(
    incoming: Incoming,
    connection: &Arc<Connection>,
    invoked: &Arc<Invoked>,
    deadline: Instant,
) -> Body {
    if incoming.is_end_stream() {
        return Body::Empty;
    }
    Body::stream(RequestBody {
        incoming,
        connection: connection.clone(),
        limit: invoked.entry.spec.limits.request,
        stall: invoked.entry.shared.body_timeout,
        invoked: invoked.clone(),
        deadline,
        read: 0,
        timer: None,
        paused: false,
        over: false,
    })
}

/// The argument of `run`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] when the bytes are not UTF-8.
pub(crate) fn argument(bytes: Bytes) -> Result<String> {
    String::from_utf8(bytes.into()).map_err(|error| {
        let message = "the body is the argument of `run`, and must be UTF-8 text";
        Error::new(ErrorKind::InvalidArgument, "read body", message).from_source(error)
    })
}

/// The error for a command that ended with another exit code than 0.
fn exit_failure(exit_code: i32) -> Error {
    let message = format!("the command ended with exit code {exit_code}; its log says more");
    Error::new(ErrorKind::GuestFailure, "invoke", message).with("exit_code", exit_code)
}

fn respond(
    output: Output,
    head_only: bool,
    control: &Arc<Control>,
    invoked: &Arc<Invoked>,
) -> Result<Answer> {
    let whole = |content_type: &'static str, bytes: Bytes| {
        invoked.entry.state.bytes_out(bytes.len() as u64);
        let mut response = Response::new(Outgoing::from(bytes));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Answer::Whole(response)
    };
    match output {
        Output::Run(text) => Ok(whole("text/plain; charset=utf-8", text.into())),
        Output::Command { exit_code: 0, stdout, .. } => Ok(whole("application/octet-stream", stdout)),
        Output::Command { exit_code, .. } => Err(exit_failure(exit_code)),
        Output::Http(response) if response.status().is_informational() => {
            Err(informational(response.status()))
        }
        Output::Http(response) => {
            let (mut parts, body) = response.into_parts();
            remove_hop_by_hop(&mut parts.headers);
            match body {
                Body::Empty => whole_body(parts, Bytes::new(), head_only, invoked),
                Body::Full(bytes) => whole_body(parts, bytes, head_only, invoked),
                Body::Stream(body) => {
                    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(length);
                    let body = GuestBody::new(body, announced, control, invoked);
                    let body = if has_no_body(head_only, parts.status) {
                        // Its end is the outcome, as if the body were sent.
                        tokio::spawn(body.discard());
                        Outgoing::from(Bytes::new())
                    } else {
                        Outgoing::Guest(body)
                    };
                    Ok(Answer::Streams(Response::from_parts(parts, body)))
                }
            }
        }
    }
}

/// The answer of a guest whose body is at hand.
///
/// # Errors
/// [`ErrorKind::GuestFailure`] when the head announces another length: the client would take what comes next on the
/// connection for the rest of it.
fn whole_body(parts: response::Parts, bytes: Bytes, head_only: bool, invoked: &Invoked) -> Result<Answer> {
    // Of a body that is not sent, the length may be told all the same.
    if !head_only && parts.status != StatusCode::NOT_MODIFIED {
        let mut announced = parts.headers.get_all(header::CONTENT_LENGTH).iter();
        if announced.any(|announced| length(announced) != Some(bytes.len() as u64)) {
            return Err(unfinished(bytes.len()));
        }
    }
    invoked.entry.state.bytes_out(bytes.len() as u64);
    Ok(Answer::Whole(Response::from_parts(parts, Outgoing::from(bytes))))
}

fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    // `parse` takes a sign too.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn unfinished(written: usize) -> Error {
    let message = format!(
        "the function did not finish its response body as it announced: its `content-length` is not the {written} bytes it wrote"
    );
    Error::new(ErrorKind::GuestFailure, "invoke", message)
}
