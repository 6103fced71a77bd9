//! Outbound HTTP: requests that a guest sends, through wasmtime-wasi-http's own `wasi:http`.

use super::streams::InputEnd;
use super::{Refusal, Reply, Services};
use limes_channel::Outbound as Request;
use limes_wasm::grants::{self, Exchange, Granted};
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::io::streams as io;
use wasmtime_wasi_http::p2::HttpError as P2Error;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, HostFields as _, HostIncomingResponse as _, HostOutgoingBody as _,
    HostOutgoingRequest as _, Method, Scheme,
};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::{
    Error as HttpError, FieldMap, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks,
};

/// Outbound HTTP through the grants.
pub(super) struct Outbound(pub Arc<dyn Granted>);

impl WasiHttpHooks for Outbound {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        grants::is_forbidden_header(name)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, HttpError>> + Send> {
        grants::send(&*self.0, request, options)
    }
}

/// The body of a request on its way out.
pub(super) struct Sending(Resource<HostOutgoingBody>);

/// The body of a response on its way in.
pub(super) enum Receiving {
    Body(Resource<HostIncomingBody>),
    /// The call's own input: what came after its last byte, once that has come.
    Input(InputEnd),
    Trailers(Resource<HostFutureTrailers>),
}

/// Holds the place of a stream that has been read to its end, so that its handle means nothing else.
struct Ended;

