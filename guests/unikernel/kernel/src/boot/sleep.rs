//! Sleeping until a device has something to say.
//!
//! Interrupts are off but for that time, so one that comes before it waits until then: whoever has looked at its device with nothing found, since the
//! device was told that its last interrupt was heard, misses nothing.

use super::machine;
use crate::single::Single;
use core::arch::x86_64::__cpuid;
use core::ops::Range;

/// Times that a device is looked at before the machine sleeps: some hundred microseconds, in which most answers come.
const LOOKS: u32 = 500;

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
    can_sleep: bool,
}

impl Sleeper {
    pub fn new() -> Self {
        Self { looks: 0, can_sleep: !machine::is_qemu() || is_emulated() }
    }

    /// There was something: what comes next is looked for anew.
    pub fn wake(&mut self) {
        self.looks = 0;
    }

    /// Whether the device has been looked at for so long that it is better to [`sleep`].
    pub fn is_tired(&mut self) -> bool {
        core::hint::spin_loop();
        self.looks = self.looks.saturating_add(1);
        self.can_sleep && self.looks > LOOKS
    }
}

/// Sleeps until a device interrupts.
pub(super) fn sleep() {
    if !core::mem::replace(&mut *IS_SET_UP.get(), true) {
        set_up();
    }
    // SAFETY: ring 0 changes nothing that this program sees.
    unsafe { boot_sleep() }
}

/// Whether QEMU runs the processor by software. With KVM its devices were seen not to wake a processor that sleeps.
fn is_emulated() -> bool {
    /// Where monitors name themselves, and the name there, in the order of the registers.
    const LEAF: u32 = 0x4000_0000;
    const NAME: [u32; 3] = [0x5447_4354, 0x4354_4743, 0x4743_5447];
    let said = __cpuid(LEAF);
    [said.ebx, said.ecx, said.edx] == NAME
}

/// Leads the devices' lines to this processor.
fn set_up() {
    /// Offsets of registers: the pin of the old controller, which nobody has set up; the switch, with the vector of what was no interrupt after all.
    const OLD: (usize, u32) = (0x350, 1 << 16);
    const SWITCH: (usize, u32) = (0xf0, 1 << 8 | 0x2f);
    let write = |address: usize, value: u32| {
        // SAFETY: a register of a controller, which nobody else uses.
        unsafe { (address as *mut u32).write_volatile(value) };
    };
    for (register, value) in [OLD, SWITCH] {
        write(LOCAL + register, value);
    }
    for line in LINES {
        // A register is chosen, then written: where it leads, then what it does. Each edge is an interrupt.
        for (register, value) in [(0x11 + line * 2, 0), (0x10 + line * 2, VECTOR)] {
            write(DEVICES, register);
            write(DEVICES + 0x10, value);
        }
    }
}
