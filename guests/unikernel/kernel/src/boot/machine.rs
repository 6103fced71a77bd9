//! What another VMM says about its machine, and where its devices are.

use super::{fault, tables, virtio};
use crate::single::Single;
use core::ops::Range;

/// Ways in.
pub(super) const LINUX: u32 = 1;
pub(super) const PVH: u32 = 2;

/// Memory that is used ends here at the latest: devices follow.
const LIMIT: u64 = 0xc000_0000;

/// The first of QEMU's places for virtio devices, the distance between them, and how many there are.
const QEMU_DEVICES: (usize, usize, usize) = (0xfeb0_0000, 0x200, 24);

static DEVICES: Single<Range<usize>> = Single::new(0..0);
static STEP: Single<usize> = Single::new(1);

/// Called in ring 3 by the assembly.
pub(super) extern "C" fn start(way: u32, info: *const u8, length: usize, artifact: usize) -> ! {
    // SAFETY: the VMM says where memory ends, and has placed the artifact where its information says.
    unsafe {
        let memory = if way == PVH { pvh_memory(info) } else { linux_memory(info) };
        let end = memory.min(LIMIT) as usize;
        let arguments = arguments(if way == PVH { read(info, 24) } else { read::<u32>(info, 0x228).into() });
        let (first, step, count) = if way == PVH { QEMU_DEVICES } else { command_line_device(arguments) };
        *DEVICES.get() = first..first + step * count;
        *STEP.get() = step;
        let artifact = if length == 0 { end..end } else { artifact..artifact + length };
        fault::set_artifact(&artifact);
        let arena = tables::protect(&artifact).min(end);
        super::run(arena, artifact, arguments, || virtio::find())
    }
}

/// Where devices may be.
pub(super) fn devices() -> impl Iterator<Item = usize> {
    let range = DEVICES.get().clone();
    range.step_by(*STEP.get())
}

/// # Safety
/// `info` is at least `offset` and a `T` long, and readable.
unsafe fn read<T: Copy>(info: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { info.add(offset).cast::<T>().read_unaligned() }
}

/// Where memory ends, by the table of PVH.
///
/// # Safety
/// `info` is a `hvm_start_info`.
unsafe fn pvh_memory(info: *const u8) -> u64 {
    // SAFETY: the structure's fields, and the table they point to.
    unsafe {
        let table = read::<u64>(info, 40) as usize as *const u8;
        let entries = read::<u32>(info, 48) as usize;
        end_of(
            (0..entries)
                .map(|at| (read(table, at * 24), read(table, at * 24 + 8), read(table, at * 24 + 16))),
        )
    }
}

/// Where memory ends, by the table of Linux.
///
/// # Safety
/// `info` is a `boot_params`.
unsafe fn linux_memory(info: *const u8) -> u64 {
    const TABLE: usize = 0x2d0;
    // SAFETY: the structure's fields.
    unsafe {
        let entries = usize::from(read::<u8>(info, 0x1e8));
        end_of((0..entries).map(|at| {
            let at = TABLE + at * 20;
            (read(info, at), read(info, at + 8), read(info, at + 16))
        }))
    }
}

/// The end of the memory that the kernel lies in; kind 1 is memory.
fn end_of(entries: impl Iterator<Item = (u64, u64, u32)>) -> u64 {
    const KERNEL: u64 = 2 << 20;
    entries
        .filter(|(start, length, kind)| {
            *kind == 1 && (*start..start.saturating_add(*length)).contains(&KERNEL)
        })
        .map(|(start, length, _)| start.saturating_add(length))
        .next()
        .unwrap_or(0)
}

/// The command line.
///
/// # Safety
/// `start` is null, or where a command line is that ends in zero and is at most 2 KiB long; it stays there.
unsafe fn arguments(start: u64) -> &'static str {
    let start = start as usize as *const u8;
    // SAFETY: the caller's promise.
    let line = unsafe {
        let length = (0..2048).take_while(|at| !start.is_null() && read::<u8>(start, *at) != 0).count();
        if length == 0 {
            return "";
        }
        core::slice::from_raw_parts(start, length)
    };
    core::str::from_utf8(line).unwrap_or("")
}

/// The devices that the command line tells of, as `virtio_mmio.device=4K@0xd0000000:5`: the first, their distance, and how many.
fn command_line_device(line: &str) -> (usize, usize, usize) {
    const STEP: usize = 0x1000;
    const DEFAULT: (usize, usize, usize) = (0xd000_0000, STEP, 4);
    let mut addresses = line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("virtio_mmio.device="))
        .filter_map(|device| device.split('@').nth(1)?.split(':').next()?.strip_prefix("0x"))
        .filter_map(|address| usize::from_str_radix(address, 16).ok());
    let Some(first) = addresses.next() else { return DEFAULT };
    (first, STEP, addresses.count() + 1)
}
