//! An image that speaks SPARE's protocol, and a hostile one when its boot arguments say so.
//!
//! It gives its payload back in upper case. The word `behave=` of the boot arguments has it do something else: `garbage` or `silence` where
//! `ready` is due, and instead of the answer `lie` (a length that no memory has), `cut` (fewer bytes than announced), `binary` (no text), `spin`, `halt`;
//! `say` has it answer with its boot arguments. With the word `console` it says on the serial port that it has booted.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use kernel::{Machine, channel};

/// Called by the kernel.
#[unsafe(no_mangle)]
fn limes_main(machine: Machine) -> ! {
    let behave = machine.arguments.split_ascii_whitespace().find_map(|word| word.strip_prefix("behave="));
    let behave = behave.unwrap_or("well");
    if machine.arguments.contains("console") {
        console(b"the image has booted\n");
    }
    match behave {
        "garbage" => channel::send_bytes(b"hello, who is there?"),
        "silence" => channel::end(),
        _ => channel::send_bytes(b"ready"),
    }
    let mut length = [0; 8];
    receive(&mut length);
    let mut payload = vec![0; u64::from_be_bytes(length) as usize];
    receive(&mut payload);
    match behave {
        "lie" => answer(u64::MAX >> 1, b"short"),
        "cut" => {
            answer(1000, b"short");
            kernel::halt();
        }
        "binary" => answer(2, &[0xff, 0xfe]),
        "spin" => loop {
            core::hint::spin_loop();
        },
        "halt" => kernel::halt(),
        "say" => answer(machine.arguments.len() as u64, machine.arguments.as_bytes()),
        _ => {
            payload.make_ascii_uppercase();
            answer(payload.len() as u64, &payload);
        }
    }
    channel::end()
}

fn receive(into: &mut [u8]) {
    let mut have = 0;
    while have < into.len() {
        have += channel::receive_bytes(&mut into[have..]);
    }
}

fn answer(length: u64, bytes: &[u8]) {
    let message: Vec<u8> = length.to_be_bytes().iter().chain(bytes).copied().collect();
    channel::send_bytes(&message);
}

/// Writes to the serial port, where monitors have their console.
fn console(text: &[u8]) {
    for byte in text {
        // SAFETY: the port is that of the first serial port, or nobody's.
        unsafe {
            core::arch::asm!("out dx, al", in("dx") 0x3f8_u16, in("al") *byte, options(nostack, preserves_flags))
        };
    }
}
