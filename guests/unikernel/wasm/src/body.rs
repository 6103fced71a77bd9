//! Bytes on their way in and out: an argument, standard input and bodies.

use crate::ask;
use crate::bindings::wasi::http::types::ErrorCode;
use crate::poll::Wait;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use kernel::channel;
use limes_channel::{Answer, Ask, MAX_CHUNK, POLL_WINDOW, StreamFailure, ToHost};
use wasmtime::bail;

/// Bytes that the host gives: some are here, the others are in a stream of its table.
#[derive(Default)]
pub struct Source {
    bytes: Vec<u8>,
    position: usize,
    rest: Option<u32>,
    /// `rest` has given its last byte.
    ended: bool,
}

impl Source {
    pub fn new(first: &[u8], rest: Option<u32>) -> Self {
        Self { bytes: first.to_vec(), position: 0, rest, ended: false }
    }

    /// At most `max` bytes; with `block` at least one.
    pub fn read(&mut self, max: u64, block: bool) -> ask::Streamed<Vec<u8>> {
        let here = &self.bytes[self.position..];
        if max == 0 {
            return Ok(if here.is_empty() && self.exhausted() {
                Err(StreamFailure::Closed)
            } else {
                Ok(Vec::new())
            });
        }
        if !here.is_empty() {
            let count = here.len().min(usize::try_from(max).unwrap_or(usize::MAX));
            let bytes = here[..count].to_vec();
            self.position += count;
            return Ok(Ok(bytes));
        }
        match self.rest {
            Some(stream) if !self.ended => {
                let bytes = ask::read(stream, max, block)?;
                self.ended = bytes.is_err();
                Ok(bytes)
            }
            _ => Ok(Err(StreamFailure::Closed)),
        }
    }

    fn exhausted(&self) -> bool {
        self.ended || self.rest.is_none()
    }

