//! `outgoing-body`: what a guest writes a response's or a request's body through.

use super::Answer;
use super::pipe::{Reader, Writer, pipe};
use crate::host::Host;
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::StreamContext;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

/// A body that a guest makes. Dropped before it was finished, it breaks.
pub(crate) struct OutgoingBody {
    context: StreamContext,
    writer: Writer,
    /// Whether the guest has taken the stream.
    taken: bool,
}

impl OutgoingBody {
    /// A body of `length` bytes, or of any length, and its other end.
    pub fn new(host: &Host, context: StreamContext, length: Option<u64>) -> (Self, Reader) {
        let (writer, reader) = pipe(host, context, length);
        (Self { context, writer, taken: false }, reader)
    }

    fn finish(self, trailers: Option<FieldMap>) -> Result<(), ErrorCode> {
        self.writer
            .finish(trailers.map(http::HeaderMap::from))
            .map_err(|written| self.context.as_body_size_error(written))
    }
}

/// The `content-length`; it may stand there once, in digits.
pub(super) fn content_length(headers: &http::HeaderMap) -> Result<Option<u64>, ()> {
    let mut values = headers.get_all(http::header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.as_bytes().iter().all(u8::is_ascii_digit) => {
            value.to_str().map_err(|_| ())?.parse().map(Some).map_err(|_| ())
        }
        _ => Err(()),
    }
}

pub(super) fn define(types: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    types.resource("outgoing-body", ResourceType::host::<OutgoingBody>(), |mut store, rep| {
        store.data_mut().table().delete(Resource::<OutgoingBody>::new_own(rep))?.writer.abort();
        Ok(())
    })?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store: StoreContextMut<'_, Host>,
         (this,): (Resource<OutgoingBody>,)|
         -> Answer<Result<Resource<DynOutputStream>, ()>> {
            let table = store.data_mut().table();
            let body = table.get_mut(&this)?;
            if std::mem::replace(&mut body.taken, true) {
                return Ok((Err(()),));
            }
            let stream: DynOutputStream = Box::new(body.writer.stream());
            Ok((Ok(table.push_child(stream, &this)?),))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, Host>,
         (this, trailers): (Resource<OutgoingBody>, Option<Resource<FieldMap>>)|
         -> Answer<Result<(), ErrorCode>> {
            let table = store.data_mut().table();
            let body = table.delete(this)?;
            let trailers = trailers.map(|trailers| table.delete(trailers)).transpose()?;
            Ok((body.finish(trailers),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: StoreContextMut<'_, Host>,
         (this,): (Resource<HostOutgoingRequest>,)|
         -> Answer<Result<Resource<OutgoingBody>, ()>> {
            let host = store.data_mut();
            let request = host.table().get(&this)?;
            if request.body.is_some() {
                return Ok((Err(()),));
            }
            let Ok(length) = content_length(&request.headers) else { return Ok((Err(()),)) };
            let (body, reader) = OutgoingBody::new(host, StreamContext::Request, length);
            host.table().get_mut(&this)?.body = Some(reader.boxed_unsync());
            Ok((Ok(host.table().push(body)?),))
        },
    )
}
