//! What leaves: the response of a call, and the requests that the guest sends.

use super::{Fields, FutureResponse, failure, method_name};
use crate::ask;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{self, ErrorCode, Method, Scheme};
use crate::body::{Body, Part, borrowed};
use crate::host::{Host, Shared, shared};
use crate::io::OutputStream;
use alloc::string::{String, ToString};
use kernel::channel;
use limes_channel::{Answer, Ask, Failure, Head, Outbound, ToHost};
use wasmtime::bail;
use wasmtime::component::Resource;

/// A request being made.
pub struct OutgoingRequest {
    method: Method,
    path: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    headers: Fields,
    body: Option<Shared<Body>>,
}

/// A response being made.
pub struct OutgoingResponse {
    status: u16,
    headers: Fields,
    body: Option<Shared<Body>>,
}

/// A body being written.
pub struct OutgoingBody {
    body: Shared<Body>,
    /// Its one stream was taken.
    taken: bool,
}

/// Where the response of the call goes.
pub struct ResponseOutparam;

/// Timeouts in nanoseconds: until connected, until the first byte, between bytes.
#[derive(Default)]
pub struct RequestOptions([Option<u64>; 3]);

impl types::HostOutgoingRequest for Host {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingRequest>> {
        let headers = Fields { fixed: true, ..self.table.delete(headers)? };
        let request = OutgoingRequest {
            method: Method::Get,
            path: None,
            scheme: None,
            authority: None,
            headers,
            body: None,
        };
        Ok(self.table.push(request)?)
    }

