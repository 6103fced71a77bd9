//! `wasi:http/incoming-handler@0.2`: the contract most HTTP components export, and the hot path.
//!
//! `wasmtime-wasi-http` hosts all of `wasi:http` 0.2; what nearly every request goes through is defined anew here, leaner: its
//! request is read where it lies (`request`), its response and body go to the session without a channel (`response`, `body`,
//! `pipe`), and a write that need not wait does not become a future of its own (`streams`). Fields, bodies that come in, trailers and
//! the client's side stay the library's, as do all types that a guest sees.

mod body;
mod pipe;
mod request;
mod response;
mod streams;

pub(crate) use pipe::Reader;
pub(crate) use request::Received;

use crate::function::Call;
use crate::host::Host;
use crate::request::Incoming;
use limes_core::Result;
use wasmtime::component::{Linker, Resource};

/// The version that the library registers; others of 0.2 are linked to it.
const TYPES: &str = "wasi:http/types@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// What a host function gives back: its one result, or a trap.
type Answer<T> = wasmtime::Result<(T,)>;

/// Puts the lean functions over the library's.
pub(crate) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    request::define(&mut types)?;
    response::define(&mut types)?;
    body::define(&mut types)?;
    streams::define(&mut linker.instance(STREAMS)?)
}

/// Calls `handle`; the response goes to the session when the guest sets it.
pub(crate) fn handle(
    mut call: Call,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<()>> + Send + 'static {
    // In the store before the future is made: it would be moved with it.
    call.store.data_mut().received = Some(Box::new(Received::new(request)));
    call.perform(async |store, instance, export| {
        let handle = instance
            .get_typed_func::<(Resource<request::IncomingRequest>, Resource<response::Outparam>), ()>(
                &mut *store,
                export,
            )?;
        handle.call_async(&mut *store, (Resource::new_own(0), Resource::new_own(0))).await
    })
}
