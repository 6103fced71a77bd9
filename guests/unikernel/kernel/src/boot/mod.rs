//! The ways in.

#[cfg(feature = "card")]
pub mod card;
mod console;
mod device;
#[cfg(feature = "drive")]
pub mod drive;
mod entry;
mod fault;
mod inbox;
mod machine;
mod sleep;
mod tables;
mod virtio;
mod vmm;
mod vsock;

use crate::{Machine, arena, channel, heap};
use alloc::boxed::Box;
use core::ops::Range;

unsafe extern "Rust" {
    /// The program that was linked in.
    safe fn limes_main(machine: Machine) -> !;
}

unsafe extern "C" {
    /// Where the linker script says that memory is free from; its address is what it says.
    static heap_start: u8;
}

/// Sets up what every program needs, and runs the program.
///
/// # Safety
/// Memory is mapped and zero from `heap_start` to `end`, and at `artifact`, which lies below `end` and is never written.
unsafe fn run(
    end: usize,
    artifact: Range<usize>,
    arguments: &'static str,
    transport: fn() -> Box<dyn channel::Transport>,
) -> ! {
    let heap = (&raw const heap_start) as usize;
    // SAFETY: the caller's promise; the heap, the arena and the artifact do not overlap.
    let artifact = unsafe {
        heap::set_up(heap);
        arena::set_up(heap + heap::SIZE..artifact.start.min(end));
        core::slice::from_raw_parts(artifact.start as *const u8, artifact.len())
    };
    channel::set_up(transport());
    limes_main(Machine { artifact, arguments })
}

/// Stops the machine: nothing else is left to do.
pub fn halt() -> ! {
    fault::give_up();
    // SAFETY: an instruction that never is one: without anybody to take the fault the machine shuts down.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
