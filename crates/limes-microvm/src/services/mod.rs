//! What the host does for a guest: files, sockets, outbound HTTP, and the streams of these, each answered by the implementation and under the
//! grants that the component sandbox uses.
//!
//! A handle that a guest names is an index into the table of its own call; the table knows what kind each is, so that a made-up one reaches nothing.

mod forward;
mod http;
mod streams;
mod wire;

pub(crate) use streams::{BodyStream, too_large};

use crate::channel::Window;
use limes_channel::{Answer, Ask, MAX_CHUNK, POLL_WINDOW, StreamFailure, ToGuest};
use limes_core::{Error, Limits};
use limes_wasm::grants::{self, Granted};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

/// The host's side of one call.
pub(crate) struct Services {
    granted: Arc<dyn Granted>,
    table: ResourceTable,
    handles: u32,
    /// Made when first asked for: most functions ask for nothing.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    hooks: http::Outbound,
    /// Bodies of outgoing requests, by their output streams.
    sending: HashMap<u32, http::Sending>,
    /// Bodies of their responses, and the call's own, by their input streams.
    receiving: HashMap<u32, http::Receiving>,
}

/// What the host answers, owning it.
pub(crate) enum Reply {
    Unit,
    Values(Vec<u8>),
    Bytes(bytes::Bytes),
    Count(u64),
    Handle(u32),
    Ready(Vec<u32>),
    NotYet,
    Stream(StreamFailure),
    Exchange { exchange: u32, body: Option<u32> },
    Response { status: u16, headers: Vec<(String, Vec<u8>)>, body: u32 },
    Trailers(Vec<(String, Vec<u8>)>),
    HttpFailure { code: String, detail: String },
    Trap(String),
}

impl Reply {
    /// Writes it as a frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        fn fields(fields: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
            fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
        }
        let answer = match self {
            Self::Unit => Answer::Unit,
            Self::Values(bytes) => Answer::Values(bytes),
            Self::Bytes(bytes) => Answer::Bytes(bytes),
            Self::Count(count) => Answer::Count(*count),
            Self::Handle(handle) => Answer::Handle(*handle),
            Self::Ready(indexes) => Answer::Ready(indexes.clone()),
            Self::NotYet => Answer::NotYet,
            Self::Stream(failure) => Answer::Stream(*failure),
            Self::Exchange { exchange, body } => Answer::Exchange { exchange: *exchange, body: *body },
            Self::Response { status, headers, body } => Answer::Response {
                head: limes_channel::Head { status: *status, headers: fields(headers) },
                body: *body,
            },
            Self::Trailers(trailers) => Answer::Trailers(fields(trailers)),
            Self::HttpFailure { code, detail } => {
                Answer::HttpFailure(limes_channel::Failure { code, detail })
            }
            Self::Trap(text) => Answer::Trap(text),
        };
        limes_channel::frame::write(&ToGuest::Reply(answer), out);
    }
}

/// Why a call ends at a question.
pub(crate) enum Refusal {
    /// The guest has passed a limit, or a grant cannot be opened.
    Error(Error),
    /// The guest did what traps.
    Trap(String),
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(format!("{error:#}"))
    }
}

impl From<ResourceTableError> for Refusal {
    fn from(error: ResourceTableError) -> Self {
        wasmtime::Error::from(error).into()
    }
}

