//! Questions to the host, and the bytes of answer that it lets the guest send.

use alloc::format;
use alloc::vec::Vec;
use kernel::channel;
use kernel::single::Single;
use limes_channel::{Answer, Ask, MAX_CHUNK, StreamFailure, ToGuest, ToHost, WINDOW};
use wasmtime::{bail, format_err};

/// Bytes of answer that may still be sent.
static WINDOW_LEFT: Single<u64> = Single::new(WINDOW);

/// Asks, waits for the answer, and hands it to `take`.
///
/// # Errors
/// What `take` returns, or the host's word that the guest must not go on.
pub(crate) fn ask<T>(
    question: Ask<'_>,
    take: impl FnOnce(Answer<'_>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    channel::send(&ToHost::Ask(question));
    let mut take = Some(take);
    loop {
        let answered = channel::receive(|message| match (message, take.take()) {
            (ToGuest::Reply(Answer::Trap(text)), _) => Some(Err(format_err!("{text}"))),
            (ToGuest::Reply(answer), Some(take)) => Some(take(answer)),
            (ToGuest::Credit(bytes), rest) => {
                credit(bytes);
                take = rest;
                None
            }
            (other, _) => panic!("an answer was due, and {other:?} came"),
        });
        if let Some(answered) = answered {
            return answered;
        }
    }
}

/// An answer that does not fit its question.
fn unfit<T>(answer: &Answer<'_>) -> wasmtime::Result<T> {
    bail!("the host's answer does not fit the question: {answer:?}")
}

/// What an operation on a host's stream comes to.
pub(crate) type Streamed<T> = wasmtime::Result<Result<T, StreamFailure>>;

/// Reads from a host's stream.
pub(crate) fn read(stream: u32, max: u64, block: bool) -> Streamed<Vec<u8>> {
    let max = u32::try_from(max.min(MAX_CHUNK as u64)).unwrap_or(u32::MAX);
    ask(Ask::Read { stream, max, block }, |answer| match answer {
        Answer::Bytes(bytes) => Ok(Ok(bytes.to_vec())),
        Answer::Stream(failure) => Ok(Err(failure)),
        other => unfit(&other),
    })
}

/// How much a host's stream takes.
pub(crate) fn check_write(stream: u32) -> Streamed<u64> {
    ask(Ask::CheckWrite(stream), |answer| match answer {
        Answer::Count(bytes) => Ok(Ok(bytes.min(MAX_CHUNK as u64))),
        Answer::Stream(failure) => Ok(Err(failure)),
        other => unfit(&other),
    })
}

fn unit(question: Ask<'_>) -> Streamed<()> {
    ask(question, |answer| match answer {
        Answer::Unit => Ok(Ok(())),
        Answer::Stream(failure) => Ok(Err(failure)),
        other => unfit(&other),
    })
}

/// Writes to a host's stream what it said it takes.
pub(crate) fn write(stream: u32, bytes: &[u8]) -> Streamed<()> {
    unit(Ask::Write { stream, bytes })
}

/// Flushes a host's stream.
pub(crate) fn flush(stream: u32, block: bool) -> Streamed<()> {
    unit(Ask::Flush { stream, block })
}

/// Completes the body of a request that was sent.
pub(crate) fn finish_body(body: u32, trailers: Vec<(&str, &[u8])>) -> Streamed<()> {
    unit(Ask::FinishBody { body, trailers })
}

/// Gives a handle back.
pub(crate) fn drop_handle(handle: u32) -> wasmtime::Result<()> {
    // A stream's failure is nothing to one that is given up.
    unit(Ask::Drop(handle)).map(drop)
}

/// A pollable of the host's.
pub(crate) fn subscribe(handle: u32) -> wasmtime::Result<u32> {
    ask(Ask::Subscribe(handle), |answer| match answer {
        Answer::Handle(pollable) => Ok(pollable),
        other => unfit(&other),
    })
}

/// Waits for the host's pollables; indexes of those that are ready.
pub(crate) fn poll(pollables: Vec<u32>, timeout: Option<u64>) -> wasmtime::Result<Vec<u32>> {
    ask(Ask::Poll { pollables, timeout }, |answer| match answer {
        Answer::Ready(ready) => Ok(ready),
        other => unfit(&other),
    })
}

/// The text of a host's error.
pub(crate) fn error_text(error: u32) -> wasmtime::Result<alloc::string::String> {
    ask(Ask::ErrorText(error), |answer| match answer {
        Answer::Bytes(bytes) => Ok(alloc::string::String::from_utf8_lossy(bytes).into_owned()),
        other => unfit(&other),
    })
}

/// Calls a function of WASI that the host answers; its values, encoded.
pub(crate) fn forward(function: u16, arguments: &[u8]) -> wasmtime::Result<Vec<u8>> {
    ask(Ask::Forward { function, arguments }, |answer| match answer {
        Answer::Values(values) => Ok(values.to_vec()),
        other => unfit(&other),
    })
}

fn credit(bytes: u64) {
    let mut left = WINDOW_LEFT.get();
    *left = left.saturating_add(bytes).min(WINDOW);
}

/// A call begins: the window is open.
pub(crate) fn open_window() {
    *WINDOW_LEFT.get() = WINDOW;
}

/// Bytes of answer that can be sent without waiting.
pub(crate) fn window() -> u64 {
    while *WINDOW_LEFT.get() == 0 {
        let seen = channel::try_receive(|message| match message {
            ToGuest::Credit(bytes) => credit(bytes),
            other => panic!("nothing but credit was due, and {other:?} came"),
        });
        if seen.is_none() {
            break;
        }
    }
    *WINDOW_LEFT.get()
}

/// Sends bytes of answer, waiting for the host to take them.
pub(crate) fn send_chunk(bytes: &[u8]) {
    queue_chunk(bytes);
    channel::flush();
}

/// The same, with the last of them put in line.
pub(crate) fn queue_chunk(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let left = *WINDOW_LEFT.get();
        if left == 0 {
            channel::receive(|message| match message {
                ToGuest::Credit(bytes) => credit(bytes),
                other => panic!("nothing but credit was due, and {other:?} came"),
            });
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(MAX_CHUNK).min(left as usize));
        channel::queue(&ToHost::Chunk(now));
        *WINDOW_LEFT.get() -= now.len() as u64;
        bytes = later;
    }
}

/// The text of a failure whose error is the host's.
pub(crate) fn failure_text(failure: StreamFailure) -> alloc::string::String {
    match failure {
        StreamFailure::Closed => "the stream is closed".into(),
        StreamFailure::Failed(error) => error_text(error).unwrap_or_else(|error| format!("{error}")),
    }
}
