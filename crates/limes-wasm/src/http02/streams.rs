//! `output-stream.blocking-write-and-flush`: the one way guests write a small body. A stream that takes the bytes at once is not
//! awaited.

use crate::host::Host;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::p2::bindings::io::streams::{Host as _, StreamError as Failure};
use wasmtime_wasi::p2::{DynOutputStream, StreamError};

/// Bytes that one call may carry, by the interface.
const MOST: usize = 4096;

pub(super) fn define(streams: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    streams.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, Host>, (this, contents): (Resource<DynOutputStream>, Vec<u8>)| {
            Box::new(async move {
                if contents.len() > MOST {
                    let found = contents.len();
                    wasmtime::bail!("blocking-write-and-flush takes at most {MOST} bytes, not {found}");
                }
                let table = store.data_mut().table();
                let stream = table.get_mut(&this)?;
                let written = match write_at_once(stream, contents) {
                    Ok(()) => Ok(()),
                    Err(Later::Failed(error)) => Err(error),
                    Err(Later::Waits(contents)) => stream.blocking_write_and_flush(contents).await,
                };
                let written: Result<(), Failure> = match written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(table.convert_stream_error(error)?),
                };
                Ok((written,))
            })
        },
    )
}

enum Later {
    /// Nothing was written: the stream must be awaited.
    Waits(Bytes),
    Failed(StreamError),
}

fn write_at_once(stream: &mut DynOutputStream, contents: Vec<u8>) -> Result<(), Later> {
    let contents = Bytes::from(contents);
    // One without room may not be written to, not even nothing.
    let room = stream.check_write().map_err(Later::Failed)?;
    if room == 0 || room < contents.len() {
        return Err(Later::Waits(contents));
    }
    stream.write(contents).map_err(Later::Failed)?;
    match stream.flush().and_then(|()| stream.check_write()) {
        // As the interface has it: who is gone after the write does not undo it.
        Ok(1..) | Err(StreamError::Closed) => Ok(()),
        Ok(0) => Err(Later::Waits(Bytes::new())),
        Err(error) => Err(Later::Failed(error)),
    }
}
