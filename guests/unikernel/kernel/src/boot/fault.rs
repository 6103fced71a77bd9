//! Exceptions of the processor, on the VMMs whose machines can take one: ring 0 keeps the registers and hands over to [`report`].
//!
//! On the built-in VMM an exception stops the machine, and the VMM itself reads the registers.

use crate::channel;
use alloc::format;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use limes_channel::{Outcome, ToHost, Trap};

/// What ring 0 has kept: in the order of [`NAMES`], then the number of the exception, its error code, `rip`, `rsp` and `cr2`.
#[unsafe(export_name = "boot_registers")]
static REGISTERS: [AtomicU64; 20] = [const { AtomicU64::new(0) }; 20];

/// Whether there was an exception: the next one ends the machine without a word.
#[unsafe(export_name = "boot_faulted")]
static FAULTED: AtomicBool = AtomicBool::new(false);

/// Where the artifact is: an address in it says more as an offset.
static ARTIFACT: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

const NAMES: [&str; 15] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// The exceptions that a program can cause, by their numbers.
const EXCEPTIONS: [(u64, &str); 9] = [
    (0, "division by zero"),
    (3, "breakpoint"),
    (6, "invalid instruction"),
    (12, "stack fault"),
    (13, "general protection fault"),
    (14, "page fault"),
    (16, "floating-point exception"),
    (17, "misaligned access"),
    (19, "SIMD exception"),
];

pub(super) fn set_artifact(artifact: &Range<usize>) {
    ARTIFACT[0].store(artifact.start, Ordering::Relaxed);
    ARTIFACT[1].store(artifact.end, Ordering::Relaxed);
}

/// From here on an exception ends the machine.
pub(super) fn give_up() {
    FAULTED.store(true, Ordering::Relaxed);
}

/// Tells the host. Called in ring 3 by the assembly, on a stack of which nothing is needed any more.
pub(super) extern "C" fn report() -> ! {
    if channel::is_busy() {
        super::halt();
    }
    let message = format!("{}", Fault);
    channel::send(&ToHost::Done(Outcome::Trapped { trap: Trap::Fault, message: &message, backtrace: "" }));
    channel::end()
}

struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let register = |at: usize| REGISTERS[at].load(Ordering::Relaxed);
        let [number, error, rip, rsp, cr2] = [15, 16, 17, 18, 19].map(register);
        match EXCEPTIONS.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "exception {number}")?,
        }
        if number == 14 {
            write!(f, " at address {cr2:#x}")?;
        }
        let [start, end] = [0, 1].map(|at| ARTIFACT[at].load(Ordering::Relaxed) as u64);
        if (start..end).contains(&rip) {
            write!(f, " in the function's code, {:#x} into its artifact", rip - start)?;
        }
        write!(f, "; error code {error:#x}, rip {rip:#x}, rsp {rsp:#x}")?;
        for (at, name) in NAMES.iter().enumerate() {
            write!(f, ", {name} {:#x}", register(at))?;
        }
        Ok(())
    }
}
