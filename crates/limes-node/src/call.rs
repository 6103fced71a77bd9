//! Calls past HTTP, through the same admission: the admin API's invoke.

use crate::dispatch::{argument, enter, run};
use crate::entry::Entry;
use crate::headers::remove_hop_by_hop;
use crate::invoked::{Capture, EndOnDrop, Invoked};
use crate::waiting::{stopped, until_guest};
use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::Body as _;
use limes_core::{
    Body, Completed, Contract, Control, Error, ErrorKind, Input, Output, Phase, Result, Started, StopReason,
};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to call a function with; each contract takes what it knows of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Arguments of a command; joined by blanks, the argument of `run` (when there are none, that is `body`).
    pub args: Vec<String>,
    /// Method of the request to an HTTP function.
    pub method: String,
    /// Path and query of that request, beginning with `/`.
    pub path: String,
    /// Headers of that request.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body of that request, or standard input.
    pub body: Bytes,
    /// When it must be over; the function's own limit if that is shorter, or none is given.
    pub timeout: Option<Duration>,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            method: "GET".into(),
            path: "/".into(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: None,
        }
    }
}

/// The call's future runs the guest where it is polled, and needs a tokio runtime with time.
pub(crate) fn start(entry: Arc<Entry>, call: Call) -> Result<Started> {
    let accepted = Instant::now();
    let limits = &entry.spec.limits;
    let size = call.body.len().max(call.args.iter().map(|arg| arg.len() + 1).sum()) as u64;
    if size > limits.request {
        return Err(Error::request_too_large(limits.request, size));
    }
    let request = request(&call)?;
    let timeout = call.timeout.map_or(entry.timeout, |timeout| timeout.min(entry.timeout));
    let capture = Capture::new(limits.output);
    let (invoked, control) = Invoked::begin(entry, None, accepted, Some(capture));
    // Made here, so that a future that is never polled ends the invocation too.
    let end = EndOnDrop::new(&control, &invoked, StopReason::Requested);
    let handle = control.clone();
    let future = async move {
        control.record(Phase::Route, accepted.elapsed());
        let result = invoke(&invoked, &control, accepted + timeout, call.args, request).await;
        end.settle(result.as_ref().map(|_| ()));
        let output = result?;
        let (stdout, stderr) = invoked.capture.as_ref().map(Capture::take).unwrap_or_default();
        Ok(Completed { output, timing: control.timing(), stdout, stderr })
    };
    Ok(Started { control: handle, future: Box::pin(future) })
}

async fn invoke(
    invoked: &Arc<Invoked>,
    control: &Arc<Control>,
    deadline: Instant,
    args: Vec<String>,
    request: Request<Body>,
) -> Result<Output> {
    let state = &invoked.entry.state;
    let loaded = enter(invoked, control, deadline).await?;
    state.bytes_in(request.body().size_hint().lower());
    let input = match loaded.contract {
        Contract::Run if args.is_empty() => {
            Input::Run(argument(request.into_body().collect(invoked.entry.spec.limits.request).await?)?)
        }
        Contract::Run => Input::Run(args.join(" ")),
        Contract::Cli02 | Contract::Cli03 => Input::Command { args, stdin: request.into_body() },
        Contract::Http02 | Contract::Http03 => Input::Http(request),
    };
    let output = run(&loaded, control, (invoked.accepted, deadline), input, StopReason::Requested).await?;
    let output = match output {
        Output::Http(response) => {
            let (parts, body) = response.into_parts();
            let limit = invoked.entry.spec.limits.response;
            let body = until_guest(deadline, "read response", collect(body, limit)).await??;
            state.bytes_out(body.len() as u64);
            Output::Http(http::Response::from_parts(parts, body.into()))
        }
        other => other,
    };
    if let Some(capture) = &invoked.capture {
        // The guest may go on after its answer; its log and its timing are whole at its end.
        until_guest(deadline, "end", capture.ended.notified()).await?;
        if let Some(reason) = control.stop_reason() {
            return Err(stopped("end", reason));
        }
    }
    Ok(output)
}

async fn collect(body: Body, limit: u64) -> Result<Bytes> {
    body.collect(limit).await.map_err(|error| match error.kind() {
        ErrorKind::RequestTooLarge => Error::limit("read response", "response", limit, "more"),
        _ => error,
    })
}

fn request(call: &Call) -> Result<Request<Body>> {
    let path: PathAndQuery = valid("path", &call.path, call.path.parse())?;
    if !call.path.starts_with('/') {
        return Err(invalid("path", &call.path));
    }
    let mut request = Request::new(Body::from(call.body.clone()));
    *request.method_mut() = valid("method", &call.method, call.method.parse::<Method>())?;
    *request.uri_mut() = Uri::from(path);
    let mut headers = HeaderMap::with_capacity(call.headers.len());
    for (name, value) in &call.headers {
        let key: HeaderName = valid("header name", name, name.parse())?;
        headers.append(key, valid("header value", name, HeaderValue::from_bytes(value))?);
    }
    remove_hop_by_hop(&mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

fn valid<T, E>(what: &str, given: &str, parsed: Result<T, E>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parsed.map_err(|error| invalid(what, given).from_source(error))
}

fn invalid(what: &str, given: impl fmt::Debug) -> Error {
    Error::new(ErrorKind::InvalidArgument, "invoke", format!("the {what} {given:?} is not valid for HTTP"))
}
