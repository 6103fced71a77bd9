//! What Wasmtime asks of a platform without std.

use core::sync::atomic::{AtomicPtr, Ordering};

/// Two slots of state: one processor has one thread.
static SLOTS: [AtomicPtr<u8>; 2] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 2];

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    SLOTS.get(slot).map_or(core::ptr::null_mut(), |slot| slot.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    if let Some(slot) = SLOTS.get(slot) {
        slot.store(value, Ordering::Relaxed);
    }
}
