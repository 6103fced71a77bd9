//! Memory for the kernel and the engine: small pieces from a heap, large ones from the arena.

use crate::arena;
use crate::single::Single;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use talc::{OomHandler, Span, Talc};

/// Bytes of the heap.
pub(crate) const SIZE: usize = 16 << 20;

/// From this many bytes on, memory comes from the arena: it is zero there already, and large pieces do not break up the heap.
const LARGE: usize = 128 << 10;

/// Bytes that the heap takes from the arena each time it is full.
const GROWTH: usize = 4 << 20;

#[global_allocator]
static HEAP: Heap = Heap(Single::new(Talc::new(Grow)));

/// What is told of memory that there is not.
static EXHAUSTED: Single<Option<fn(usize) -> !>> = Single::new(None);

struct Heap(Single<Talc<Grow>>);

/// Lets the heap have some of the arena when it is full.
struct Grow;

impl OomHandler for Grow {
    fn handle_oom(talc: &mut Talc<Self>, _: Layout) -> Result<(), ()> {
        let memory = arena::allocate(GROWTH);
        if memory.is_null() {
            return Err(());
        }
        // SAFETY: the arena has just given these bytes, and they are never given back.
        unsafe { talc.claim(Span::from_base_size(memory, GROWTH)) }.map(drop)
    }
}

/// Ends the machine by `report`, with the bytes that were asked for, where an allocation would fail otherwise.
pub fn on_exhaustion(report: fn(usize) -> !) {
    *EXHAUSTED.get() = Some(report);
}

/// `memory`, unless there is none and somebody wants to know.
fn found(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        // Taken: what reports it may need memory itself, and then gets what is left, or nothing.
        let report = EXHAUSTED.get().take();
        if let Some(report) = report {
            report(size);
        }
    }
    memory
}

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
            return found(arena::allocate(layout.size()), layout.size());
        }
        // SAFETY: the size of a layout that reaches an allocator is not zero.
        let memory = unsafe { self.0.get().malloc(layout) };
        found(memory.map_or(ptr::null_mut(), |memory| memory.as_ptr()), layout.size())
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
