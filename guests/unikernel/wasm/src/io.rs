//! `wasi:io`: errors and streams. A stream is bytes that are here, an output, a body, or a stream of the host's.

use crate::ask;
use crate::bindings::wasi::io::streams::{self, StreamError};
use crate::bindings::wasi::io::{error, poll};
use crate::body::Written;
use crate::body::{Body, Part, Source};
use crate::host::{Host, Shared};
use crate::poll::Pollable;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use kernel::channel;
use limes_channel::{MAX_CHUNK, Output, StreamFailure, ToHost};
use wasmtime::bail;
use wasmtime::component::Resource;

/// Why a stream failed.
pub enum IoError {
    /// A body of another size than was announced.
    BodySize(Part, String),
    Remote(u32),
}

/// Where bytes come from.
pub enum InputStream {
    Source(Shared<Source>),
    Remote(u32),
}

/// Where bytes go to.
pub enum OutputStream {
    Log(Output),
    Body(Shared<Body>),
    Remote(u32),
}

type Streamed<T> = wasmtime::Result<Result<T, StreamError>>;

impl Host {
    fn stream_error(&mut self, failure: StreamFailure) -> wasmtime::Result<StreamError> {
        Ok(match failure {
            StreamFailure::Closed => StreamError::Closed,
            StreamFailure::Failed(error) => {
                StreamError::LastOperationFailed(self.table.push(IoError::Remote(error))?)
            }
        })
    }

    fn streamed<T>(&mut self, outcome: ask::Streamed<T>) -> Streamed<T> {
        match outcome? {
            Ok(value) => Ok(Ok(value)),
            Err(failure) => Ok(Err(self.stream_error(failure)?)),
        }
    }

    fn read_from(&mut self, stream: &Resource<InputStream>, max: u64, block: bool) -> Streamed<Vec<u8>> {
        let outcome = match self.table.get(stream)? {
            InputStream::Source(source) => source.get().read(max, block),
            // Nothing was asked for: the answer tells only whether the stream still is.
            InputStream::Remote(stream) => ask::read(*stream, max, block && max > 0),
        };
        self.streamed(outcome)
    }

    fn room(&mut self, stream: &Resource<OutputStream>) -> Streamed<u64> {
        match self.table.get(stream)? {
            OutputStream::Log(_) => Ok(Ok(MAX_CHUNK as u64)),
            OutputStream::Body(body) => {
                let room = body.get().room()?;
                match room {
                    Written::Room(bytes) => Ok(Ok(bytes)),
                    Written::Closed => Ok(Err(StreamError::Closed)),
                    Written::Failed(failure) => Ok(Err(self.stream_error(failure)?)),
                }
            }
            OutputStream::Remote(stream) => {
                let outcome = ask::check_write(*stream);
                self.streamed(outcome)
            }
        }
    }

    fn write_to(&mut self, stream: &Resource<OutputStream>, bytes: &[u8]) -> Streamed<()> {
        let outcome = match self.table.get(stream)? {
            OutputStream::Log(output) => {
                bytes.chunks(MAX_CHUNK).for_each(|piece| channel::send(&ToHost::Output(*output, piece)));
                return Ok(Ok(()));
            }
            OutputStream::Body(body) => {
                let part = body.get().part();
                let written = body.get().write(bytes);
                return match written {
                    Ok(outcome) => self.streamed(outcome),
                    Err(text) => {
                        let error = self.table.push(IoError::BodySize(part, text))?;
                        Ok(Err(StreamError::LastOperationFailed(error)))
                    }
                };
            }
            OutputStream::Remote(stream) => ask::write(*stream, bytes),
        };
        self.streamed(outcome)
    }

    fn flush(&mut self, stream: &Resource<OutputStream>, block: bool) -> Streamed<()> {
        let outcome = match self.table.get(stream)? {
            OutputStream::Log(_) => return Ok(Ok(())),
            OutputStream::Body(body) => body.get().flush(block),
            OutputStream::Remote(stream) => ask::flush(*stream, block),
        };
        self.streamed(outcome)
    }

    fn pollable_of(&mut self, stream: &Resource<OutputStream>) -> wasmtime::Result<Pollable> {
        Ok(match self.table.get(stream)? {
            OutputStream::Log(_) => Pollable::Ready,
            OutputStream::Body(body) => Pollable::Body(body.clone(), None),
            OutputStream::Remote(stream) => Pollable::Remote(ask::subscribe(*stream)?),
        })
    }

    /// Waits until the stream takes something; how much.
    fn wait_for_room(&mut self, stream: &Resource<OutputStream>) -> Streamed<u64> {
        loop {
            match self.room(stream)? {
                Ok(0) => {}
                other => return Ok(other),
            }
            let pollable = self.pollable_of(stream)?;
            let pollable = self.table.push(pollable)?;
            let rep = pollable.rep();
            poll::HostPollable::block(self, pollable)?;
            poll::HostPollable::drop(self, Resource::new_own(rep))?;
        }
    }