    fn body(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let request = self.table.get_mut(&request)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        let body = shared(Body::new(Part::Request, request.headers.content_length()));
        request.body = Some(body.clone());
        Ok(Ok(self.table.push(OutgoingBody { body, taken: false })?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Method> {
        Ok(self.table.get(&request)?.method.clone())
    }

    fn set_method(
        &mut self,
        request: Resource<OutgoingRequest>,
        method: Method,
    ) -> wasmtime::Result<Result<(), ()>> {
        let name = method_name(&method);
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.method = super::method(&name);
        Ok(Ok(()))
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&request)?.path.clone())
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if path.as_deref().is_some_and(|path| !plain(path)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.path = path;
        Ok(Ok(()))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<Scheme>> {
        Ok(self.table.get(&request)?.scheme.clone())
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if matches!(&scheme, Some(Scheme::Other(name)) if !plain(name)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&request)?.authority.clone())
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if authority.as_deref().is_some_and(|authority| authority.is_empty() || !plain(authority)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.authority = authority;
        Ok(Ok(()))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.table.get(&request)?.headers.clone();
        Ok(self.table.push_child(headers, &request)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<()> {
        if let Some(body) = self.table.delete(request)?.body {
            body.get().head_is_gone();
        }
        Ok(())
    }
}

/// Whether a part of a URI has only characters that one can have.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte > 32 && byte < 127)
}

impl types::HostRequestOptions for Host {
    fn new(&mut self) -> wasmtime::Result<Resource<RequestOptions>> {
        Ok(self.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&options)?.0[0])
    }

    fn set_connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        timeout: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.table.get_mut(&options)?.0[0] = timeout;
        Ok(Ok(()))
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&options)?.0[1])
    }

    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        timeout: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.table.get_mut(&options)?.0[1] = timeout;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&options)?.0[2])
    }

    fn set_between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        timeout: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.table.get_mut(&options)?.0[2] = timeout;
        Ok(Ok(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl types::HostOutgoingResponse for Host {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingResponse>> {
        let headers = Fields { fixed: true, ..self.table.delete(headers)? };
        Ok(self.table.push(OutgoingResponse { status: 200, headers, body: None })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> wasmtime::Result<Result<(), ()>> {
        if !(100..1000).contains(&status) {
            return Ok(Err(()));
        }
        self.table.get_mut(&response)?.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.table.get(&response)?.headers.clone();
        Ok(self.table.push_child(headers, &response)?)
    }

    fn body(
        &mut self,
        response: Resource<OutgoingResponse>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let response = self.table.get_mut(&response)?;
        if response.body.is_some() {
            return Ok(Err(()));
        }
        let body = shared(Body::new(Part::Response, response.headers.content_length()));
        response.body = Some(body.clone());
        Ok(Ok(self.table.push(OutgoingBody { body, taken: false })?))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<()> {
        if let Some(body) = self.table.delete(response)?.body {
            body.get().head_is_gone();
        }
        Ok(())
    }
}

impl types::HostOutgoingBody for Host {
    fn write(
        &mut self,
        body: Resource<OutgoingBody>,
    ) -> wasmtime::Result<Result<Resource<OutputStream>, ()>> {
        let found = self.table.get_mut(&body)?;
        if core::mem::replace(&mut found.taken, true) {
            return Ok(Err(()));
        }
        let stream = OutputStream::Body(found.body.clone());
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let body = self.table.delete(body)?;
        let trailers = match trailers {
            Some(trailers) => self.table.delete(trailers)?.entries,
            None => Default::default(),
        };
        let part = body.body.get().part();
        Ok(match body.body.get().finish(trailers)? {
            None => Ok(()),
            Some(written) => Err(part.size_error(Some(written))),
        })
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> wasmtime::Result<()> {
        let body = self.table.delete(body)?;
        body.body.get().give_up("it was dropped before it was finished")
    }
}

impl types::HostResponseOutparam for Host {
    fn set(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        response: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> wasmtime::Result<()> {
        self.table.delete(outparam)?;
        let response = match response {
            Ok(response) => self.table.delete(response)?,
            Err(code) => {
                let (code, detail) = failure::name(&code);
                channel::send(&ToHost::Head(Err(Failure { code, detail: &detail })));
                return Ok(());
            }
        };
        let headers = borrowed(&response.headers.entries);
        channel::queue(&ToHost::Head(Ok(Head { status: response.status, headers })));
        match response.body {
            Some(body) => {
                body.get().queue_for_caller();
                self.response = Some(body);
            }
            None => channel::queue(&ToHost::Finished(Default::default())),
        }
        channel::flush();
        Ok(())
    }

    fn send_informational(
        &mut self,
        _: Resource<ResponseOutparam>,
        _: u16,
        _: Resource<Fields>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        bail!("informational responses are not offered")
    }

    fn drop(&mut self, outparam: Resource<ResponseOutparam>) -> wasmtime::Result<()> {
        self.table.delete(outparam)?;
        Ok(())
    }
}

impl outgoing_handler::Host for Host {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<FutureResponse>, ErrorCode>> {
        let request = self.table.delete(request)?;
        let timeouts = match options {
            Some(options) => self.table.delete(options)?.0,
            None => Default::default(),
        };
        let scheme = match &request.scheme {
            None | Some(Scheme::Https) => "https".to_string(),
            Some(Scheme::Http) => "http".to_string(),
            Some(Scheme::Other(_)) => return Ok(Err(ErrorCode::HttpProtocolError)),
        };
        let Some(authority) = &request.authority else { return Ok(Err(ErrorCode::HttpRequestUriInvalid)) };
        let outbound = Outbound {
            method: &method_name(&request.method),
            scheme: &scheme,
            authority,
            path: request.path.as_deref().unwrap_or("/"),
            headers: borrowed(&request.headers.entries),
            body: request.body.is_some(),
            timeouts,
        };
        let sent = ask::ask(Ask::Send(outbound), |answer| match answer {
            Answer::Exchange { exchange, body } => Ok(Ok((exchange, body))),
            Answer::HttpFailure(found) => Ok(Err(failure::code(&found))),
            other => bail!("the host's answer does not fit the question: {other:?}"),
        })?;
        let (exchange, stream) = match sent {
            Ok(sent) => sent,
            Err(code) => return Ok(Err(code)),
        };
        if let (Some(body), Some(stream)) = (request.body, stream) {
            body.get().send_to(stream)?;
        }
        Ok(Ok(self.table.push(FutureResponse { exchange, taken: false })?))
    }
}
