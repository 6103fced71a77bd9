//! Clients that stall: a socket that says what hyper waits for, and the one timer a connection needs for it.

use crate::connection::Connection;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Pieces of together up to this many bytes are copied into one: the kernel takes longer to gather them.
const COPIED: usize = 1 << 10;

/// What a client must have taken of an answer for its time to begin anew: it would stay for ever if each byte counted.
pub(crate) const PORTION: u64 = 64 << 10;

/// A socket that tells its [`Connection`] what happens on it.
pub(crate) struct Watched {
    io: TokioIo<TcpStream>,
    connection: Arc<Connection>,
    shut: bool,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { io: TokioIo::new(stream), connection, shut: false }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection.on_write(match &result {
            Poll::Ready(taken) => Poll::Ready(*taken.as_ref().unwrap_or(&0)),
            Poll::Pending => Poll::Pending,
        });
        result
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        self.connection.on_read(result.is_ready());
        result
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|piece| piece.len()).sum();
        let result = if length <= COPIED {
            let mut whole = [0; COPIED];
            let mut room = &mut whole[..];
            for piece in bufs {
                let (here, rest) = room.split_at_mut(piece.len());
                here.copy_from_slice(piece);
                room = rest;
            }
            Pin::new(&mut self.io).poll_write(cx, &whole[..length])
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.shut = true;
        }
        if !this.connection.lingers() {
            return Poll::Ready(Ok(()));
        }
        // Closing a socket with unread bytes resets it, and the reset can overtake the answer: read on until
        // the client has closed too. The connection's timer ends this when the client does not.
        this.connection.on_closing();
        let mut scratch = [0; 4096];
        loop {
            let mut buf = tokio::io::ReadBuf::new(&mut scratch);
            ready!(Pin::new(this.io.inner_mut()).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// What a connection waits for that only its client can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing: a request is being answered.
    Nothing,
    /// The rest of a request head, or the first one.
    Head,
    /// Another request.
    Idle,
    /// Room for more of an answer: in the socket's send buffer, or in the window of an HTTP/2 stream.
    Write,
    /// Another request, while the node drains.
    Drain,
    /// The client's end of stream, after ours.
    Close,
}

/// A connection's one timer, made when first needed and moved only when it fires or must fire earlier.
pub(crate) struct StallClock {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Instant,
    key: (Waiting, u64),
    deadline: Instant,
}

impl StallClock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { sleep: None, armed: now, key: (Waiting::Nothing, 0), deadline: now }
    }

    /// Ready once `key` (what is waited for, and a number that changes with each progress) has been the same
    /// for `timeout`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, key: (Waiting, u64), timeout: Duration) -> Poll<()> {
        if key.0 == Waiting::Nothing {
            self.key = key;
            return Poll::Pending;
        }
        let mut now = Instant::now();
        if key != self.key {
            self.key = key;
            self.deadline = now + timeout;
        }
        loop {
            if now >= self.deadline {
                return Poll::Ready(());
            }
            match &mut self.sleep {
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(self.deadline.into()))),
                Some(sleep) if self.armed > self.deadline || self.armed <= now => {
                    sleep.as_mut().reset(self.deadline.into());
                }
                // Still armed for an earlier moment, and this task is already its waker.
                Some(_) => return Poll::Pending,
            }
            self.armed = self.deadline;
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
            }
            now = Instant::now();
        }
    }
}
