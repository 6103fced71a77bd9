//! What a function is called with, as a guest gets it.

use crate::services::{BodyStream, Services, too_large};
use crate::watch::Watch;
use bytes::Bytes;
use http::header::HOST;
use http_body::Body as _;
use limes_channel::{Input, MAX_CHUNK, ToGuest};
use limes_core::{Body, Error, ErrorKind, Result};
use std::time::{SystemTime, UNIX_EPOCH};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// The input of one call.
pub(crate) enum Given {
    Run(String),
    Http(Box<http::request::Parts>, Body),
    Command(Vec<String>, Body),
}

impl Given {
    /// Checks what is known before a machine is asked for.
    ///
    /// # Errors
    /// It is larger than `limit` bytes, or its authority is none.
    pub fn check(&mut self, limit: u64) -> Result<()> {
        let announced = match self {
            Self::Run(args) => args.len() as u64,
            Self::Http(_, body) | Self::Command(_, body) => body.size_hint().lower(),
        };
        if announced > limit {
            return Err(too_large(limit, announced));
        }
        let Self::Http(head, _) = self else { return Ok(()) };
        match head.headers.get(HOST).map(|host| host.to_str().is_ok()) {
            Some(false) => {
                Err(Error::new(ErrorKind::InvalidArgument, "read request", "the Host header is not text"))
            }
            _ => Ok(()),
        }
    }

    /// Writes the call as a frame; what does not fit goes to `services` as a stream.
    ///
    /// # Errors
    /// The function's `handles` are too few for that stream.
    pub fn write(
        self,
        id: u64,
        limit: u64,
        services: &mut Services,
        watch: &Watch,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (input, body) = match self {
            Self::Run(args) => (Shape::Run(args.len() as u64), Body::from(Bytes::from(args))),
            Self::Http(head, body) => (Shape::Http(head), body),
            Self::Command(args, stdin) => (Shape::Command(args), stdin),
        };
        let (first, rest) = match body {
            Body::Empty => (Bytes::new(), None),
            Body::Full(mut bytes) => {
                let first = bytes.split_to(bytes.len().min(MAX_CHUNK));
                let rest = (!bytes.is_empty()).then(|| Body::from(bytes));
                (first, rest)
            }
            body @ Body::Stream(_) => (Bytes::new(), Some(body)),
        };
        let left = limit.saturating_sub(first.len() as u64);
        let rest = rest.map(|rest| BodyStream::new(rest, left, limit, watch.breach.clone()));
        let rest = rest.map(|rest| services.add_input(rest)).transpose()?;
        input.with(|input| {
            let (seed, wall_clock) = (rand::random(), wall_clock());
            let call = ToGuest::Call { id, seed, wall_clock, input, first: &first, rest };
            limes_channel::frame::write(&call, out);
        });
        Ok(())
    }
}

enum Shape {
    Run(u64),
    Http(Box<http::request::Parts>),
    Command(Vec<String>),
}

impl Shape {
    fn with(&self, write: impl FnOnce(Input<'_>)) {
        match self {
            Self::Run(length) => write(Input::Run(*length)),
            Self::Command(args) => write(Input::Command(args.iter().map(String::as_str).collect())),
            Self::Http(head) => {
                let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
                // HTTP/1.0 needs no Host; wasi:http always shows one.
                let authority =
                    head.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("localhost");
                let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                let headers =
                    head.headers.iter().filter(|(name, _)| !DEFAULT_FORBIDDEN_HEADERS.contains(name));
                write(Input::Http {
                    method: head.method.as_str(),
                    scheme: "http",
                    authority,
                    path,
                    headers: headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
                });
            }
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