impl Services {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }

    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<Reply, Refusal> {
        let mut http = self.http();
        let fields =
            request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        let Ok(fields) = http.from_list(fields) else {
            return Ok(failure(&ErrorCode::HttpRequestHeaderSize(None)));
        };
        let outgoing = types::HostOutgoingRequest::new(&mut http, fields)?;
        let borrowed = || Resource::new_borrow(outgoing.rep());
        let set = http.set_method(borrowed(), method(request.method))?.is_ok()
            && http.set_scheme(borrowed(), Some(scheme(request.scheme)))?.is_ok()
            && http.set_authority(borrowed(), Some(request.authority.to_owned()))?.is_ok()
            && http.set_path_with_query(borrowed(), Some(request.path.to_owned()))?.is_ok();
        if !set {
            types::HostOutgoingRequest::drop(&mut http, outgoing)?;
            return Ok(failure(&ErrorCode::HttpRequestUriInvalid));
        }
        let mut body = None;
        if request.body {
            let Ok(outgoing_body) = types::HostOutgoingRequest::body(&mut http, borrowed())? else {
                return Err(Refusal::Trap("the request has no body".into()));
            };
            let Ok(stream) = http.write(Resource::new_borrow(outgoing_body.rep()))? else {
                return Err(Refusal::Trap("the request's body has no stream".into()));
            };
            body = Some((stream.rep(), outgoing_body));
        }
        let options = self.options(request.timeouts)?;
        let sent = self.http().handle(outgoing, Some(Resource::new_borrow(options.rep())));
        self.table.delete(options)?;
        match sent {
            Ok(exchange) => {
                let stream = body.map(|(stream, body)| {
                    self.sending.insert(stream, Sending(body));
                    stream
                });
                Ok(Reply::Exchange { exchange: exchange.rep(), body: stream })
            }
            Err(error) => Ok(failure(&code(error)?)),
        }
    }

    fn options(&mut self, timeouts: [Option<u64>; 3]) -> Result<Resource<RequestOptions>, Refusal> {
        let [connect_timeout, first_byte_timeout, between_bytes_timeout] =
            timeouts.map(|nanos| nanos.map(std::time::Duration::from_nanos));
        Ok(self.table.push(RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout })?)
    }

    pub(super) async fn finish_body(
        &mut self,
        stream: u32,
        trailers: &[(&str, &[u8])],
    ) -> Result<Reply, Refusal> {
        let Some(Sending(body)) = self.sending.remove(&stream) else {
            return Err(Refusal::Trap("no request has this body".into()));
        };
        self.drop_output(stream).await?;
        let mut http = self.http();
        let fields = if trailers.is_empty() {
            None
        } else {
            let fields = trailers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
            match http.from_list(fields) {
                Ok(fields) => Some(fields),
                Err(_) => return Ok(failure(&ErrorCode::HttpRequestTrailerSize(no_field()))),
            }
        };
        match types::HostOutgoingBody::finish(&mut http, body, fields) {
            Ok(()) => Ok(Reply::Unit),
            Err(error) => Ok(failure(&code(error)?)),
        }
    }

    async fn drop_output(&mut self, stream: u32) -> Result<(), Refusal> {
        io::HostOutputStream::drop(&mut self.table, Resource::new_own(stream)).await?;
        Ok(())
    }

    pub(super) fn response(&mut self, exchange: u32) -> Result<Reply, Refusal> {
        let mut http = self.http();
        let response =
            match types::HostFutureIncomingResponse::get(&mut http, Resource::new_borrow(exchange))? {
                None => return Ok(Reply::NotYet),
                Some(Err(())) => return Err(Refusal::Trap("the response was taken already".into())),
                Some(Ok(Err(code))) => return Ok(failure(&code)),
                Some(Ok(Ok(response))) => response,
            };
        let borrowed = || Resource::new_borrow(response.rep());
        let status = http.status(borrowed())?;
        let headers = types::HostIncomingResponse::headers(&mut http, borrowed())?;
        let entries = http.entries(Resource::new_borrow(headers.rep()))?;
        types::HostFields::drop(&mut http, headers)?;
        let Ok(body) = types::HostIncomingResponse::consume(&mut http, borrowed())? else {
            return Err(Refusal::Trap("the response has no body".into()));
        };
        let Ok(stream) = types::HostIncomingBody::stream(&mut http, Resource::new_borrow(body.rep()))? else {
            return Err(Refusal::Trap("the response's body has no stream".into()));
        };
        types::HostIncomingResponse::drop(&mut http, response)?;
        self.receiving.insert(stream.rep(), Receiving::Body(body));
        Ok(Reply::Response { status, headers: entries, body: stream.rep() })
    }

    pub(super) async fn trailers(&mut self, stream: u32) -> Result<Reply, Refusal> {
        let trailers = match self.receiving.remove(&stream) {
            None => return Err(Refusal::Trap("no response has this body".into())),
            Some(Receiving::Input(end)) => {
                let trailers = end.lock().clone();
                self.receiving.insert(stream, Receiving::Input(end));
                return Ok(trailers.map_or(Reply::NotYet, |trailers| Reply::Trailers(entries(&trailers))));
            }
            Some(Receiving::Trailers(trailers)) => trailers,
            Some(Receiving::Body(body)) => {
                io::HostInputStream::drop(&mut self.table, Resource::new_own(stream)).await?;
                // The table gives the place that was freed last.
                let ended = self.table.push(Ended)?;
                if ended.rep() != stream {
                    return Err(Refusal::Trap("the body's place is taken".into()));
                }
                types::HostIncomingBody::finish(&mut self.http(), body)?
            }
        };
        let got = types::HostFutureTrailers::get(&mut self.http(), Resource::new_borrow(trailers.rep()))?;
        self.receiving.insert(stream, Receiving::Trailers(trailers));
        match got {
            None => Ok(Reply::NotYet),
            Some(Err(())) | Some(Ok(Ok(None))) => Ok(Reply::Trailers(Vec::new())),
            Some(Ok(Err(code))) => Ok(failure(&code)),
            Some(Ok(Ok(Some(fields)))) => {
                let entries = self.http().entries(Resource::new_borrow(fields.rep()))?;
                self.table.delete(Resource::<FieldMap>::new_own(fields.rep()))?;
                Ok(Reply::Trailers(entries))
            }
        }
    }

    /// The trailers that are waited for by the handle of the body they follow.
    pub(super) fn trailers_of(&self, stream: u32) -> Option<Resource<HostFutureTrailers>> {
        match self.receiving.get(&stream)? {
            Receiving::Trailers(trailers) => Some(Resource::new_borrow(trailers.rep())),
            Receiving::Body(_) | Receiving::Input(_) => None,
        }
    }

    /// Gives back a body by its stream, if `stream` is that of one: an outgoing one is then broken off.
    pub(super) async fn drop_body(&mut self, stream: u32) -> Result<bool, Refusal> {
        if let Some(Sending(body)) = self.sending.remove(&stream) {
            self.drop_output(stream).await?;
            types::HostOutgoingBody::drop(&mut self.http(), body)?;
            return Ok(true);
        }
        match self.receiving.remove(&stream) {
            None => return Ok(false),
            Some(Receiving::Input(_)) => {
                io::HostInputStream::drop(&mut self.table, Resource::new_own(stream)).await?;
            }
            Some(Receiving::Body(body)) => {
                io::HostInputStream::drop(&mut self.table, Resource::new_own(stream)).await?;
                types::HostIncomingBody::drop(&mut self.http(), body)?;
            }
            Some(Receiving::Trailers(trailers)) => {
                self.table.delete(Resource::<Ended>::new_own(stream))?;
                types::HostFutureTrailers::drop(&mut self.http(), trailers)?;
            }
        }
        Ok(true)
    }
}

