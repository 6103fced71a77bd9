//! The one device that talks.

use crate::single::Single;
use alloc::boxed::Box;
use alloc::vec::Vec;
use limes_channel::{Decode, ToGuest, ToHost, frame};

/// A stream of bytes each way.
pub trait Transport {
    /// Sends all of `bytes`; waits where there is no room.
    fn send(&mut self, bytes: &[u8]);

    /// Takes bytes that came; 0 when there are none.
    fn receive(&mut self, into: &mut [u8]) -> usize;

    /// Sleeps until something came.
    fn wait(&mut self);
}

struct Channel {
    transport: Option<Box<dyn Transport>>,
    reader: frame::Reader,
    scratch: Vec<u8>,
}

static CHANNEL: Single<Channel> =
    Single::new(Channel { transport: None, reader: frame::Reader::new(), scratch: Vec::new() });

/// Says what the messages go over.
pub(crate) fn set_up(transport: Box<dyn Transport>) {
    CHANNEL.get().transport = Some(transport);
}

impl Channel {
    fn transport(&mut self) -> &mut dyn Transport {
        match &mut self.transport {
            Some(transport) => &mut **transport,
            None => crate::boot::halt(),
        }
    }
}

/// Whether it is in use right now.
pub(crate) fn is_busy() -> bool {
    CHANNEL.is_borrowed()
}

/// Sends a message.
pub fn send(message: &ToHost<'_>) {
    let mut channel = CHANNEL.get();
    let mut bytes = core::mem::take(&mut channel.scratch);
    bytes.clear();
    frame::write(message, &mut bytes);
    channel.transport().send(&bytes);
    channel.scratch = bytes;
}

/// Sends bytes that are no message, to a host that speaks another protocol.
pub fn send_bytes(bytes: &[u8]) {
    CHANNEL.get().transport().send(bytes);
}

/// Waits for bytes that are no message; how many came.
pub fn receive_bytes(into: &mut [u8]) -> usize {
    loop {
        let mut channel = CHANNEL.get();
        match channel.transport().receive(into) {
            0 => channel.transport().wait(),
            count => return count,
        }
    }
}

/// Waits for the next message and hands it to `take`.
///
/// A host that says what is no message has lost its mind, and the machine ends.
pub fn receive<T>(take: impl FnOnce(ToGuest<'_>) -> T) -> T {
    loop {
        if let Some(payload) = next() {
            return decoded(&payload, take);
        }
        CHANNEL.get().transport().wait();
    }
}

/// The next message, if it is here.
pub fn try_receive<T>(take: impl FnOnce(ToGuest<'_>) -> T) -> Option<T> {
    next().map(|payload| decoded(&payload, take))
}

fn decoded<T>(payload: &[u8], take: impl FnOnce(ToGuest<'_>) -> T) -> T {
    match ToGuest::decode(payload) {
        Ok(message) => take(message),
        Err(error) => panic!("from the host: {error}"),
    }
}

/// The payload of the next frame. It is a copy, since whoever takes it may use the channel.
fn next() -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    let mut channel = CHANNEL.get();
    loop {
        match channel.reader.next_frame() {
            Ok(Some(payload)) => return Some(payload.to_vec()),
            Ok(None) => {}
            Err(error) => {
                drop(channel);
                panic!("from the host: {error}");
            }
        }
        let count = channel.transport().receive(&mut buffer);
        if count == 0 {
            return None;
        }
        channel.reader.push(&buffer[..count]);
    }
}

/// Ends the machine. What was sent before arrives.
pub fn end() -> ! {
    loop {
        match CHANNEL.get().transport.as_mut() {
            Some(transport) => transport.wait(),
            None => crate::boot::halt(),
        }
    }
}
