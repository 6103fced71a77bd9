//! The ring of a machine that boots a few instructions instead of the unikernel.

#[path = "../../../../limes-vmm/tests/kernel/mod.rs"]
mod kernel;

use self::kernel::{kernel, wait};
use super::Ring;
use limes_channel::machine::RING;
use limes_channel::ring::CAPACITY;
use limes_vmm::{Event, Image, Worker};
use std::future::poll_fn;

const MEMORY: u64 = 32 << 20;

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
    // mov dword ptr [rdi + 0x80], bytes: so many were written.
    let written = |bytes: u32| [&[0xc7, 0x87, 0x80, 0, 0, 0][..], &bytes.to_le_bytes()].concat();
    // mov edi, RING
    let mut code = vec![0xbf];
    code.extend(u32::try_from(RING).unwrap().to_le_bytes());
    code.extend(written(CAPACITY - 1));
    // on: cmp dword ptr [rdi + 0xc0], 0; je on: nothing was read yet.
    code.extend([0x83, 0xbf, 0xc0, 0, 0, 0, 0, 0x74, 0xf7]);
    // It waits as one does whose next word had no room a moment ago.
    code.extend(wait());
    code.extend(written(CAPACITY));
    code.extend(wait());
    let Some(mut ring) = running(&code).await else { return };
    let mut read = 0;
    while read < CAPACITY as usize {
        let mut bytes = vec![0; 64 << 10];
        read += poll_fn(|cx| ring.poll_read(cx, &mut bytes)).await.unwrap();
    }
}