fn entries(fields: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

fn no_field() -> types::FieldSizePayload {
    types::FieldSizePayload { field_name: None, field_size: None }
}

/// A method that HTTP cannot have is left for the library to refuse.
fn method(name: &str) -> Method {
    http::Method::from_bytes(name.as_bytes()).map_or_else(|_| Method::Other(name.to_owned()), Method::from)
}

fn scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}

fn code(error: P2Error) -> Result<ErrorCode, Refusal> {
    Ok(error.downcast()?)
}

fn failure(code: &ErrorCode) -> Reply {
    let detail = match code {
        ErrorCode::InternalError(text) => text.clone().unwrap_or_default(),
        _ => String::new(),
    };
    Reply::HttpFailure { code: case_name(code), detail }
}

/// The name of the case in WIT: that of the Rust variant, its words joined by dashes, abbreviations in capitals.
fn case_name(code: &ErrorCode) -> String {
    let debug = format!("{code:?}");
    let variant = debug.rsplit_once("ErrorCode::").map_or(debug.as_str(), |(_, variant)| variant);
    let variant = variant.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let mut name = String::new();
    let mut word = String::new();
    let mut end = |word: &mut String| {
        let abbreviation = ["Dns", "Http", "Ip", "Tls", "Uri"].contains(&word.as_str());
        let cased = if abbreviation { word.to_ascii_uppercase() } else { word.to_ascii_lowercase() };
        if !name.is_empty() && !cased.is_empty() {
            name.push('-');
        }
        name.push_str(&cased);
        word.clear();
    };
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() {
            end(&mut word);
        }
        word.push(letter);
    }
    end(&mut word);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_has_the_name_that_wit_gives_it() {
        let named = [
            (ErrorCode::DnsTimeout, "DNS-timeout"),
            (ErrorCode::HttpRequestDenied, "HTTP-request-denied"),
            (ErrorCode::HttpRequestUriInvalid, "HTTP-request-URI-invalid"),
            (ErrorCode::DestinationIpProhibited, "destination-IP-prohibited"),
            (ErrorCode::TlsCertificateError, "TLS-certificate-error"),
            (ErrorCode::ConnectionRefused, "connection-refused"),
            (ErrorCode::HttpRequestBodySize(Some(3)), "HTTP-request-body-size"),
            (ErrorCode::InternalError(Some("no".into())), "internal-error"),
        ];
        for (code, name) in named {
            assert_eq!(case_name(&code), name);
        }
    }
}
