//! What a worker and its owner say on their socket: one packet a message.

use crate::image::Layout;
use crate::image::Registers;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Largest packet in bytes. A layout of many extents is the largest message.
const PACKET: usize = 64 << 10;

/// From the owner to the worker.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way through the socket")]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Make room for so many bytes of memory, and map the rings, whose descriptor comes with it. Before a load.
    Prepare(u64),
    /// Map the memory and set the registers. Comes with a descriptor: the image.
    Load(Layout),
    /// Run until the guest waits.
    Resume,
    /// Put memory and registers back to what was loaded, and clear the rings.
    Reset,
    /// Write memory and registers down.
    Snapshot,
}

/// What a worker has to report.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way through the socket")]
#[derive(Debug)]
pub enum Event {
    /// The image is in place.
    Loaded,
    /// The guest has said what it had to say and waits. [Resume](crate::Worker::resume) it when there is something for it.
    Waiting,
    /// The machine is as it was loaded.
    Reset,
    /// The snapshot that was asked for.
    Snapshot(crate::Image),
    /// The guest did what a guest cannot do; the machine does not go on.
    Stopped(Fault),
    /// The VMM cannot do what it was told; it ends.
    Failed(String),
}

/// Where the processor was when a machine stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Why KVM stopped running it.
    pub exit: String,
    /// Instruction, stack and frame pointer; 0 when they cannot be read.
    pub rip: u64,
    /// The stack pointer.
    pub rsp: u64,
    /// The frame pointer.
    pub rbp: u64,
    /// The address of the last page fault.
    pub cr2: u64,
}

/// From the worker to the owner.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way through the socket")]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Loaded,
    Waiting,
    Reset,
    /// Comes with a descriptor: the memory.
    Snapshot {
        extents: Vec<Range<u64>>,
        registers: Registers,
    },
    Stopped(Fault),
    Failed(String),
}

/// Sends one message, with descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
    if bytes.len() > PACKET {
        return Err(io::Error::other("a message that is larger than a packet"));
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("more descriptors than a packet takes"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message with its descriptors; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    thread_local! {
        /// Nearly all messages are a byte long; clearing room for the longest each time costs more than they do.
        static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; PACKET]);
    }
    ROOM.with_borrow_mut(|bytes| {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
        if got.bytes == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        let message = postcard::from_bytes(&bytes[..got.bytes]).map_err(io::Error::other)?;
        Ok(Some((message, descriptors)))
    })
}
