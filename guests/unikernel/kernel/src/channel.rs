//! The one device that talks.
//!
//! A message that is [put in line](queue) goes with the next that is sent, in one packet: each packet wakes the monitor, and the host once more. That
//! is for what another message follows at once. It goes by itself when the guest waits for its host, or when enough is in line; nothing else would
//! send it, since no clock interrupts a function. So what must not wait for a function that computes is [sent](send). Whether a response
//! stands that was sent a moment before its function failed is the host's to decide, who sees both.

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

/// Bytes in line with which they go.
const FULL: usize = 64 << 10;

struct Channel {
    transport: Option<Box<dyn Transport>>,
    reader: frame::Reader,
    /// What is in line.
    line: Vec<u8>,
    /// What has just come. Here, since whoever looks for what comes would clear it each time.
    came: [u8; 4096],
}

static CHANNEL: Single<Channel> =
    Single::new(Channel { transport: None, reader: frame::Reader::new(), line: Vec::new(), came: [0; 4096] });

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

    /// Takes what came for the reader; whether there was anything.
    fn take(&mut self) -> bool {
        let Self { transport: Some(transport), reader, came, .. } = self else { crate::boot::halt() };
        let count = transport.receive(came);
        reader.push(&came[..count]);
        count > 0
    }

    fn flush(&mut self) {
        if !self.line.is_empty() {
            let mut line = core::mem::take(&mut self.line);
            self.transport().send(&line);
            line.clear();
            self.line = line;
        }
    }
}

/// Whether it is in use right now.
pub(crate) fn is_busy() -> bool {
    CHANNEL.is_borrowed()
}

/// Puts a message in line.
pub fn queue(message: &ToHost<'_>) {
    let mut channel = CHANNEL.get();
    frame::write(message, &mut channel.line);
    if channel.line.len() >= FULL {
        channel.flush();
    }
}

/// Sends a message, and before it what is in line.
pub fn send(message: &ToHost<'_>) {
    let mut channel = CHANNEL.get();
    frame::write(message, &mut channel.line);
    channel.flush();
}

/// Sends what is in line.
pub fn flush() {
    CHANNEL.get().flush();
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
        // Whoever has sent what is in line may have the answer.
        channel.flush();
        if !channel.take() {
            return None;
        }
    }
}

/// Ends the machine. What was sent before arrives.
pub fn end() -> ! {
    flush();
    loop {
        match CHANNEL.get().transport.as_mut() {
            Some(transport) => transport.wait(),
            None => crate::boot::halt(),
        }
    }
}
