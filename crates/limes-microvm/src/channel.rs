//! The host's end of a channel: frames in and out, whatever carries them.

use crate::driver::builtin::Ring;
use futures_util::task::AtomicWaker;
use limes_channel::{ToGuest, WINDOW, frame};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::coop::poll_proceed;

/// Read at once.
const CHUNK: usize = 64 << 10;

/// What carries the frames of one VM. A VM that waits belongs to no thread; one that is called to that of its caller.
pub(crate) enum Link {
    /// A socket that is registered with the thread's reactor.
    Socket(UnixStream),
    /// One that is not.
    Parked(std::os::unix::net::UnixStream),
    /// Memory shared with the guest.
    Ring(Box<Ring>),
    /// Between two of these, or a guest that has another door.
    Lost,
}

/// Frames to and from one guest.
pub(crate) struct Channel {
    link: Link,
    reader: frame::Reader,
    out: Vec<u8>,
    sent: usize,
    buffer: Vec<u8>,
}

/// Why a channel is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The machine is gone, or its socket failed.
    Gone(String),
    /// The guest sent what is no message.
    Garbage(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

impl Channel {
    pub fn new(link: Link) -> Self {
        Self { link, reader: frame::Reader::new(), out: Vec::new(), sent: 0, buffer: vec![0; CHUNK] }
    }

    /// Starts afresh, for a machine that was put back.
    pub fn restart(&mut self) {
        self.reader = frame::Reader::new();
        self.out.clear();
        self.sent = 0;
    }

    /// Makes this thread's reactor watch the channel.
    ///
    /// # Errors
    /// The reactor does not take it.
    pub fn attach(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.link, Link::Lost) {
            Link::Parked(socket) => self.link = Link::Socket(UnixStream::from_std(socket)?),
            Link::Ring(mut ring) => {
                ring.attach()?;
                self.link = Link::Ring(ring);
            }
            other => self.link = other,
        }
        Ok(())
    }

    /// Takes it back from the reactor.
    ///
    /// # Errors
    /// The reactor does not give it back.
    pub fn detach(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.link, Link::Lost) {
            Link::Socket(socket) => self.link = Link::Parked(socket.into_std()?),
            Link::Ring(mut ring) => {
                ring.detach();
                self.link = Link::Ring(ring);
            }
            other => self.link = other,
        }
        Ok(())
    }

    /// Whether a machine that waits for a call still has its process: with that its channel closes.
    pub fn lives(&mut self) -> bool {
        match &mut self.link {
            Link::Parked(socket) => {
                let mut byte = [0; 1];
                match rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Ok((_, length)) => length > 0,
                    Err(error) => error == Errno::AGAIN,
                }
            }
            Link::Ring(ring) => ring.lives(),
            Link::Socket(_) | Link::Lost => false,
        }
    }

    /// The socket as it is, for a guest that speaks another protocol.
    pub fn into_socket(self) -> Option<UnixStream> {
        match self.link {
            Link::Socket(socket) => Some(socket),
            _ => None,
        }
    }

    /// The ring and the monitor behind it, on the built-in one.
    pub fn ring(&mut self) -> Option<&mut Ring> {
        match &mut self.link {
            Link::Ring(ring) => Some(&mut **ring),
            _ => None,
        }
    }

    /// Whether it gives what a guest said while that goes on. A ring does so only when the guest waits, or has computed for a while.
    pub fn is_prompt(&self) -> bool {
        !matches!(self.link, Link::Ring(_))
    }

    /// Puts a message in line; [`flush`](Self::flush) sends it.
    pub fn send(&mut self, message: &ToGuest<'_>) {
        frame::write(message, &mut self.out);
    }

    /// Where frames are put in line.
    pub fn line(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what is in line. May be given up and called again.
    ///
    /// # Errors
    /// The machine is gone.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let written = match &mut self.link {
                Link::Socket(socket) => Pin::new(socket).poll_write(cx, rest)?,
                Link::Ring(ring) => ring.poll_write(cx, rest)?,
                Link::Parked(_) | Link::Lost => return Poll::Ready(Err(unattached())),
            };
            match written {
                Poll::Ready(0) => return Poll::Ready(Err(Broken::Gone("it takes no more".into()))),
                Poll::Ready(count) => self.sent += count,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.sent = 0;
        match &mut self.link {
            Link::Ring(ring) => ring.poll_resume(cx).map_err(Broken::from),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The payload of the next frame. May be given up and called again.
    ///
    /// Each is charged to the task: a guest that says something all the time must not keep it from looking at what ends the call.
    ///
    /// # Errors
    /// The machine is gone, or sent what is no frame.
    pub async fn next(&mut self) -> Result<Vec<u8>, Broken> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Broken>> {
        let charge = ready!(poll_proceed(cx));
        loop {
            match self.reader.next_frame() {
                Ok(Some(payload)) => {
                    charge.made_progress();
                    return Poll::Ready(Ok(payload.to_vec()));
                }
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(Broken::Garbage(bad.to_string()))),
            }
            let count = match &mut self.link {
                Link::Socket(socket) => {
                    let mut into = ReadBuf::new(&mut self.buffer);
                    match Pin::new(socket).poll_read(cx, &mut into)? {
                        Poll::Ready(()) => into.filled().len(),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Link::Ring(ring) => match ring.poll_read(cx, &mut self.buffer)? {
                    Poll::Ready(count) => count,
                    Poll::Pending => return Poll::Pending,
                },
                Link::Parked(_) | Link::Lost => return Poll::Ready(Err(unattached())),
            };
            if count == 0 {
                return Poll::Ready(Err(Broken::Gone("it closed its channel".into())));
            }
            self.reader.push(&self.buffer[..count]);
        }
    }
}

fn unattached() -> Broken {
    Broken::Gone("its channel is not attached".into())
}

/// How much of its answer a guest may send: what was passed on opens it again.
#[derive(Default)]
pub(crate) struct Window {
    /// Bytes that the guest sent, less those that it was told were passed on.
    sent: AtomicU64,
    /// Bytes that were passed on since it was told last.
    passed: AtomicU64,
    waiting: AtomicWaker,
}

impl Window {
    /// `bytes` of the answer have come; how many there are now that the guest was not told were passed on.
    pub fn fill(&self, bytes: u64) -> u64 {
        self.sent.fetch_add(bytes, Ordering::AcqRel) + bytes
    }

    /// `bytes` of the answer have gone further.
    pub fn pass(&self, bytes: u64) {
        if bytes > 0 {
            self.passed.fetch_add(bytes, Ordering::AcqRel);
            self.waiting.wake();
        }
    }

    /// What the guest is told now.
    pub fn take(&self) -> u64 {
        let passed = self.passed.swap(0, Ordering::AcqRel);
        self.sent.fetch_sub(passed, Ordering::AcqRel);
        passed
    }

    /// Waits until the guest has room, by what it was told or will be: its question may cross the word of it.
    pub async fn opened(&self) {
        self.until(|| self.sent.load(Ordering::Acquire) < WINDOW || self.passed.load(Ordering::Acquire) > 0)
            .await;
    }

    /// Waits until it is worth a message.
    pub async fn opened_wide(&self) {
        self.until(|| self.passed.load(Ordering::Acquire) >= WINDOW / 4).await;
    }

    async fn until(&self, open: impl Fn() -> bool) {
        poll_fn(|cx| {
            self.waiting.register(cx.waker());
            if open() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
