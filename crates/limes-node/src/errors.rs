//! Errors as HTTP responses.

use crate::outgoing::Outgoing;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use limes_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

/// Facts that are for operators: they go to the function's log and the admin API, not to its clients.
const PRIVATE: [&str; 1] = ["backtrace"];

/// The answer to a request that failed with `error`.
pub(crate) fn response(error: &Error) -> Response<Outgoing> {
    let status =
        StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, error);
    if matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Unavailable) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The answer to a method that a `run` or command function cannot be called with.
pub(crate) fn method_not_allowed(error: &Error, allow: &'static str) -> Response<Outgoing> {
    let mut response = json_response(StatusCode::METHOD_NOT_ALLOWED, error);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The error for such a method.
pub(crate) fn bad_method(method: &Method, allow: &'static str) -> Error {
    let message = format!("the function cannot be called with {method}; use one of {allow}");
    Error::new(ErrorKind::InvalidArgument, "route", message).with("allow", allow)
}

fn json_response(status: StatusCode, error: &Error) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from(body(error))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn body(error: &Error) -> String {
    let context: Map<String, Value> = error
        .context()
        .iter()
        .filter(|(key, _)| !PRIVATE.contains(key))
        .map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str())))
        .collect();
    json!({"error": {
        "kind": error.kind().name(),
        "message": error.message(),
        "operation": error.operation(),
        "retryable": error.retryable(),
        "context": context,
    }})
    .to_string()
}

/// The same error once more, for another who waits for the same thing.
pub(crate) fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.operation(), error.to_string());
    error.context().iter().fold(copy, |copy, (key, value)| copy.with(key, value))
}

/// The error for those who wait for a load that ended without a result.
pub(crate) fn load_abandoned(name: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        "load",
        format!("loading the function {name} was abandoned: it panicked, or the node shuts down; try again"),
    )
}

pub(crate) fn no_function(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, "route", format!("there is no function {name:?}; deploy it first"))
}

/// The error for what may be a function once the node knows all of them.
pub(crate) fn starting() -> Error {
    let message = "the node is starting and does not serve every function yet; try again";
    Error::new(ErrorKind::Unavailable, "route", message)
}

/// Everything the log of a function says about a failed invocation.
pub(crate) fn log_text(error: &Error) -> String {
    let mut text = format!("{}: {error}", error.kind());
    for (key, value) in error.context() {
        if PRIVATE.contains(key) {
            text.push('\n');
            text.push_str(value);
        }
    }
    text
}
