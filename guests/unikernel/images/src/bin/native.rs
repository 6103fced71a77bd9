//! A native function that does what its argument says: `echo ...`, `allocate BYTES`, `fail`, `panic`, `recurse`, `spin`, `print ...`, `random`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use limes_native::{Answer, print};

limes_native::program!(run);

fn run(argument: &str) -> Answer {
    let (word, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    match word {
        "echo" => Ok(rest.to_string()),
        "allocate" => allocate(rest.parse().map_err(|_| "that is no number")?),
        "pieces" => pieces(rest.parse().map_err(|_| "that is no number")?),
        "fail" => Err("it was told to".into()),
        "panic" => panic!("it was told to"),
        "recurse" => Ok(depth(0).to_string()),
        "spin" => loop {
            core::hint::spin_loop();
        },
        "print" => {
            print(rest);
            Ok(String::new())
        }
        _ => Err(format!("it does not know `{word}`")),
    }
}

/// Takes memory at once, and writes it.
fn allocate(bytes: usize) -> Answer {
    Ok(vec![1_u8; bytes].iter().map(|byte| usize::from(*byte)).sum::<usize>().to_string())
}

/// Takes memory in small pieces.
fn pieces(count: usize) -> Answer {
    let pieces: Vec<Vec<u8>> = (0..count).map(|_| vec![1; 1024]).collect();
    Ok(pieces.len().to_string())
}

#[allow(unconditional_recursion, reason = "the stack is to end")]
fn depth(level: u64) -> u64 {
    core::hint::black_box(depth(core::hint::black_box(level + 1)) + 1)
}
