//! Large memory: linear memories, and whatever else is big.
//!
//! The arena is everything between the heap and the artifact. All of it that is free is zero, so that fresh memory needs no clearing: a page nobody
//! has written costs nothing, neither time nor memory of the host. A region can grow in place up to the next one, and each new region is put
//! where the widest gap leaves most room to both of its neighbours.

use crate::single::Single;
use core::ops::Range;
use core::ptr;

const PAGE: usize = 4096;

/// Regions at once.
const REGIONS: usize = 512;

static ARENA: Single<Arena> =
    Single::new(Arena { bounds: 0..0, regions: [const { 0..0 }; REGIONS], used: 0 });

struct Arena {
    bounds: Range<usize>,
    /// In order of their addresses; the first `used`.
    regions: [Range<usize>; REGIONS],
    used: usize,
}

/// Gives the arena its memory.
///
/// # Safety
/// `bounds` is mapped, writable, zero and nobody else's.
pub(crate) unsafe fn set_up(bounds: Range<usize>) {
    ARENA.get().bounds = bounds.start.next_multiple_of(PAGE)..bounds.end & !(PAGE - 1);
}

/// Leaves the arena at most `bytes`. What was handed out beyond stays its owner's.
pub fn limit(bytes: usize) {
    let mut arena = ARENA.get();
    let end = arena.bounds.start.saturating_add(bytes) & !(PAGE - 1);
    let taken = arena.regions[..arena.used].last().map_or(arena.bounds.start, |region| region.end);
    arena.bounds.end = arena.bounds.end.min(end).max(taken);
}

/// Zeroed memory of `size` bytes, page-aligned; null when there is no room.
pub fn allocate(size: usize) -> *mut u8 {
    match ARENA.get().allocate(size) {
        Some(start) => start as *mut u8,
        None => ptr::null_mut(),
    }
}

/// Gives back what [`allocate`] gave.
pub fn free(start: usize) {
    ARENA.get().free(start);
}

/// Makes a region `size` bytes long, in place or elsewhere; returns where it is then. `None`, and nothing changed, when there is no room.
pub fn grow(start: usize, size: usize) -> Option<usize> {
    ARENA.get().grow(start, size)
}

/// How long a region can become where it is.
pub fn room(start: usize) -> usize {
    ARENA.get().room(start)
}

impl Arena {
    /// The free range before region `index`, or after the last.
    fn gap(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { self.bounds.start } else { self.regions[index - 1].end };
        let end = if index == self.used { self.bounds.end } else { self.regions[index].start };
        start..end
    }

    fn allocate(&mut self, size: usize) -> Option<usize> {
        let size = size.max(1).checked_next_multiple_of(PAGE)?;
        let index = (0..=self.used).max_by_key(|index| self.gap(*index).len())?;
        let gap = self.gap(index);
        if self.used == REGIONS || gap.len() < size {
            return None;
        }
        // The first region gets the start; a later one goes behind three quarters of the room its neighbour may want.
        let free = gap.len() - size;
        let start = if index == 0 { gap.start } else { gap.start + (free / 4 * 3) / PAGE * PAGE };
        self.regions[index..=self.used].rotate_right(1);
        self.regions[index] = start..start + size;
        self.used += 1;
        Some(start)
    }

    fn index_of(&self, start: usize) -> Option<usize> {
        self.regions[..self.used].binary_search_by_key(&start, |region| region.start).ok()
    }

    fn room(&self, start: usize) -> usize {
        self.index_of(start).map_or(0, |index| self.gap(index + 1).end - start)
    }

    fn free(&mut self, start: usize) {
        let Some(index) = self.index_of(start) else { return };
        let region = self.regions[index].clone();
        clear(region);
        self.regions[index..self.used].rotate_left(1);
        self.used -= 1;
    }

    fn grow(&mut self, start: usize, size: usize) -> Option<usize> {
        let size = size.checked_next_multiple_of(PAGE)?;
        let index = self.index_of(start)?;
        let region = self.regions[index].clone();
        if size <= region.len() || self.gap(index + 1).end - start >= size {
            self.regions[index].end = region.end.max(start + size);
            return Some(start);
        }
        let moved = self.allocate(size)?;
        // SAFETY: the old region is this caller's, the new one is fresh and at least as long, and regions do not overlap.
        unsafe { ptr::copy_nonoverlapping(start as *const u8, moved as *mut u8, region.len()) };
        self.free(start);
        Some(moved)
    }
}

fn clear(region: Range<usize>) {
    // SAFETY: the region was handed out as memory of its owner, who has given it back.
    unsafe { ptr::write_bytes(region.start as *mut u8, 0, region.len()) };
}
