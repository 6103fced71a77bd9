//! `outgoing-response` and `response-outparam`: the head of the answer.

use super::Answer;
use super::body::{self, OutgoingBody};
use super::pipe::Reader;
use crate::host::Host;
use crate::response::GuestBody;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::StreamContext;

/// The guest's handle on where its response goes: the session.
pub(crate) struct Outparam;

/// A response that a guest makes.
pub(crate) struct OutgoingResponse {
    status: http::StatusCode,
    headers: FieldMap,
    body: Option<Reader>,
}

impl OutgoingResponse {
    fn into_http(self) -> http::Response<GuestBody> {
        let body = self.body.map_or(GuestBody::Empty, GuestBody::Pipe);
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into();
        response
    }
}

pub(super) fn define(types: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    types.resource("response-outparam", ResourceType::host::<Outparam>(), |_, _| Ok(()))?;
    types.func_wrap(
        "[static]response-outparam.set",
        |mut store: StoreContextMut<'_, Host>,
         (_, response): (Resource<Outparam>, Result<Resource<OutgoingResponse>, ErrorCode>)|
         -> wasmtime::Result<()> {
            let host = store.data_mut();
            let head = match response {
                Ok(response) => Ok(host.table().delete(response)?.into_http()),
                Err(code) => Err(code.to_string()),
            };
            host.session.respond(head);
            Ok(())
        },
    )?;
    define_outgoing(types)
}

fn define_outgoing(types: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    types.resource("outgoing-response", ResourceType::host::<OutgoingResponse>(), |mut store, rep| {
        store.data_mut().table().delete(Resource::<OutgoingResponse>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap(
        "[constructor]outgoing-response",
        |mut store: StoreContextMut<'_, Host>,
         (headers,): (Resource<FieldMap>,)|
         -> Answer<Resource<OutgoingResponse>> {
            let table = store.data_mut().table();
            let mut headers = table.delete(headers)?;
            headers.set_immutable();
            Ok((table.push(OutgoingResponse { status: http::StatusCode::OK, headers, body: None })?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.status-code",
        |mut store: StoreContextMut<'_, Host>, (this,): (Resource<OutgoingResponse>,)| -> Answer<u16> {
            Ok((store.data_mut().table().get(&this)?.status.as_u16(),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.set-status-code",
        |mut store: StoreContextMut<'_, Host>,
         (this, status): (Resource<OutgoingResponse>, u16)|
         -> Answer<Result<(), ()>> {
            let response = store.data_mut().table().get_mut(&this)?;
            let status = http::StatusCode::from_u16(status);
            Ok((status.map(|status| response.status = status).map_err(|_| ()),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.headers",
        |mut store: StoreContextMut<'_, Host>,
         (this,): (Resource<OutgoingResponse>,)|
         -> Answer<Resource<FieldMap>> {
            let table = store.data_mut().table();
            let headers = table.get(&this)?.headers.clone();
            Ok((table.push(headers)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, Host>,
         (this,): (Resource<OutgoingResponse>,)|
         -> Answer<Result<Resource<OutgoingBody>, ()>> {
            let host = store.data_mut();
            let response = host.table().get(&this)?;
            if response.body.is_some() {
                return Ok((Err(()),));
            }
            let Ok(length) = body::content_length(&response.headers) else { return Ok((Err(()),)) };
            let (body, reader) = OutgoingBody::new(host, StreamContext::Response, length);
            host.table().get_mut(&this)?.body = Some(reader);
            Ok((Ok(host.table().push(body)?),))
        },
    )
}
