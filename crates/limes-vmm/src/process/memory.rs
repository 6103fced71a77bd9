//! A machine's memory: its image mapped privately, and nothing where the image has nothing.

use crate::image::Layout;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr;

/// A mapping that is undone when it is dropped.
pub(crate) struct Mapping {
    base: *mut c_void,
    length: usize,
}

impl Mapping {
    /// `length` bytes of zeroes that cost nothing until they are written.
    pub fn anonymous(length: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses disturbs nobody.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, PROTECTION, flags)? };
        Ok(Self { base, length })
    }

    /// The first `length` bytes of a file, shared with everybody who maps it.
    pub fn shared(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::of_file(file, length, PROTECTION, MapFlags::SHARED)
    }

    /// The first `length` bytes of a file that never changes, only to be read.
    fn read_only(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::of_file(file, length, ProtFlags::READ, MapFlags::PRIVATE)
    }

    fn of_file(file: impl AsFd, length: usize, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: as above.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), length, protection, flags, file, 0)? };
        Ok(Self { base, length })
    }

    /// Puts a private copy of a file's range in place of the same range of this mapping.
    fn overlay(&mut self, file: impl AsFd, range: &Range<u64>) -> io::Result<()> {
        let (start, end) = (range.start as usize, range.end as usize);
        if start >= end || end > self.length {
            return Err(io::Error::other("an image that is larger than its machine"));
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the range lies in this mapping, and nobody uses it yet.
        unsafe {
            let at = self.base.byte_add(start);
            rustix::mm::mmap(at, end - start, PROTECTION, flags, file, range.start)?
        };
        Ok(())
    }

    pub fn address(&self) -> u64 {
        self.base as u64
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes, for a machine that does not run.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is that long and lives as long as the borrow; the caller, who owns the machine, does not run it meanwhile.
        unsafe { std::slice::from_raw_parts(self.base.cast(), self.length) }
    }

    /// The same, to be written; of a mapping that may be.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.base.cast(), self.length) }
    }

    /// Overwrites all of it with zeroes, for a machine that does not run. Of memory that is shared, nobody else uses it meanwhile.
    pub fn clear(&mut self) {
        self.bytes_mut().fill(0);
    }

    /// The ranges that were written since they were mapped or dropped, as offsets.
    fn written(&self, pagemap: impl AsFd) -> io::Result<Vec<Range<usize>>> {
        let mut found = Vec::new();
        let start = self.base.addr();
        limes_pagemap::own_pages(pagemap, start..start + self.length, |range| {
            found.push(range.start - start..range.end - start);
        })?;
        Ok(found)
    }

    /// Forgets what was written to `range`: it is as it was mapped.
    fn forget(&self, range: Range<usize>) -> io::Result<()> {
        // SAFETY: the range lies in the mapping, and what it held is not used any more.
        unsafe { rustix::mm::madvise(self.base.byte_add(range.start), range.len(), Advice::LinuxDontNeed)? };
        Ok(())
    }
}

/// Bytes that a machine may keep of its own when it is put back; they count against its memory all the same. They are overwritten with what the image
/// has, which takes a fraction of the time that it takes to drop them and have the next call fault on each page.
const KEPT: usize = 16 << 20;

/// A machine's memory: its image where that has something, zeroes elsewhere, both private.
pub(super) struct Memory {
    own: Mapping,
    /// The image itself, as long as the last byte it has.
    image: Mapping,
    extents: Vec<Range<usize>>,
}

impl Memory {
    /// Lays `image` into `room`, which has the length that `layout` says.
    pub fn of_image(mut room: Mapping, layout: &Layout, image: impl AsFd) -> io::Result<Self> {
        for extent in &layout.extents {
            room.overlay(&image, extent)?;
        }
        let extents: Vec<_> =
            layout.extents.iter().map(|extent| extent.start as usize..extent.end as usize).collect();
        let end = extents.iter().map(|extent| extent.end).max().unwrap_or(0).max(1);
        let image = Mapping::read_only(image, end)?;
        Ok(Self { own: room, image, extents })
    }

    /// The bytes, for a machine that does not run.
    pub fn bytes(&self) -> &[u8] {
        self.own.bytes()
    }

    /// The ranges that were written since the machine was loaded or its pages dropped.
    pub fn written(&self, pagemap: impl AsFd) -> io::Result<Vec<Range<usize>>> {
        self.own.written(pagemap)
    }

    /// Puts every byte back to what the image has.
    pub fn reset(&mut self, pagemap: impl AsFd) -> io::Result<()> {
        let written = self.own.written(pagemap)?;
        let mut room = KEPT;
        for range in written {
            if let Some(left) = room.checked_sub(range.len()) {
                room = left;
                self.overwrite(range);
            } else {
                self.own.forget(range)?;
            }
        }
        Ok(())
    }

    fn overwrite(&mut self, range: Range<usize>) {
        let (image, own) = (self.image.bytes(), self.own.bytes_mut());
        let mut at = range.start;
        // Extents are in order and do not overlap.
        for extent in
            self.extents.iter().filter(|extent| extent.end > range.start && extent.start < range.end)
        {
            let (start, end) = (extent.start.max(range.start), extent.end.min(range.end));
            own[at..start].fill(0);
            own[start..end].copy_from_slice(&image[start..end]);
            at = end;
        }
        own[at..range.end].fill(0);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and the machine that used it is gone or has another in its place.
        let _ = unsafe { rustix::mm::munmap(self.base, self.length) };
    }
}

const PROTECTION: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
