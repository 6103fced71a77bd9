//! Messages on a stream of bytes: each is a little-endian `u32`, the length of its payload, and the payload.

use crate::{Decode, MAX_FRAME};
use alloc::vec::Vec;

/// Bytes before a payload.
pub const PREFIX: usize = 4;

/// A frame that announces more than [`MAX_FRAME`] bytes, or none. The stream is of no use after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength(pub u32);

impl core::fmt::Display for BadLength {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a frame of {} bytes, where 1 to {MAX_FRAME} are allowed", self.0)
    }
}

impl core::error::Error for BadLength {}

/// Appends `message` to `out` as one frame.
pub fn write<'a>(message: &impl Decode<'a>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    message.encode(out);
    // A payload is made of parts that are bounded far below 4 GiB; one past `MAX_FRAME` is refused by whoever reads it.
    let length = u32::try_from(out.len() - start - PREFIX).unwrap_or(u32::MAX);
    out[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
}

/// Length of the payload that a prefix announces.
///
/// # Errors
/// It is 0 or past [`MAX_FRAME`].
pub fn length(prefix: [u8; PREFIX]) -> Result<usize, BadLength> {
    let length = u32::from_le_bytes(prefix);
    match length as usize {
        bytes @ 1..=MAX_FRAME => Ok(bytes),
        _ => Err(BadLength(length)),
    }
}

/// Cuts a stream into payloads. Memory is taken for bytes that came, never for bytes that were announced.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0 }
    }

    /// Takes bytes in the order they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The payload of the next frame; `None` until it is complete.
    ///
    /// # Errors
    /// The frame's length is not allowed; so is every later one's.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, BadLength> {
        let rest = &self.bytes[self.start..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = length(*prefix)?;
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + PREFIX;
        self.start = from + length;
        Ok(Some(&self.bytes[from..from + length]))
    }

    /// Bytes held that belong to no frame that was handed out.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }
}