    fn write_all(&mut self, stream: &Resource<OutputStream>, mut bytes: &[u8]) -> Streamed<()> {
        while !bytes.is_empty() {
            let room = match self.wait_for_room(stream)? {
                Ok(room) => usize::try_from(room)?.min(bytes.len()),
                Err(error) => return Ok(Err(error)),
            };
            let (now, later) = bytes.split_at(room);
            if let Err(error) = self.write_to(stream, now)? {
                return Ok(Err(error));
            }
            bytes = later;
        }
        self.flush(stream, true)
    }

    fn move_bytes(
        &mut self,
        into: &Resource<OutputStream>,
        from: &Resource<InputStream>,
        count: u64,
        block: bool,
    ) -> Streamed<u64> {
        let room = if block { self.wait_for_room(into)? } else { self.room(into)? };
        let room = match room {
            Ok(room) => room.min(count),
            Err(error) => return Ok(Err(error)),
        };
        if room == 0 {
            return Ok(Ok(0));
        }
        let bytes = match self.read_from(from, room, block)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.write_to(into, &bytes)?.map(|()| bytes.len() as u64))
    }
}

impl error::Host for Host {}

impl error::HostError for Host {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        match self.table.get(&error)? {
            IoError::BodySize(_, text) => Ok(text.clone()),
            IoError::Remote(error) => ask::error_text(*error),
        }
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        match self.table.delete(error)? {
            IoError::BodySize(..) => Ok(()),
            IoError::Remote(error) => ask::drop_handle(error),
        }
    }
}

impl streams::Host for Host {}

impl streams::HostInputStream for Host {
    fn read(&mut self, stream: Resource<InputStream>, count: u64) -> Streamed<Vec<u8>> {
        self.read_from(&stream, count, false)
    }

    fn blocking_read(&mut self, stream: Resource<InputStream>, count: u64) -> Streamed<Vec<u8>> {
        self.read_from(&stream, count, true)
    }

    fn skip(&mut self, stream: Resource<InputStream>, count: u64) -> Streamed<u64> {
        Ok(self.read_from(&stream, count, false)?.map(|bytes| bytes.len() as u64))
    }

    fn blocking_skip(&mut self, stream: Resource<InputStream>, count: u64) -> Streamed<u64> {
        Ok(self.read_from(&stream, count, true)?.map(|bytes| bytes.len() as u64))
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = match self.table.get(&stream)? {
            InputStream::Source(source) => Pollable::Source(source.clone(), None),
            InputStream::Remote(stream) => Pollable::Remote(ask::subscribe(*stream)?),
        };
        Ok(self.table.push_child(pollable, &stream)?)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> wasmtime::Result<()> {
        match self.table.delete(stream)? {
            InputStream::Source(_) => Ok(()),
            InputStream::Remote(stream) => ask::drop_handle(stream),
        }
    }
}

/// Most that the blocking writes take at once, by their definition.
const BLOCKING_WRITE: usize = 4096;

impl streams::HostOutputStream for Host {
    fn check_write(&mut self, stream: Resource<OutputStream>) -> Streamed<u64> {
        self.room(&stream)
    }

    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streamed<()> {
        self.write_to(&stream, &bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streamed<()> {
        if bytes.len() > BLOCKING_WRITE {
            bail!("Buffer too large for blocking-write-and-flush (expected at most {BLOCKING_WRITE})");
        }
        self.write_all(&stream, &bytes)
    }

    fn flush(&mut self, stream: Resource<OutputStream>) -> Streamed<()> {
        Host::flush(self, &stream, false)
    }

    fn blocking_flush(&mut self, stream: Resource<OutputStream>) -> Streamed<()> {
        Host::flush(self, &stream, true)
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = self.pollable_of(&stream)?;
        Ok(self.table.push_child(pollable, &stream)?)
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, count: u64) -> Streamed<()> {
        if count > MAX_CHUNK as u64 {
            bail!("{count} zeroes at once, where check-write permits {MAX_CHUNK}");
        }
        self.write_to(&stream, &vec![0; usize::try_from(count)?])
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<OutputStream>,
        count: u64,
    ) -> Streamed<()> {
        if count > BLOCKING_WRITE as u64 {
            bail!("Buffer too large for blocking-write-zeroes-and-flush (expected at most {BLOCKING_WRITE})");
        }
        self.write_all(&stream, &vec![0; usize::try_from(count)?])
    }

    fn splice(
        &mut self,
        into: Resource<OutputStream>,
        from: Resource<InputStream>,
        count: u64,
    ) -> Streamed<u64> {
        self.move_bytes(&into, &from, count, false)
    }

    fn blocking_splice(
        &mut self,
        into: Resource<OutputStream>,
        from: Resource<InputStream>,
        count: u64,
    ) -> Streamed<u64> {
        self.move_bytes(&into, &from, count, true)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> wasmtime::Result<()> {
        match self.table.delete(stream)? {
            OutputStream::Log(_) | OutputStream::Body(_) => Ok(()),
            OutputStream::Remote(stream) => ask::drop_handle(stream),
        }
    }
}
