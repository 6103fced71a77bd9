//! The ring of a machine that boots a few instructions instead of the unikernel.

use super::Ring;
use limes_channel::machine::{NOTE_TYPE, RING, WAIT_PORT};
use limes_channel::ring::CAPACITY;
use limes_vmm::{Event, Image, Worker};
use std::future::poll_fn;

const MEMORY: u64 = 32 << 20;
const TEXT: u64 = 0x20_0000;
const STACK: u64 = 0x60_0000;

/// An ELF file with this code, a stack, and the note that says where it starts.
fn kernel(code: &[u8]) -> Vec<u8> {
    let mut note: Vec<u8> = [6, 8, NOTE_TYPE].into_iter().flat_map(u32::to_le_bytes).collect();
    note.extend_from_slice(b"Limes\0\0\0");
    note.extend(TEXT.to_le_bytes());
    let note_at = 64 + 3 * 56;
    let segments: [[u64; 5]; 3] = [
        [4 | 4 << 32, note_at, 0, note.len() as u64, 4],
        [1 | 5 << 32, note_at + note.len() as u64, TEXT, code.len() as u64, 4096],
        [1 | 6 << 32, 0, STACK, 0, 4096],
    ];
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.resize(16, 0);
    let header = [2 | 62 << 16 | 1 << 32, TEXT, 64, 0, 64 << 32 | 56 << 48, 3];
    file.extend(header.into_iter().flat_map(u64::to_le_bytes));
    for [kind, offset, address, length, alignment] in segments {
        let words = [kind, offset, address, address, length, length.max(4096), alignment];
        file.extend(words.into_iter().flat_map(u64::to_le_bytes));
    }
    [&file[..], &note, code].concat()
}

/// The ring of a machine that runs `code`; `None`, and the reason said, where that is not possible.
async fn running(code: &[u8]) -> Option<Ring> {
    let own = std::env::current_exe().unwrap();
    let binary = own.ancestors().nth(2).unwrap().join("limes-vmm");
    for needed in [binary.as_path(), "/dev/kvm".as_ref()] {
        if let Err(error) = std::fs::File::open(needed) {
            eprintln!("skipped: `{}` cannot be opened: {error}", needed.display());
            return None;
        }
    }
    let mut ring = Ring::new(Worker::start(&binary, MEMORY).unwrap());
    ring.attach().unwrap();
    ring.worker().load(&Image::build(&kernel(code), &[], MEMORY).unwrap()).unwrap();
    assert!(matches!(ring.answer().await.unwrap(), Event::Loaded));
    poll_fn(|cx| ring.poll_resume(cx)).await.unwrap();
    Some(ring)
}

#[tokio::test]
async fn a_guest_that_found_no_room_while_it_was_read_goes_on() {
    let [low, high] = WAIT_PORT.to_le_bytes();
    let wait = [0x66, 0xba, low, high, 0xee];
    // mov dword ptr [rdi + 0x80], bytes: so many were written.
    let written = |bytes: u32| [&[0xc7, 0x87, 0x80, 0, 0, 0][..], &bytes.to_le_bytes()].concat();
    // mov edi, RING
    let mut code = vec![0xbf];
    code.extend(u32::try_from(RING).unwrap().to_le_bytes());
    code.extend(written(CAPACITY - 1));
    // on: cmp dword ptr [rdi + 0xc0], 0; je on: nothing was read yet.
    code.extend([0x83, 0xbf, 0xc0, 0, 0, 0, 0, 0x74, 0xf7]);
    // It waits as one does whose next word had no room a moment ago.
    code.extend(wait);
    code.extend(written(CAPACITY));
    code.extend(wait);
    let Some(mut ring) = running(&code).await else { return };
    let mut read = 0;
    while read < CAPACITY as usize {
        let mut bytes = vec![0; 64 << 10];
        read += poll_fn(|cx| ring.poll_read(cx, &mut bytes)).await.unwrap();
    }
}
