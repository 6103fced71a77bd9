//! The built-in VMM: one small jailed process a VM, and the library that starts and drives it.
//!
//! A [`Worker`] is such a process, started ahead: it has opened KVM, made a machine with room for its memory, locked itself in, and waits on its socket. An
//! [`Image`] is what a machine starts from: memory in a memfd, and registers. [`Image::build`] makes the one that boots; a worker whose guest waits gives a
//! [snapshot](Worker::snapshot), which is an image as well. Memory is mapped privately, so one image serves any number of machines, and a page costs
//! something only once a machine writes it.
//!
//! A guest and its host talk through rings in shared memory ([`limes_channel::ring`]); the socket carries nothing but «the guest waits» and
//! «go on». Everything here is for x86-64 Linux.
#![deny(missing_docs)]

mod control;
mod image;
pub mod launch;
mod pages;
#[doc(hidden)]
pub mod process;
mod worker;

pub use control::{Event, Fault};
pub use image::{Image, Registers};
pub use worker::Worker;
