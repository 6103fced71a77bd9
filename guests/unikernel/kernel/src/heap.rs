//! Memory for the kernel and the engine: small pieces from a heap, large ones from the arena.

use crate::arena;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use talc::{ErrOnOom, Span, Talc};

/// Bytes of the heap.
pub(crate) const SIZE: usize = 16 << 20;

/// From this many bytes on, memory comes from the arena: it is zero there already, and large pieces do not break up the heap.
const LARGE: usize = 128 << 10;

#[global_allocator]
static HEAP: Heap = Heap(crate::single::Single::new(Talc::new(ErrOnOom)));

struct Heap(crate::single::Single<Talc<ErrOnOom>>);

/// Gives the heap its memory. Called once, before anything is allocated.
///
/// # Safety
/// The `SIZE` bytes from `start` on are mapped, writable and nobody else's.
pub(crate) unsafe fn set_up(start: usize) {
    // SAFETY: the caller's promise.
    let claimed = unsafe { HEAP.0.get().claim(Span::from_base_size(start as *mut u8, SIZE)) };
    assert!(claimed.is_ok(), "the heap is too small for its own bookkeeping");
}

// SAFETY: both parts hand out each byte once; a layout goes back to the part that its size sent it to.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            return arena::allocate(layout.size());
        }
        // SAFETY: the size of a layout that reaches an allocator is not zero.
        unsafe { self.0.get().malloc(layout) }.map_or(ptr::null_mut(), |memory| memory.as_ptr())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { self.alloc(layout) };
        if layout.size() < LARGE && !memory.is_null() {
            // SAFETY: it was just allocated with this size.
            unsafe { ptr::write_bytes(memory, 0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            return arena::free(memory as usize);
        }
        let Some(memory) = ptr::NonNull::new(memory) else { return };
        // SAFETY: the caller's promise: it came from here, with this layout.
        unsafe { self.0.get().free(memory, layout) }
    }
}
