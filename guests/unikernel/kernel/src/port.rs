//! I/O ports, as far as the machine permits them to ring 3.

use core::arch::asm;

/// Writes a byte to a port.
pub(crate) fn write(port: u16, byte: u8) {
    // SAFETY: it leaves to the VMM, which does not change the guest's memory but as the channel says.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nostack, preserves_flags)) }
}
