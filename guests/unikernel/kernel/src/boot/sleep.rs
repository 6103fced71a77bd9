//! Sleeping until a device has something to say.
//!
//! Interrupts are off but for that time, so one that comes before it waits until then: whoever has looked at its device with nothing found, since the
//! device was told that its last interrupt was heard, misses nothing.
//!
//! An interrupt can be lost all the same: one that is on its way while a snapshot is taken may be neither in the processor's state nor delivered after,
//! and takes the next one with it, since the controller believes it pending. So no sleep is for ever. The first ones are short, and each that ends
//! with nothing to do doubles the next.

use super::machine;
use crate::single::Single;
use core::arch::x86_64::__cpuid;
use core::ops::Range;

/// Times that a device is looked at before the machine sleeps: some hundred microseconds, in which most answers come.
const LOOKS: u32 = 500;

/// The shortest and the longest sleep, in ticks of the processor's own timer: nanoseconds, on every monitor there is. And the longest where no
/// device ends it: a sleep costs a hundred microseconds of computing, and an answer waits until it is over.
const NAP: u32 = 1_000_000;
const NIGHT: u32 = 1_000_000_000;
const DOZE: u32 = 10_000_000;

/// The processor's own interrupt controller, and the devices'.
const LOCAL: usize = 0xfee0_0000;
const DEVICES: usize = 0xfec0_0000;

/// The interrupt that all devices have here, for which ring 0 is ready (see `entry`).
const VECTOR: u32 = 32;

/// The lines on which virtio devices are, wherever the VMM puts them.
const LINES: Range<u32> = 5..24;

unsafe extern "C" {
    /// Has ring 0 wait for an interrupt.
    fn boot_sleep();
}

static IS_SET_UP: Single<bool> = Single::new(false);

/// What waits for a device.
pub(super) struct Sleeper {
    looks: u32,
    /// How long the next sleep is at most, and how long any is.
    ticks: u32,
    longest: u32,
}

impl Sleeper {
    pub fn new() -> Self {
        // On QEMU with KVM, devices were seen not to wake a processor that sleeps.
        let is_woken = !machine::is_qemu() || is_emulated();
        Self { looks: 0, ticks: NAP, longest: if is_woken { NIGHT } else { DOZE } }
    }

    /// There was something: what comes next is looked for anew.
    pub fn wake(&mut self) {
        (self.looks, self.ticks) = (0, NAP);
    }

    /// Whether the device has been looked at for so long that it is better to [`sleep`].
    pub fn is_tired(&mut self) -> bool {
        core::hint::spin_loop();
        self.looks = self.looks.saturating_add(1);
        self.looks > LOOKS
    }

    /// Sleeps until a device interrupts, or it is time to look without that.
    pub fn sleep(&mut self) {
        if !core::mem::replace(&mut *IS_SET_UP.get(), true) {
            set_up();
        }
        set(LOCAL + TIMER_COUNT, self.ticks);
        self.ticks = self.ticks.saturating_mul(2).min(self.longest);
        // SAFETY: ring 0 changes nothing that this program sees.
        unsafe { boot_sleep() }
    }
}

/// Whether QEMU runs the processor by software.
fn is_emulated() -> bool {
    /// Where monitors name themselves, and the name there, in the order of the registers.
    const LEAF: u32 = 0x4000_0000;
    const NAME: [u32; 3] = [0x5447_4354, 0x4354_4743, 0x4743_5447];
    let said = __cpuid(LEAF);
    [said.ebx, said.ecx, said.edx] == NAME
}

/// The register that starts the timer.
const TIMER_COUNT: usize = 0x380;

fn set(address: usize, value: u32) {
    // SAFETY: a register of a controller, which nobody else uses.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// Leads the devices' lines, and the timer, to this processor.
fn set_up() {
    /// Offsets of registers: the pin of the old controller, which nobody has set up; the switch, with the vector of what was no interrupt after all; the
    /// timer's interrupt, once each time that it is started; and its ticks, undivided.
    const OLD: (usize, u32) = (0x350, 1 << 16);
    const SWITCH: (usize, u32) = (0xf0, 1 << 8 | 0x2f);
    const TIMER: (usize, u32) = (0x320, VECTOR);
    const DIVISOR: (usize, u32) = (0x3e0, 0b1011);
    for (register, value) in [OLD, SWITCH, TIMER, DIVISOR] {
        set(LOCAL + register, value);
    }
    for line in LINES {
        // A register is chosen, then written: where it leads, then what it does. Each edge is an interrupt.
        for (register, value) in [(0x11 + line * 2, 0), (0x10 + line * 2, VECTOR)] {
            set(DEVICES, register);
            set(DEVICES + 0x10, value);
        }
    }
}