impl Services {
    pub fn new(granted: Arc<dyn Granted>, limits: &Limits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            hooks: http::Outbound(granted.clone()),
            granted,
            table,
            handles: limits.handles,
            wasi: None,
            http: WasiHttpCtx::new(),
            sending: HashMap::new(),
            receiving: HashMap::new(),
        }
    }

    /// Makes a stream of the call's own input, and gives its handle.
    pub fn add_input(&mut self, stream: BodyStream) -> Result<u32, Error> {
        let end = stream.end();
        let stream: DynInputStream = Box::new(stream);
        let handle = self.table.push(stream).map_err(|_| self.too_many())?.rep();
        self.receiving.insert(handle, http::Receiving::Input(end));
        Ok(handle)
    }

    /// Whether the guest of a call that has ended holds anything of it but the call's own input, which it has let go.
    pub fn are_held(&mut self) -> bool {
        for (handle, receiving) in &self.receiving {
            if matches!(receiving, http::Receiving::Input(_)) {
                // What was made of it is left, and found.
                let _ = self.table.delete(Resource::<DynInputStream>::new_own(*handle));
            }
        }
        !self.table.is_empty()
    }

    fn too_many(&self) -> Error {
        Error::limit("run guest", "handles", self.handles.into(), "one more")
    }

    /// Opens what was granted, if that has not been done.
    fn open(&mut self) -> Result<(), Error> {
        if self.wasi.is_none() {
            self.wasi = Some(grants::context(self.granted.clone())?.build());
        }
        Ok(())
    }

    /// Answers one question. `window` is ready when the guest may send more of its answer.
    ///
    /// # Errors
    /// The guest has passed the limit `handles`, or a granted directory cannot be opened.
    pub async fn answer(&mut self, ask: Ask<'_>, window: &Window) -> Result<Reply, Error> {
        match self.try_answer(ask, window).await {
            Ok(reply) => Ok(reply),
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Trap(text)) if text.contains("resource table has no free keys") => {
                Err(self.too_many())
            }
            Err(Refusal::Trap(text)) => Ok(Reply::Trap(text)),
        }
    }

    async fn try_answer(&mut self, ask: Ask<'_>, window: &Window) -> Result<Reply, Refusal> {
        Ok(match ask {
            Ask::Forward { function, arguments } => {
                self.open().map_err(Refusal::Error)?;
                let mut values = Vec::new();
                self.forward(function, arguments, &mut values).await?;
                Reply::Values(values)
            }
            Ask::Poll { pollables, timeout } => Reply::Ready(self.poll(&pollables, timeout, window).await?),
            Ask::Read { stream, max, block } => {
                let wanted = (max as usize).min(MAX_CHUNK);
                let stream = self.table.get_mut(&Resource::<DynInputStream>::new_borrow(stream))?;
                let read = if block { stream.blocking_read(wanted).await } else { stream.read(wanted) };
                self.stream_reply(read.map(Reply::Bytes))?
            }
            Ask::CheckWrite(stream) => {
                let stream = self.table.get_mut(&Resource::<DynOutputStream>::new_borrow(stream))?;
                let room = stream.check_write().map(|room| Reply::Count(room.min(MAX_CHUNK) as u64));
                self.stream_reply(room)?
            }
            Ask::Write { stream, bytes } => {
                let stream = self.table.get_mut(&Resource::<DynOutputStream>::new_borrow(stream))?;
                let written = stream.write(bytes::Bytes::copy_from_slice(bytes));
                self.stream_reply(written.map(|()| Reply::Unit))?
            }
            Ask::Flush { stream, block } => {
                let stream = self.table.get_mut(&Resource::<DynOutputStream>::new_borrow(stream))?;
                let mut flushed = stream.flush();
                if block && flushed.is_ok() {
                    flushed = stream.write_ready().await.map(drop);
                }
                self.stream_reply(flushed.map(|()| Reply::Unit))?
            }
            Ask::Subscribe(handle) => Reply::Handle(self.subscribe(handle)?),
            Ask::Drop(handle) => {
                self.give_back(handle).await?;
                Reply::Unit
            }
            Ask::ErrorText(error) => {
                let error = self.table.get(&Resource::<wasmtime::Error>::new_borrow(error))?;
                Reply::Bytes(format!("{error:?}").into())
            }
            Ask::Send(outbound) => self.send(&outbound)?,
            Ask::FinishBody { body, trailers } => self.finish_body(body, &trailers).await?,
            Ask::Response(exchange) => self.response(exchange)?,
            Ask::Trailers(stream) => self.trailers(stream).await?,
        })
    }

    fn stream_reply(&mut self, result: Result<Reply, StreamError>) -> Result<Reply, Refusal> {
        match result {
            Ok(reply) => Ok(reply),
            Err(StreamError::Closed) => Ok(Reply::Stream(StreamFailure::Closed)),
            Err(StreamError::LastOperationFailed(error)) => {
                Ok(Reply::Stream(StreamFailure::Failed(self.table.push(error)?.rep())))
            }
            Err(StreamError::Trap(error)) => Err(error.into()),
        }
    }

    async fn poll(
        &mut self,
        pollables: &[u32],
        timeout: Option<u64>,
        window: &Window,
    ) -> Result<Vec<u32>, Refusal> {
        let at_window = pollables.iter().position(|handle| *handle == POLL_WINDOW);
        // Places of the host's own among all.
        let places: Vec<u32> = (0_u32..)
            .zip(pollables)
            .filter(|(_, handle)| **handle != POLL_WINDOW)
            .map(|(at, _)| at)
            .collect();
        let own: Vec<Resource<DynPollable>> =
            places.iter().map(|at| Resource::new_borrow(pollables[*at as usize])).collect();
        let table = &mut self.table;
        let ready =
            async { if own.is_empty() { std::future::pending().await } else { table.poll(own).await } };
        let open = async {
            match at_window {
                Some(_) => window.opened().await,
                None => std::future::pending().await,
            }
        };
        let passed = async {
            match timeout {
                // Looking must not wait for the timer's next tick.
                Some(0) => {}
                Some(nanos) => tokio::time::sleep(Duration::from_nanos(nanos)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ready = ready => Ok(ready?.into_iter().filter_map(|index| places.get(index as usize).copied()).collect()),
            () = open => Ok(at_window.and_then(|at| u32::try_from(at).ok()).into_iter().collect()),
            () = passed => Ok(Vec::new()),
        }
    }
}

impl WasiView for Services {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasmtime_wasi::WasiCtxBuilder::new().build()),
            table: &mut self.table,
        }
    }
}
