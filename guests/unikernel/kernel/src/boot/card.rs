//! A network card, for images that are tested as those of others are. What is shipped has none.

use super::device::Device;
use super::virtio::{Identity, first};
use alloc::vec::Vec;
use virtio_drivers::device::net::{TxBuffer, VirtIONet};
use virtio_drivers::transport::DeviceType;

/// Frames that may wait to be taken, and the bytes of each: Firecracker fills only what holds the longest that there is.
const FRAMES: usize = 16;
const LONGEST: usize = 66 << 10;

/// The first network card.
pub struct Card(VirtIONet<Identity, Device, FRAMES>);

impl Card {
    /// Looks for it.
    pub fn find() -> Option<Self> {
        let device = first(DeviceType::Network)?;
        VirtIONet::new(device, LONGEST).ok().map(Self)
    }

    /// Its hardware address.
    pub fn address(&self) -> [u8; 6] {
        self.0.mac_address()
    }

    /// The next frame, if one came.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let buffer = self.0.receive().ok()?;
        let frame = buffer.packet().to_vec();
        self.0.recycle_rx_buffer(buffer).ok()?;
        Some(frame)
    }

    /// Sends a frame; one that the card does not take is lost, as on any wire.
    pub fn send(&mut self, frame: &[u8]) {
        let _ = self.0.send(TxBuffer::from(frame));
    }
}
