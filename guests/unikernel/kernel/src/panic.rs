//! The end of a machine that cannot go on.

use crate::channel;
use alloc::format;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use limes_channel::{Outcome, ToHost, Trap};

static PANICKED: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic in what follows, or with the channel in use, leaves nothing to say it with.
    if PANICKED.swap(true, Ordering::Relaxed) || channel::is_busy() {
        crate::boot::halt();
    }
    let message = format!("{info}");
    channel::send(&ToHost::Done(Outcome::Trapped { trap: Trap::Panic, message: &message, backtrace: "" }));
    channel::end()
}

/// Named by the landing pads of the precompiled `alloc`; panics abort, so none is ever entered.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::boot::halt()
}
