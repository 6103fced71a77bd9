//! A drive, for images that are tested as those of others are. What is shipped has none.

use super::device::Device;
use super::virtio::{Identity, first};
use core::mem::ManuallyDrop;
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::DeviceType;

/// The first drive. It is never given back: Firecracker keeps a device's queues once they are in use, and the driver would wait for their end.
pub struct Drive(ManuallyDrop<VirtIOBlk<Identity, Device>>);

impl Drive {
    /// Bytes that are read and written at once.
    pub const SECTOR: usize = SECTOR_SIZE;

    /// Looks for it.
    pub fn find() -> Option<Self> {
        let device = first(DeviceType::Block)?;
        VirtIOBlk::new(device).ok().map(ManuallyDrop::new).map(Self)
    }

    /// Its first sector, if it can be read.
    pub fn read(&mut self) -> Option<[u8; Self::SECTOR]> {
        let mut sector = [0; Self::SECTOR];
        self.0.read_blocks(0, &mut sector).ok()?;
        Some(sector)
    }

    /// Overwrites its first sector; whether it took that.
    pub fn write(&mut self, sector: &[u8; Self::SECTOR]) -> bool {
        self.0.write_blocks(0, sector).is_ok()
    }
}
