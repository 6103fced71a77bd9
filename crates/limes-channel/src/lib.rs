//! The messages between a microVM's guest and its host: what is said, and how it is laid on a stream of bytes.
//!
//! A VM has one device that talks, and this is its language. [`ToGuest`] and [`ToHost`] are the messages, [`Ask`] what a
//! guest asks of its host while it runs, [`frame`] their form on any ordered stream (vsock, virtio console), and
//! [`ring`] such a stream in shared memory.
//!
//! Neither side trusts the other. Every frame is bounded by [`MAX_FRAME`], every length is checked before memory is taken for
//! it, and a message that does not decode ends the VM; `tests/hostile.rs` throws noise at all of it.
//!
//! # A VM's life
//! 1. The host sends [`ToGuest::Load`]. The guest instantiates the component and answers [`ToHost::Ready`], or [`ToHost::Done`] with
//!    what it failed with. A VM that waits after `Ready` may be snapshotted, unless it asked its host for something before.
//! 2. The host sends [`ToGuest::Call`]. The guest runs the function: it may [write](ToHost::Output), [ask](ToHost::Ask) (one question
//!    at a time, each answered by [`ToGuest::Reply`]), send a [response head](ToHost::Head) and [bytes](ToHost::Chunk).
//! 3. It ends with [`ToHost::Done`], and waits again. The host resets the VM to its snapshot, throws it away, or calls once more.
//!
//! Random seed, wall clock and identity are part of each `Call`: two clones of one snapshot have nothing of these in common.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

mod ask;
pub mod frame;
pub mod machine;
mod message;
pub mod ring;

pub use ask::{Answer, Ask, FORWARDED, Failure, Head, Outbound, POLL_WINDOW, StreamFailure, forwarded};
pub use message::{Contract, Decode, Input, Limits, Outcome, Output, ToGuest, ToHost, Trap, Undecodable};

/// Which form of the messages this is. Both sides name theirs first, and a VM whose side differs is not used.
pub const VERSION: u16 = 2;

/// Largest frame in bytes, its length prefix not counted.
pub const MAX_FRAME: usize = 1 << 20;

/// Largest piece of a body, an output or a file that one message carries, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// Bytes of answer a guest may send before the host has given [`ToGuest::Credit`].
pub const WINDOW: u64 = 256 << 10;