    pub fn wait(&self) -> Wait {
        match self.rest {
            Some(stream) if self.position == self.bytes.len() && !self.ended => Wait::Subscribe(stream),
            _ => Wait::Ready,
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// The stream failed.
    pub fn read_all(&mut self) -> wasmtime::Result<Vec<u8>> {
        let mut all = core::mem::take(&mut self.bytes).split_off(self.position);
        self.position = 0;
        loop {
            match self.read(u64::MAX, true)? {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(StreamFailure::Closed) => return Ok(all),
                Err(failure) => bail!("{}", ask::failure_text(failure)),
            }
        }
    }

    /// The trailers, when they are here.
    pub fn trailers(&self) -> wasmtime::Result<Trailers> {
        let Some(stream) = self.rest else { return Ok(Trailers::Here(Ok(Vec::new()))) };
        ask::ask(Ask::Trailers(stream), |answer| match answer {
            Answer::Trailers(trailers) => Ok(Trailers::Here(Ok(owned(&trailers)))),
            Answer::HttpFailure(failure) => Ok(Trailers::Here(Err(crate::http::failure::code(&failure)))),
            Answer::NotYet => Ok(Trailers::NotYet),
            other => bail!("the host's answer does not fit the question: {other:?}"),
        })
    }

    /// The host's stream.
    pub fn rest(&self) -> Option<u32> {
        self.rest
    }

    /// Gives the host's stream back: nobody reads on.
    pub fn give_up(&mut self) -> wasmtime::Result<()> {
        match core::mem::take(self).rest {
            Some(stream) => ask::drop_handle(stream),
            None => Ok(()),
        }
    }
}

/// Names and values in their order.
pub type Entries = Vec<(String, Vec<u8>)>;

pub(crate) fn owned(entries: &[(&str, &[u8])]) -> Entries {
    entries.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect()
}

pub(crate) fn borrowed(entries: &Entries) -> Vec<(&str, &[u8])> {
    entries.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
}

/// What is known of trailers.
pub enum Trailers {
    NotYet,
    Here(Result<Entries, ErrorCode>),
}

/// Room in a body.
pub enum Written {
    Room(u64),
    Closed,
    Failed(StreamFailure),
}

/// What a body belongs to.
#[derive(Clone, Copy)]
pub enum Part {
    Request,
    Response,
}

impl Part {
    /// The error for a body of another size than was announced.
    pub fn size_error(self, written: Option<u64>) -> ErrorCode {
        match self {
            Self::Request => ErrorCode::HttpRequestBodySize(written),
            Self::Response => ErrorCode::HttpResponseBodySize(written),
        }
    }
}

/// A body that the guest writes: of its response, or of a request.
pub struct Body {
    part: Part,
    to: To,
    written: u64,
    /// By `content-length`.
    announced: Option<u64>,
    /// The guest said that this was all, with these trailers.
    finished: Option<Entries>,
    /// Given up: nothing more is taken.
    closed: bool,
}

enum To {
    /// Nobody yet: its head has not been sent.
    Nobody(Vec<u8>),
    /// The caller of the function.
    Caller,
    /// A stream of the host's.
    Remote(u32),
}

impl Body {
    pub fn new(part: Part, announced: Option<u64>) -> Self {
        Self { part, to: To::Nobody(Vec::new()), written: 0, announced, finished: None, closed: false }
    }

    /// What it belongs to.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Its head was dropped. If that was never sent, nobody will read the body.
    pub fn head_is_gone(&mut self) {
        if matches!(self.to, To::Nobody(_)) {
            self.closed = true;
        }
    }

    pub fn room(&self) -> wasmtime::Result<Written> {
        if self.closed || self.finished.is_some() {
            return Ok(Written::Closed);
        }
        Ok(match &self.to {
            To::Nobody(held) => Written::Room(MAX_CHUNK.saturating_sub(held.len()) as u64),
            To::Caller => Written::Room(ask::window().min(MAX_CHUNK as u64)),
            To::Remote(stream) => match ask::check_write(*stream)? {
                Ok(room) => Written::Room(room),
                Err(failure) => Written::Failed(failure),
            },
        })
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// More than were announced: the text says so.
    pub fn write(&mut self, bytes: &[u8]) -> Result<ask::Streamed<()>, String> {
        if self.closed || self.finished.is_some() {
            return Ok(Ok(Err(StreamFailure::Closed)));
        }
        self.written += bytes.len() as u64;
        if self.announced.is_some_and(|announced| self.written > announced) {
            self.closed = true;
            return Err(format!(
                "the body is longer than its content-length of {}",
                self.announced.unwrap_or(0)
            ));
        }
        Ok(match &mut self.to {
            To::Nobody(held) => {
                held.extend_from_slice(bytes);
                Ok(Ok(()))
            }
            To::Caller => {
                ask::send_chunk(bytes);
                Ok(Ok(()))
            }
            To::Remote(stream) => ask::write(*stream, bytes),
        })
    }

    pub fn flush(&self, block: bool) -> ask::Streamed<()> {
        match &self.to {
            To::Remote(stream) => ask::flush(*stream, block),
            To::Nobody(_) | To::Caller => Ok(Ok(())),
        }
    }

    pub fn wait(&self) -> Wait {
        match &self.to {
            _ if self.closed || self.finished.is_some() => Wait::Ready,
            To::Nobody(held) if held.len() < MAX_CHUNK => Wait::Ready,
            To::Nobody(_) => Wait::Never,
            To::Caller if ask::window() > 0 => Wait::Ready,
            To::Caller => Wait::Remote(POLL_WINDOW),
            To::Remote(stream) => Wait::Subscribe(*stream),
        }
    }

    /// The head of the response is in line: what was held follows it, and what comes goes to the caller.
    pub fn queue_for_caller(&mut self) {
        let To::Nobody(held) = core::mem::replace(&mut self.to, To::Caller) else { return };
        ask::queue_chunk(&held);
        if let Some(trailers) = &self.finished {
            channel::queue(&ToHost::Finished(borrowed(trailers)));
        }
    }

    /// The request was sent: what was held, and what comes, goes to the host's stream.
    pub fn send_to(&mut self, stream: u32) -> wasmtime::Result<()> {
        let To::Nobody(held) = core::mem::replace(&mut self.to, To::Remote(stream)) else { return Ok(()) };
        let mut rest = &held[..];
        while !rest.is_empty() {
            let Ok(room) = ask::check_write(stream)? else { return Ok(()) };
            if room == 0 {
                let pollable = ask::subscribe(stream)?;
                ask::poll([pollable].into(), None)?;
                ask::drop_handle(pollable)?;
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room)?));
            if ask::write(stream, now)?.is_err() {
                return Ok(());
            }
            rest = later;
        }
        match &self.finished {
            Some(trailers) => ask::finish_body(stream, borrowed(trailers)).map(drop),
            None => Ok(()),
        }
    }

    /// The guest says that this was all. `Some` is how many bytes there were, when another number was announced.
    pub fn finish(&mut self, trailers: Entries) -> wasmtime::Result<Option<u64>> {
        if self.announced.is_some_and(|announced| announced != self.written) {
            self.give_up(&format!("{} bytes were written", self.written))?;
            return Ok(Some(self.written));
        }
        match &self.to {
            To::Caller => channel::send(&ToHost::Finished(borrowed(&trailers))),
            To::Remote(stream) => ask::finish_body(*stream, borrowed(&trailers)).map(drop)?,
            To::Nobody(_) => {}
        }
        self.finished = Some(trailers);
        Ok(None)
    }

    /// The guest dropped the body before it was finished.
    pub fn give_up(&mut self, why: &str) -> wasmtime::Result<()> {
        if self.finished.is_some() || core::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        match &self.to {
            To::Caller => channel::send(&ToHost::Broken(why)),
            To::Remote(stream) => ask::drop_handle(*stream)?,
            To::Nobody(_) => {}
        }
        Ok(())
    }
}
