//! The microVM sandbox: a component in a virtual machine of its own, one for every call.
//!
//! [`MicroVmSandbox`] compiles a component for the unikernel, or takes a native function, and readies machines that run it (`program`). A
//! call's way:
//!
//! - `function`: the input is matched with the contract; `pool`: a machine is taken, or made as the function's mode says, within the `budget`;
//! - `driver`: one module a monitor, built-in, Firecracker and QEMU; `channel`: frames to and from the guest, whatever carries them;
//! - `conversation`: what both sides say until the guest is done; `services`: what the host does for it, under the grants of `watch`;
//! - `image`: the same for images of one's own, which speak a protocol of theirs;
//! - `answer`: the bytes on their way out; `timer`: the wall clock and the processor time; `outcome`: how it ended.
#![deny(missing_docs)]

mod answer;
mod budget;
mod channel;
mod conversation;
mod driver;
mod function;
mod image;
mod input;
mod known;
mod outcome;
mod pool;
mod program;
mod sandbox;
mod services;
#[cfg(test)]
mod tests;
mod timer;
mod watch;

pub use program::inspect;
pub use sandbox::{MicroVmSandbox, Probed, Settings};
