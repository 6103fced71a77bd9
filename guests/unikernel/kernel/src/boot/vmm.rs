//! The way in of the built-in VMM: the processor is in ring 3, paging is on, and nothing is left to do but find a stack.

use crate::channel::Transport;
use crate::port;
use alloc::boxed::Box;
use core::arch::global_asm;
use limes_channel::machine::{NOTE_TYPE, RING, WAIT_PORT};
use limes_channel::ring::{Direction, End};

global_asm!(
    ".pushsection .boot, \"ax\"",
    ".global vmm_start",
    "vmm_start:",
    "lea rsp, [rip + stack_top]",
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    ".popsection",
    ".pushsection .note.limes, \"a\", @note",
    ".balign 4",
    ".long 6, 8, {note}",
    ".asciz \"Limes\"",
    ".balign 4",
    ".quad vmm_start",
    ".popsection",
    start = sym start,
    note = const NOTE_TYPE,
);

extern "C" fn start(end: usize, artifact: usize, length: usize) -> ! {
    // SAFETY: the VMM laid memory out as `limes_channel::machine` says.
    unsafe { super::run(end, artifact..artifact + length, "", || Box::new(Ring::new())) }
}

struct Ring {
    incoming: End,
    outgoing: End,
}

impl Ring {
    fn new() -> Self {
        let base = RING as usize as *const u8;
        // SAFETY: the VMM has mapped the rings there, for as long as the machine is.
        unsafe {
            Self { incoming: End::new(base, Direction::ToGuest), outgoing: End::new(base, Direction::ToHost) }
        }
    }
}

impl Transport for Ring {
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.outgoing.write(bytes) {
                Ok(0) => self.wait(),
                Ok(count) => bytes = &bytes[count..],
                Err(_) => super::halt(),
            }
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> usize {
        match self.incoming.read(into) {
            Ok(count) => count,
            Err(_) => super::halt(),
        }
    }

    fn wait(&mut self) {
        port::write(WAIT_PORT, 0);
        // This memory may be a snapshot's by now, and the rings new.
        self.incoming.resume();
        self.outgoing.resume();
    }
}
