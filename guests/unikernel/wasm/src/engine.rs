//! The engine: settings that fit the host's compiler, linear memories from the arena, code where it lies.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use kernel::arena;
use wasmtime::{Config, CustomCodeMemory, Engine, LinearMemory, MemoryCreator, MemoryType, bail};

/// As much as a 32-bit memory can be. A memory that does not move becomes as long as there is room for it where it is.
const WHOLE: u64 = 4 << 30;

/// An engine whose guests have `stack` bytes.
pub(crate) fn new(stack: usize, memories_move: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .signals_based_traps(false)
        .memory_reservation(if memories_move { 0 } else { WHOLE })
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        .max_wasm_stack(stack)
        // Of stacks that are never made here; the engine checks it all the same.
        .async_stack_size(stack + (512 << 10))
        .with_host_memory(Arc::new(Arena))
        .with_custom_code_memory(Some(Arc::new(InPlace)));
    // SAFETY: the host compiles for the processor that it starts the machine on.
    unsafe { config.detect_host_feature(|_| Some(true)) };
    Engine::new(&config)
}

/// Code is executable where the host has put it.
struct InPlace;

impl CustomCodeMemory for InPlace {
    fn required_alignment(&self) -> usize {
        1
    }

    fn publish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

struct Arena;

// SAFETY: the arena's memory is zero, and nobody else's until the region is dropped.
unsafe impl MemoryCreator for Arena {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        _: Option<usize>,
        _: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let start = arena::allocate(minimum);
        if start.is_null() {
            return Err("the machine has no memory for it".to_string());
        }
        Ok(Box::new(Region { start: start as usize, size: minimum }))
    }
}

struct Region {
    start: usize,
    size: usize,
}

// SAFETY: the region is this memory's alone; growing keeps or copies its bytes, and adds zeroes.
unsafe impl LinearMemory for Region {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        arena::room(self.start)
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        let Some(start) = arena::grow(self.start, size) else { bail!("the machine has no memory for it") };
        (self.start, self.size) = (start, size);
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.start as *mut u8
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        arena::free(self.start);
    }
}
