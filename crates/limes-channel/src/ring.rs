//! A stream of bytes each way, in memory that both sides have mapped: the channel of the built-in VMM.
//!
//! The memory is [`BYTES`] long and starts all zero: a page of positions, then the ring to the guest, then the ring to the host. Each ring has
//! one writer and one reader. Positions count bytes since the start and wrap at 2^32; the writer moves `written`, the reader `read`.
//!
//! The other side may change anything at any time. So a side's own position is never read back from the shared page by a host
//! ([`Position`] keeps it), the other's is only ever used after a check against the capacity, and bytes are copied out
//! before anybody looks at them. Wrong positions can at worst yield wrong bytes, which [`frame`](crate::frame) and the messages' decoder take.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Bytes of each ring; a power of two.
pub const CAPACITY: u32 = 128 << 10;

/// Where the ring to the guest begins.
pub const TO_GUEST: usize = 4096;

/// Where the ring to the host begins.
pub const TO_HOST: usize = TO_GUEST + CAPACITY as usize;

/// Length of the shared memory in bytes.
pub const BYTES: usize = TO_HOST + CAPACITY as usize;

/// Which ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Written by the host.
    ToGuest,
    /// Written by the guest.
    ToHost,
}

impl Direction {
    /// Offsets of `written`, `read` and the bytes. Each position has a cache line of its own.
    const fn offsets(self) -> (usize, usize, usize) {
        match self {
            Self::ToGuest => (0, 64, TO_GUEST),
            Self::ToHost => (128, 192, TO_HOST),
        }
    }
}

/// The other side's position is further from one's own than a ring is long: it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPosition;

impl core::fmt::Display for BadPosition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a position of the shared ring that cannot be")
    }
}

impl core::error::Error for BadPosition {}

/// One side's end of one ring.
#[derive(Debug)]
pub struct End {
    base: *const u8,
    direction: Direction,
    position: u32,
}

// SAFETY: the memory is reached through atomics only, and its owner is bound by `End::new` to outlive the end.
unsafe impl Send for End {}

impl End {
    /// An end at the start of its ring.
    ///
    /// # Safety
    /// `base` is the start of [`BYTES`] bytes of readable and writable memory, aligned to 64, that outlive the end.
    pub const unsafe fn new(base: *const u8, direction: Direction) -> Self {
        Self { base, direction, position: 0 }
    }

    /// Goes back to the start, for a ring that was cleared.
    pub fn restart(&mut self) {
        self.position = 0;
    }

    /// Takes its position from the shared memory: for a guest, whose own memory may be older than the rings. A host never does.
    pub fn resume(&mut self) {
        let (written, read) = self.positions();
        let own = match self.direction {
            Direction::ToGuest => read,
            Direction::ToHost => written,
        };
        self.position = own.load(Ordering::Acquire);
    }

    fn positions(&self) -> (&AtomicU32, &AtomicU32) {
        let (written, read, _) = self.direction.offsets();
        // SAFETY: both lie in the memory that `new` was promised, aligned to 64 bytes, and are only ever reached as atomics.
        unsafe { (&*self.base.add(written).cast(), &*self.base.add(read).cast()) }
    }

    fn byte(&self, position: u32) -> &AtomicU8 {
        let (_, _, bytes) = self.direction.offsets();
        // SAFETY: the position is taken modulo the capacity, so the byte lies in the ring; it is only ever reached as an atomic.
        unsafe { &*self.base.add(bytes + (position % CAPACITY) as usize).cast() }
    }

    /// Bytes that can be read.
    ///
    /// # Errors
    /// The writer's position cannot be.
    pub fn readable(&self) -> Result<u32, BadPosition> {
        let available = self.positions().0.load(Ordering::Acquire).wrapping_sub(self.position);
        if available > CAPACITY { Err(BadPosition) } else { Ok(available) }
    }

    /// Bytes that can be written.
    ///
    /// # Errors
    /// The reader's position cannot be.
    pub fn writable(&self) -> Result<u32, BadPosition> {
        let used = self.position.wrapping_sub(self.positions().1.load(Ordering::Acquire));
        CAPACITY.checked_sub(used).ok_or(BadPosition)
    }

    /// Copies bytes out, as many as are there and fit; returns how many.
    ///
    /// # Errors
    /// The writer's position cannot be.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, BadPosition> {
        let count = (self.readable()? as usize).min(into.len());
        for part in self.parts(count) {
            copy_out(self.byte(part.from), &mut into[part.at..part.at + part.len]);
        }
        self.position = self.position.wrapping_add(count as u32);
        self.positions().1.store(self.position, Ordering::Release);
        Ok(count)
    }

    /// Copies bytes in, as many as fit; returns how many.
    ///
    /// # Errors
    /// The reader's position cannot be.
    pub fn write(&mut self, from: &[u8]) -> Result<usize, BadPosition> {
        let count = (self.writable()? as usize).min(from.len());
        for part in self.parts(count) {
            copy_in(&from[part.at..part.at + part.len], self.byte(part.from));
        }
        self.position = self.position.wrapping_add(count as u32);
        self.positions().0.store(self.position, Ordering::Release);
        Ok(count)
    }

    /// The one or two unbroken runs of `count` bytes from the position on.
    fn parts(&self, count: usize) -> [Part; 2] {
        let to_end = (CAPACITY - self.position % CAPACITY) as usize;
        let first = count.min(to_end);
        let second = Part { from: self.position.wrapping_add(first as u32), at: first, len: count - first };
        [Part { from: self.position, at: 0, len: first }, second]
    }
}

struct Part {
    from: u32,
    at: usize,
    len: usize,
}

/// Copies from shared memory. The other side may write meanwhile: what is read then is any bytes, once.
fn copy_out(from: &AtomicU8, into: &mut [u8]) {
    // SAFETY: `from` begins a run of `into.len()` bytes of the ring (`parts`), which never overlaps private memory. The copy makes no
    // assumption about what it reads; a byte has no invalid value.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr().cast_const(), into.as_mut_ptr(), into.len()) }
}

/// Copies into shared memory.
fn copy_in(from: &[u8], into: &AtomicU8) {
    // SAFETY: as in `copy_out`, the other way; only this side writes the bytes between the positions.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), into.as_ptr(), from.len()) }
}
