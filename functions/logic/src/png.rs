//! Grey pictures as PNG (ISO/IEC 15948).

use alloc::vec::Vec;
use miniz_oxide::deflate::compress_to_vec_zlib;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// zlib's fastest: its default takes thrice as long, for a third less.
const LEVEL: u8 = 1;

/// A picture of 8 bits a pixel, `width` pixels a row, as a PNG file. `pixels` must hold whole rows, and at least one.
pub(crate) fn grey(pixels: &[u8], width: u32) -> Vec<u8> {
    let rows = pixels.chunks_exact(width as usize);
    let height = rows.len() as u32;
    let mut filtered = Vec::with_capacity(pixels.len() + rows.len());
    for row in rows {
        // No filter: neighbours of a fractal do not predict one another.
        filtered.push(0);
        filtered.extend(row);
    }
    let mut header = Vec::with_capacity(13);
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // 8 bits, grey, deflate, adaptive filters, not interlaced.
    header.extend([8, 0, 0, 0, 0]);

    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &compress_to_vec_zlib(&filtered, LEVEL));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let checked = file.len();
    file.extend(kind);
    file.extend(data);
    let sum = crc32fast::hash(&file[checked..]);
    file.extend(sum.to_be_bytes());
}
