//! Bytes that came and were not read.

use alloc::vec::Vec;

/// Read from the front; its room is used again once all was read.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
}

impl Inbox {
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), read: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes as much as there is and fits; how much.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let rest = &self.bytes[self.read..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
        count
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
