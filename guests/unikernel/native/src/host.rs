//! What is asked of the host, and how much of its answer a function may send.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use kernel::channel;
use limes_channel::{Answer, Ask, MAX_CHUNK, StreamFailure, ToGuest, ToHost, WINDOW};

/// Bytes of answer that may still be sent.
pub(crate) struct Window(u64);

impl Window {
    pub fn new() -> Self {
        Self(WINDOW)
    }

    /// The host has passed on `bytes`.
    pub fn open(&mut self, bytes: u64) {
        self.0 = self.0.saturating_add(bytes).min(WINDOW);
    }

    /// Puts bytes of the answer in line; waits where the host has not passed on enough of them.
    pub fn queue(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_CHUNK) {
            let length = piece.len() as u64;
            while self.0 < length {
                let credit = channel::receive(|message| match message {
                    ToGuest::Credit(bytes) => bytes,
                    other => panic!("credit was due, and {other:?} came"),
                });
                self.open(credit);
            }
            self.0 -= length;
            channel::queue(&ToHost::Chunk(piece));
        }
    }
}

/// Appends all that a host's stream gives.
///
/// # Errors
/// It fails before its end.
pub(crate) fn read_all(stream: u32, into: &mut Vec<u8>, window: &mut Window) -> Result<(), String> {
    loop {
        channel::send(&ToHost::Ask(Ask::Read { stream, max: MAX_CHUNK as u32, block: true }));
        let read = loop {
            let read = channel::receive(|message| match message {
                ToGuest::Reply(Answer::Bytes(bytes)) => {
                    into.extend_from_slice(bytes);
                    Some(Ok(true))
                }
                ToGuest::Reply(Answer::Stream(StreamFailure::Closed)) => Some(Ok(false)),
                ToGuest::Reply(other) => Some(Err(format!("the argument cannot be read: {other:?}"))),
                ToGuest::Credit(bytes) => {
                    window.open(bytes);
                    None
                }
                other => panic!("an answer was due, and {other:?} came"),
            });
            if let Some(read) = read {
                break read;
            }
        };
        if !read? {
            return Ok(());
        }
    }
}
