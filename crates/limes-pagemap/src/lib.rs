//! Which pages of a private mapping are its own: those that were written, wherever they are now. It is how both sandboxes find what a call
//! left behind, so nothing may be missing, above all no page that was swapped out meanwhile.
//!
//! The source is the ioctl `PAGEMAP_SCAN` of Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst).

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::AsFd;

/// Calls `found` with every range of addresses within `range` whose pages are private, and present or swapped out, in ascending order.
/// `pagemap` is the open `/proc/self/pagemap` of this process; one that was opened before a fork tells of the parent.
///
/// Pages of zeroes that were only read, and pages of a mapped file, are not the mapping's own.
///
/// # Errors
/// What the kernel says; `ENOTTY` before Linux 6.7.
pub fn own_pages(
    pagemap: impl AsFd,
    range: Range<usize>,
    mut found: impl FnMut(Range<usize>),
) -> io::Result<()> {
    let mut scan = Scan {
        from: range.start as u64,
        to: range.end as u64,
        regions: [Region { start: 0, end: 0, categories: 0 }; REGIONS],
    };
    while scan.from < scan.to {
        // SAFETY: the argument is as the kernel's documentation of PAGEMAP_SCAN has it; it only reads page tables.
        let (count, walked) = unsafe { rustix::ioctl::ioctl(&pagemap, scan.call())? };
        for region in &scan.regions[..count] {
            found(region.start as usize..region.end as usize);
        }
        scan.from = walked;
    }
    Ok(())
}

/// Regions found by one scan.
const REGIONS: usize = 64;

/// One found region, as the kernel's `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The kernel's `struct pm_scan_arg`.
#[repr(C)]
struct Argument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_length: u64,
    max_pages: u64,
    inverted: u64,
    mask: u64,
    any_of_mask: u64,
    return_mask: u64,
}

struct Scan {
    from: u64,
    to: u64,
    regions: [Region; REGIONS],
}

struct Call<'a> {
    argument: Argument,
    /// The kernel writes to them while the call lasts.
    regions: PhantomData<&'a mut [Region; REGIONS]>,
}

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO_PAGE: u64 = 1 << 5;

impl Scan {
    fn call(&mut self) -> Call<'_> {
        let argument = Argument {
            size: size_of::<Argument>() as u64,
            flags: 0,
            start: self.from,
            end: self.to,
            walk_end: 0,
            regions: self.regions.as_mut_ptr() as u64,
            regions_length: REGIONS as u64,
            max_pages: 0,
            inverted: FILE | ZERO_PAGE,
            mask: FILE | ZERO_PAGE,
            any_of_mask: PRESENT | SWAPPED,
            return_mask: 0,
        };
        Call { argument, regions: PhantomData }
    }
}

// SAFETY: the opcode is that of PAGEMAP_SCAN, and the pointer is to its argument, which outlives the call.
unsafe impl Ioctl for Call<'_> {
    type Output = (usize, u64);

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.argument).cast()
    }

    unsafe fn output_from_ptr(count: IoctlOutput, argument: *mut c_void) -> rustix::io::Result<Self::Output> {
        // SAFETY: the pointer is the one that `as_ptr` gave.
        let walked = unsafe { (*argument.cast::<Argument>()).walk_end };
        Ok((usize::try_from(count).unwrap_or(0), walked))
    }
}

/// The number of `PAGEMAP_SCAN`, for filters of system calls.
pub const OPCODE: Opcode = opcode::read_write::<Argument>(b'f', 16);
