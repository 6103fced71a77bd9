//! Kernels of a few instructions, for machines that boot them instead of the unikernel; for the tests of this crate and of who drives it.

use limes_channel::machine::{NOTE_TYPE, WAIT_PORT};

/// Where the code and the data of a kernel are.
pub const TEXT: u64 = 0x20_0000;
pub const DATA: u64 = 0x40_0000;
const STACK: u64 = 0x60_0000;

/// `out dx, al` to the port of a guest that waits.
pub fn wait() -> Vec<u8> {
    let [low, high] = WAIT_PORT.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xee]
}

/// An ELF file with this code, a page of data, a stack, and the note that says where it starts.
pub fn kernel(code: &[u8]) -> Vec<u8> {
    let note_at = 64 + 4 * 56;
    let mut note = Vec::new();
    for word in [6, 8, NOTE_TYPE] {
        note.extend_from_slice(&u32::to_le_bytes(word));
    }
    note.extend_from_slice(b"Limes\0\0\0");
    note.extend_from_slice(&TEXT.to_le_bytes());
    let code_at = note_at + note.len();
    let data = [0x11; 8];
    let segments: [(u32, u32, usize, u64, usize, u64); 4] = [
        (4, 4, note_at, 0, note.len(), 0),
        (1, 5, code_at, TEXT, code.len(), 4096),
        (1, 6, code_at + code.len(), DATA, data.len(), 4096),
        (1, 6, 0, STACK, 0, 4096),
    ];
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.resize(16, 0);
    file.extend([2_u16, 62].into_iter().flat_map(u16::to_le_bytes));
    file.extend(1_u32.to_le_bytes());
    file.extend([TEXT, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 4, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    for (kind, flags, offset, address, length, memory) in segments {
        file.extend([kind, flags].into_iter().flat_map(u32::to_le_bytes));
        let words = [
            offset as u64,
            address,
            address,
            length as u64,
            memory.max(length as u64),
            if kind == 4 { 4 } else { 4096 },
        ];
        file.extend(words.into_iter().flat_map(u64::to_le_bytes));
    }
    for part in [&note[..], code, &data] {
        file.extend_from_slice(part);
    }
    file
}
