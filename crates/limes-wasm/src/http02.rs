//! `wasi:http/incoming-handler@0.2`: the contract most HTTP components export, and the hot path.

use crate::function::Call;
use crate::request::Incoming;
use limes_core::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

/// Calls `handle`; the response goes to the session when the guest sets it.
pub(crate) async fn handle(call: Call, request: http::Request<Incoming>) -> Result<()> {
    let session = call.session.clone();
    call.perform(async move |store, instance, export| {
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let outparam = http.new_response_outparam_from_callback(move |response| {
            session.respond(response.map_err(|code| code.to_string()));
        })?;
        let handle = instance
            .get_typed_func::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
                &mut *store,
                export,
            )?;
        handle.call_async(&mut *store, (request, outparam)).await
    })
    .await
}
