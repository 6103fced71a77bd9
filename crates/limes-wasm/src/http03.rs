//! `wasi:http/handler@0.3`: asynchronous components.

use crate::function::Call;
use crate::request::Incoming;
use limes_core::Result;
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;

/// Calls `handle`; the response goes to the session, and the guest goes on until its body is sent.
pub(crate) async fn handle(call: Call, request: http::Request<Incoming>) -> Result<()> {
    let session = call.session.clone();
    call.perform(async move |store, instance, _| {
        let service = Service::new(&mut *store, &instance)?;
        let (request, sent) = Request::from_http(store.data_mut().http().hooks, request);
        store
            .run_concurrent(async |accessor| {
                let answer = service.handle(accessor, request).await?;
                let response = match answer {
                    Ok(response) => response,
                    Err(code) => {
                        session.respond(Err(code.to_string()));
                        return Ok(());
                    }
                };
                let (done, finished) = oneshot::channel::<()>();
                let processed = async move {
                    drop(done);
                    Ok(())
                };
                let response = accessor.with(|store| response.into_http(store, processed))?;
                session.respond(Ok(response));
                // The body's producers live in this store: it is kept until they are done.
                let _ = finished.await;
                let _ = sent.await;
                wasmtime::error::Ok(())
            })
            .await?
    })
    .await
}
