//! The guest's stdout and stderr: bounded, logged, and kept where they are the answer.

use crate::session::Session;
use bytes::Bytes;
use limes_core::{Error, LogStream};
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// One of the guest's two output streams. Clones write to the same place.
#[derive(Clone)]
pub(crate) struct Capture(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    stream: LogStream,
    limit: u64,
    keep: bool,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    total: u64,
    kept: Vec<u8>,
}

impl Capture {
    /// `limit` in bytes; `keep` holds on to what was written for [`take`](Self::take).
    pub fn new(session: Arc<Session>, stream: LogStream, limit: u64, keep: bool) -> Self {
        Self(Arc::new(Inner { session, stream, limit, keep, written: Mutex::default() }))
    }

    pub fn take(&self) -> Bytes {
        std::mem::take(&mut self.0.written.lock().kept).into()
    }

    /// Takes `bytes` whole, or none of them and ends the guest.
    fn put(&self, bytes: &[u8]) -> Result<(), String> {
        let inner = &*self.0;
        let mut written = inner.written.lock();
        let total = written.total + bytes.len() as u64;
        if total > inner.limit {
            let error = Error::limit("run guest", "output", inner.limit, format!("{total} bytes"));
            let text = error.to_string();
            inner.session.breach(error);
            return Err(text);
        }
        written.total = total;
        if inner.keep {
            written.kept.extend_from_slice(bytes);
        }
        drop(written);
        inner.session.control.log(inner.stream, bytes);
        Ok(())
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.put(&bytes).map_err(|text| StreamError::trap(&text))
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.put(bytes).map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
