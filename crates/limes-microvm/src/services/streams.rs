//! Handles of every kind, and the call's own input as a stream.

use super::{Refusal, Services};
use bytes::Bytes;
use http_body::Body as _;
use limes_core::{Body, Error, ErrorKind};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::types as fs;
use wasmtime_wasi::p2::bindings::io::{poll::HostPollable as _, streams as io};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup as dns, network, tcp, udp};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, Pollable, StreamError, StreamResult, subscribe,
};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi_http::p2::types::HostFutureIncomingResponse;

impl Services {
    fn is<T: 'static>(&mut self, handle: u32) -> Result<bool, Refusal> {
        Ok(self.table.get_any_mut(handle)?.is::<T>())
    }

    /// A pollable for a stream or an exchange; sockets have a function of their own.
    pub(super) fn subscribe(&mut self, handle: u32) -> Result<u32, Refusal> {
        let pollable = if let Some(trailers) = self.trailers_of(handle) {
            subscribe(&mut self.table, trailers)?
        } else if self.is::<DynInputStream>(handle)? {
            subscribe(&mut self.table, Resource::<DynInputStream>::new_borrow(handle))?
        } else if self.is::<DynOutputStream>(handle)? {
            subscribe(&mut self.table, Resource::<DynOutputStream>::new_borrow(handle))?
        } else {
            subscribe(&mut self.table, Resource::<HostFutureIncomingResponse>::new_borrow(handle))?
        };
        Ok(pollable.rep())
    }

    /// Gives a handle back, as its kind asks.
    pub(super) async fn give_back(&mut self, handle: u32) -> Result<(), Refusal> {
        if self.drop_body(handle).await? {
        } else if self.is::<DynPollable>(handle)? {
            self.table.drop(Resource::<DynPollable>::new_own(handle))?;
        } else if self.is::<DynInputStream>(handle)? {
            io::HostInputStream::drop(&mut self.table, Resource::new_own(handle)).await?;
        } else if self.is::<DynOutputStream>(handle)? {
            io::HostOutputStream::drop(&mut self.table, Resource::new_own(handle)).await?;
        } else if self.is::<fs::Descriptor>(handle)? {
            fs::HostDescriptor::drop(&mut self.filesystem(), Resource::new_own(handle))?;
        } else if self.is::<fs::DirectoryEntryStream>(handle)? {
            fs::HostDirectoryEntryStream::drop(&mut self.filesystem(), Resource::new_own(handle))?;
        } else if self.is::<tcp::TcpSocket>(handle)? {
            tcp::HostTcpSocket::drop(&mut self.sockets(), Resource::new_own(handle))?;
        } else if self.is::<udp::UdpSocket>(handle)? {
            udp::HostUdpSocket::drop(&mut self.sockets(), Resource::new_own(handle))?;
        } else if self.is::<udp::IncomingDatagramStream>(handle)? {
            udp::HostIncomingDatagramStream::drop(&mut self.sockets(), Resource::new_own(handle))?;
        } else if self.is::<udp::OutgoingDatagramStream>(handle)? {
            udp::HostOutgoingDatagramStream::drop(&mut self.sockets(), Resource::new_own(handle)).await?;
        } else if self.is::<dns::ResolveAddressStream>(handle)? {
            dns::HostResolveAddressStream::drop(&mut self.sockets(), Resource::new_own(handle))?;
        } else if self.is::<network::Network>(handle)? {
            network::HostNetwork::drop(&mut self.sockets(), Resource::new_own(handle))?;
        } else if self.is::<wasmtime::Error>(handle)? {
            self.table.delete(Resource::<wasmtime::Error>::new_own(handle))?;
        } else {
            self.table.delete(Resource::<HostFutureIncomingResponse>::new_own(handle))?;
        }
        Ok(())
    }
}

/// Trailers of a body that has ended, empty for none; `None` before.
pub(super) type InputEnd = Arc<Mutex<Option<http::HeaderMap>>>;

/// The body of a request, or stdin, as an input stream that ends the guest past its limit.
pub(crate) struct BodyStream {
    body: Option<Body>,
    ahead: Bytes,
    left: u64,
    limit: u64,
    failed: Option<String>,
    end: InputEnd,
    breach: Arc<Mutex<Option<Error>>>,
}

impl BodyStream {
    /// `left` bytes may come of the `limit`; what goes wrong with the body is left in `breach`.
    pub fn new(body: Body, left: u64, limit: u64, breach: Arc<Mutex<Option<Error>>>) -> Self {
        Self {
            body: Some(body),
            ahead: Bytes::new(),
            left,
            limit,
            failed: None,
            end: InputEnd::default(),
            breach,
        }
    }

    /// Where its trailers will be.
    pub(super) fn end(&self) -> InputEnd {
        self.end.clone()
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error.to_string());
        self.breach.lock().get_or_insert(error);
        self.body = None;
    }
}

/// The error for a body that is larger than it may be.
pub(crate) fn too_large(limit: u64, found: u64) -> Error {
    Error::new(
        ErrorKind::RequestTooLarge,
        "read body",
        format!(
            "the body is larger than {limit} bytes (at least {found}); send less or raise `limits.request`"
        ),
    )
    .with("limit", "request")
    .with("allowed", limit)
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyStream {
    async fn ready(&mut self) {
        while self.ahead.is_empty() {
            let Some(body) = &mut self.body else { return };
            match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                None => {
                    self.end.lock().get_or_insert_default();
                    self.body = None;
                }
                Some(Err(error)) => self.fail(error),
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                *self.end.lock() = Some(trailers);
                            }
                            continue;
                        }
                    };
                    match self.left.checked_sub(data.len() as u64) {
                        Some(left) => self.left = left,
                        None => {
                            let found = self.limit + data.len() as u64 - self.left;
                            return self.fail(too_large(self.limit, found));
                        }
                    }
                    self.ahead = data;
                }
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for BodyStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(text) = self.failed.take() {
            return Err(StreamError::LastOperationFailed(wasmtime::format_err!("{text}")));
        }
        if self.ahead.is_empty() && self.body.is_some() {
            futures_util::FutureExt::now_or_never(self.ready());
        }
        match (self.ahead.is_empty(), &self.body) {
            (true, None) => Err(StreamError::Closed),
            _ => Ok(self.ahead.split_to(size.min(self.ahead.len()))),
        }
    }
}
