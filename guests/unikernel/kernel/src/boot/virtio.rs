//! The channel over virtio: vsock on Firecracker (see `vsock`), a port of the console on QEMU (see `console`).

use super::console::Console;
use super::device::Device;
use super::machine;
use super::vsock::Vsock;
use crate::channel::Transport;
use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::ptr::NonNull;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// Bytes of a device's registers and configuration.
const REGISTERS: usize = 0x200;

/// Where a device says what it is.
const KIND: usize = 8;

/// The first device of a kind. No other is touched: a transport that is dropped resets its device.
pub(super) fn first(kind: DeviceType) -> Option<Device> {
    machine::devices().find_map(|address| {
        // SAFETY: the addresses are those where the VMM puts devices; memory without one reads as none.
        let found = unsafe { ((address + KIND) as *const u32).read_volatile() };
        if found != kind as u32 {
            return None;
        }
        let header = NonNull::new(address as *mut VirtIOHeader)?;
        // SAFETY: as before, and whoever looks for a device of this kind does so once.
        unsafe { MmioTransport::new(header, REGISTERS) }.ok().map(Device)
    })
}

/// The channel's device: vsock, or the console.
pub(super) fn find() -> Box<dyn Transport> {
    if let Some(vsock) = first(DeviceType::Socket).and_then(|device| Vsock::open(device).ok()) {
        return Box::new(vsock);
    }
    match first(DeviceType::Console).and_then(|device| Console::open(device).ok()) {
        Some(console) => Box::new(console),
        None => Box::new(Nobody),
    }
}

/// Where there is no channel: for an image that has another device. Whoever talks all the same ends the machine.
struct Nobody;

impl Transport for Nobody {
    fn send(&mut self, _: &[u8]) {
        super::halt()
    }

    fn receive(&mut self, _: &mut [u8]) -> usize {
        super::halt()
    }

    fn wait(&mut self) {
        super::halt()
    }
}

/// Memory as devices see it: at the same addresses.
pub(super) struct Identity;

/// Memory that a device shares lies in the heap: in the arena it would stand in the way of what grows there.
fn shared(pages: usize) -> Layout {
    const PAGE: usize = virtio_drivers::PAGE_SIZE;
    pages
        .checked_mul(PAGE)
        .and_then(|size| Layout::from_size_align(size.max(PAGE), PAGE).ok())
        .unwrap_or_else(|| super::halt())
}

// SAFETY: the memory is zeroed, page-aligned and nobody else's, and addresses are physical ones.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout's size is not zero.
        match NonNull::new(unsafe { alloc_zeroed(shared(pages)) }) {
            Some(memory) => (memory.as_ptr() as PhysAddr, memory),
            None => super::halt(),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller's promise: it came from `dma_alloc`, for as many pages.
        unsafe { dealloc(memory.as_ptr(), shared(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as usize as *mut u8).unwrap_or_else(|| super::halt())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
