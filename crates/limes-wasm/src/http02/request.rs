//! `incoming-request`: read where it lies, and only as far as the guest asks.

use super::Answer;
use crate::host::Host;
use crate::request::Incoming;
use http::header::HOST;
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

/// The guest's handle on [`Received`], of which a store has one.
pub(crate) struct IncomingRequest;

/// The request of an invocation.
pub(crate) struct Received {
    method: http::Method,
    uri: http::Uri,
    /// Empty once they were shown.
    headers: http::HeaderMap,
    /// The headers as the guest sees them, once it has asked.
    shown: Option<FieldMap>,
    /// The `Host`, which is not among those it sees.
    host: Option<http::HeaderValue>,
    body: Option<Incoming>,
}

impl Received {
    /// `request` has an authority, in its URI or its `Host`.
    pub fn new(request: http::Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        let http::request::Parts { method, uri, headers, .. } = head;
        Self { method, uri, headers, shown: None, host: None, body: Some(body) }
    }

    fn authority(&self) -> Option<String> {
        if let Some(authority) = self.uri.authority() {
            return Some(authority.to_string());
        }
        let host = self.host.as_ref().or_else(|| self.headers.get(HOST));
        Some(host?.to_str().ok()?.to_owned())
    }
}

fn headers(host: &mut Host) -> wasmtime::Result<Resource<FieldMap>> {
    let request = received(host)?;
    let shown = match &request.shown {
        Some(shown) => shown.clone(),
        None => {
            let raw = std::mem::take(&mut request.headers);
            request.host = raw.get(HOST).cloned();
            let shown = FieldMap::new_immutable(host.http().hooks, raw);
            received(host)?.shown = Some(shown.clone());
            shown
        }
    };
    Ok(host.table().push(shown)?)
}

fn received(host: &mut Host) -> wasmtime::Result<&mut Received> {
    host.received.as_deref_mut().ok_or_else(|| wasmtime::format_err!("the request is gone"))
}

pub(super) fn define(types: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    types.resource("incoming-request", ResourceType::host::<IncomingRequest>(), |mut store, _| {
        store.data_mut().received = None;
        Ok(())
    })?;
    types.func_wrap(
        "[method]incoming-request.method",
        |mut store: StoreContextMut<'_, Host>, (_,): (Resource<IncomingRequest>,)| -> Answer<Method> {
            Ok((received(store.data_mut())?.method.clone().into(),))
        },
    )?;
    types.func_wrap(
        "[method]incoming-request.path-with-query",
        |mut store: StoreContextMut<'_, Host>,
         (_,): (Resource<IncomingRequest>,)|
         -> Answer<Option<String>> {
            let path = received(store.data_mut())?.uri.path_and_query();
            Ok((path.map(|path| path.as_str().to_owned()),))
        },
    )?;
    types.func_wrap(
        "[method]incoming-request.scheme",
        |_: StoreContextMut<'_, Host>, (_,): (Resource<IncomingRequest>,)| -> Answer<Option<Scheme>> {
            Ok((Some(Scheme::Http),))
        },
    )?;
    types.func_wrap(
        "[method]incoming-request.authority",
        |mut store: StoreContextMut<'_, Host>,
         (_,): (Resource<IncomingRequest>,)|
         -> Answer<Option<String>> { Ok((received(store.data_mut())?.authority(),)) },
    )?;
    types.func_wrap(
        "[method]incoming-request.headers",
        |mut store: StoreContextMut<'_, Host>,
         (_,): (Resource<IncomingRequest>,)|
         -> Answer<Resource<FieldMap>> { Ok((headers(store.data_mut())?,)) },
    )?;
    types.func_wrap(
        "[method]incoming-request.consume",
        |mut store: StoreContextMut<'_, Host>,
         (_,): (Resource<IncomingRequest>,)|
         -> Answer<Result<Resource<HostIncomingBody>, ()>> {
            let host = store.data_mut();
            let Some(body) = received(host)?.body.take() else { return Ok((Err(()),)) };
            let body = host.table().push(HostIncomingBody::new(body.boxed_unsync()))?;
            Ok((Ok(body),))
        },
    )
}
