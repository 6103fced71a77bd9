//! What comes: the request of a call, and the responses to what the guest sent.

use super::{Fields, failure, method};
use crate::ask;
use crate::bindings::wasi::http::types::{self, ErrorCode, Method, Scheme};
use crate::body::{Entries, Source, Trailers, owned};
use crate::host::{Host, Shared, shared};
use crate::io::InputStream;
use crate::poll::Pollable;
use alloc::string::{String, ToString};
use limes_channel::{Answer, Ask};
use wasmtime::bail;
use wasmtime::component::Resource;

/// The request of the call.
pub struct IncomingRequest {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path: String,
    pub headers: Entries,
    /// Until it is consumed.
    pub body: Option<Shared<Source>>,
}

/// A response to a request of the guest's.
pub struct IncomingResponse {
    status: u16,
    headers: Entries,
    /// Until it is consumed.
    body: Option<Shared<Source>>,
}

/// A body that comes.
pub struct IncomingBody {
    source: Shared<Source>,
    /// Its one stream was taken.
    taken: bool,
}

/// Trailers that come after a body.
pub struct FutureTrailers {
    source: Shared<Source>,
    taken: bool,
}

/// A response that comes.
pub struct FutureResponse {
    pub exchange: u32,
    pub taken: bool,
}

impl types::HostIncomingRequest for Host {
    fn method(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Method> {
        Ok(method(&self.table.get(&request)?.method))
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(Some(self.table.get(&request)?.path.clone()))
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<Scheme>> {
        Ok(Some(match self.table.get(&request)?.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_string()),
        }))
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(Some(self.table.get(&request)?.authority.clone()))
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Resource<Fields>> {
        let fields = Fields::fixed(self.table.get(&request)?.headers.clone());
        Ok(self.table.push_child(fields, &request)?)
    }

    fn consume(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        let body = self.table.get_mut(&request)?.body.take();
        self.consumed(body)
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl Host {
    fn consumed(
        &mut self,
        body: Option<Shared<Source>>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        Ok(match body {
            Some(source) => Ok(self.table.push(IncomingBody { source, taken: false })?),
            None => Err(()),
        })
    }
}

impl types::HostIncomingResponse for Host {
    fn status(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let fields = Fields::fixed(self.table.get(&response)?.headers.clone());
        Ok(self.table.push_child(fields, &response)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        let body = self.table.get_mut(&response)?.body.take();
        self.consumed(body)
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<()> {
        let response = self.table.delete(response)?;
        response.body.map_or(Ok(()), |body| body.get().give_up())
    }
}

impl types::HostIncomingBody for Host {
    fn stream(
        &mut self,
        body: Resource<IncomingBody>,
    ) -> wasmtime::Result<Result<Resource<InputStream>, ()>> {
        let found = self.table.get_mut(&body)?;
        if core::mem::replace(&mut found.taken, true) {
            return Ok(Err(()));
        }
        let stream = InputStream::Source(found.source.clone());
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<Resource<FutureTrailers>> {
        let body = self.table.delete(body)?;
        Ok(self.table.push(FutureTrailers { source: body.source, taken: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<()> {
        self.table.delete(body)?.source.get().give_up()
    }
}

type TrailersResult = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

impl types::HostFutureTrailers for Host {
    fn subscribe(&mut self, trailers: Resource<FutureTrailers>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = match self.table.get(&trailers)?.source.get().rest() {
            Some(stream) => Pollable::Remote(ask::subscribe(stream)?),
            None => Pollable::Ready,
        };
        Ok(self.table.push_child(pollable, &trailers)?)
    }

    fn get(&mut self, trailers: Resource<FutureTrailers>) -> wasmtime::Result<TrailersResult> {
        let future = self.table.get_mut(&trailers)?;
        if future.taken {
            return Ok(Some(Err(())));
        }
        let outcome = match future.source.get().trailers()? {
            Trailers::NotYet => return Ok(None),
            Trailers::Here(outcome) => outcome,
        };
        future.taken = true;
        Ok(Some(Ok(match outcome {
            Ok(entries) if entries.is_empty() => Ok(None),
            Ok(entries) => Ok(Some(self.table.push(Fields::fixed(entries))?)),
            Err(code) => Err(code),
        })))
    }

    fn drop(&mut self, trailers: Resource<FutureTrailers>) -> wasmtime::Result<()> {
        self.table.delete(trailers)?.source.get().give_up()
    }
}

type ResponseResult = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

impl types::HostFutureIncomingResponse for Host {
    fn subscribe(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = Pollable::Remote(ask::subscribe(self.table.get(&future)?.exchange)?);
        Ok(self.table.push_child(pollable, &future)?)
    }

    fn get(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<ResponseResult> {
        let found = self.table.get_mut(&future)?;
        if found.taken {
            return Ok(Some(Err(())));
        }
        let answer = ask::ask(Ask::Response(found.exchange), |answer| match answer {
            Answer::NotYet => Ok(None),
            Answer::Response { head, body } => Ok(Some(Ok(IncomingResponse {
                status: head.status,
                headers: owned(&head.headers),
                body: Some(shared(Source::new(&[], Some(body)))),
            }))),
            Answer::HttpFailure(found) => Ok(Some(Err(failure::code(&found)))),
            other => bail!("the host's answer does not fit the question: {other:?}"),
        })?;
        let Some(answer) = answer else { return Ok(None) };
        found.taken = true;
        Ok(Some(Ok(match answer {
            Ok(response) => Ok(self.table.push(response)?),
            Err(code) => Err(code),
        })))
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<()> {
        let future = self.table.delete(future)?;
        ask::drop_handle(future.exchange)
    }
}
