//! `wasi:http`: heads, bodies and exchanges. Only what is sent and what comes goes over the channel; the rest is done here.

pub(crate) mod failure;
mod fields;
mod incoming;
mod outgoing;

pub use fields::Fields;
pub use incoming::{FutureResponse, FutureTrailers, IncomingBody, IncomingRequest, IncomingResponse};
pub use outgoing::{OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam};

use crate::bindings::wasi::http::types::{self, ErrorCode, Method};
use crate::host::Host;
use crate::io::IoError;
use alloc::string::{String, ToString};
use wasmtime::component::Resource;

impl types::Host for Host {
    fn http_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(match self.table.get(&error)? {
            IoError::BodySize(part, _) => Some(part.size_error(None)),
            IoError::Remote(_) => None,
        })
    }
}

/// A method as WASI has it.
pub(crate) fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_string()),
    }
}

/// A method as HTTP has it.
pub(crate) fn method_name(method: &Method) -> String {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
    .to_string()
}
