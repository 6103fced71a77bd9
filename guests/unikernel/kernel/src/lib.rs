//! What the unikernel is without a function: boot, memory, channel, clock, random numbers.
//!
//! One address space, one processor, no interrupts: the function runs in ring 3 from its first instruction to its last, and ring 0 is the
//! few instructions that get there. A program built on this crate defines `limes_main`, which is called once all of it works.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

pub mod arena;
mod boot;
pub mod channel;
pub mod clock;
pub mod heap;
mod memory;
mod panic;
mod port;
pub mod random;
pub mod single;

#[cfg(feature = "card")]
pub use boot::card::Card;
#[cfg(feature = "drive")]
pub use boot::drive::Drive;

pub use boot::halt;

/// What the machine came with.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The artifact that the host placed in memory; it is never written.
    pub artifact: &'static [u8],
    /// What the kernel was booted with; empty under the built-in VMM.
    pub arguments: &'static str,
}
