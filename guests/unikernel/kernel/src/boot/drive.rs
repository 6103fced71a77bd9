//! A drive, for images that are tested as those of others are. What is shipped has none.

use super::device::Device;
use super::virtio::{Identity, transports};
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::{DeviceType, Transport as _};

/// The first drive.
pub struct Drive(VirtIOBlk<Identity, Device>);

impl Drive {
    /// Bytes that are read and written at once.
    pub const SECTOR: usize = SECTOR_SIZE;

    /// Looks for it.
    pub fn find() -> Option<Self> {
        let device = transports().find(|device| device.device_type() == DeviceType::Block)?;
        VirtIOBlk::new(device).ok().map(Self)
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
