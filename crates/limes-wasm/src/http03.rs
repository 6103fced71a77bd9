//! `wasi:http/handler@0.3`: asynchronous components.

use crate::function::Call;
use crate::request::Incoming;
use crate::response::GuestBody;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use limes_core::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error as HttpError, WasiBody, WasiHttpView};

/// Calls `handle`; the response goes to the session, and the guest goes on until its body is sent.
pub(crate) async fn handle(call: Call, request: http::Request<Incoming>) -> Result<()> {
    let session = call.session.clone();
    call.perform(async move |store, instance, _| {
        let service = Service::new(&mut *store, &instance)?;
        let (request, _) = Request::from_http(store.data_mut().http().hooks, request);
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
                let response = accessor.with(|store| response.into_http(store, async { Ok(()) }))?;
                let (done, sent) = oneshot::channel();
                session.respond(Ok(
                    response.map(|body| GuestBody::Boxed(Sent { body, done: Some(done) }.boxed_unsync()))
                ));
                // What fills the body lives in this store: it is kept until the body is sent or nobody wants it.
                let _ = sent.await;
                wasmtime::error::Ok(())
            })
            .await?
    })
    .await
}

/// A response body that tells when it has ended or is dropped.
struct Sent {
    body: WasiBody,
    done: Option<oneshot::Sender<()>>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(None) = frame {
            this.done = None;
        }
        frame
    }
}
