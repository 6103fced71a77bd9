//! A unikernel that boots straight into one WebAssembly component.
#![no_std]
#![no_main]

extern crate alloc;

mod ask;
mod bindings;
mod body;
mod component;
mod engine;
mod forward;
mod host;
mod http;
mod io;
mod limiter;
mod platform;
mod poll;
mod wit;

use kernel::{Machine, channel};
use limes_channel::ToHost;

/// Called by the kernel.
#[unsafe(no_mangle)]
fn limes_main(machine: Machine) -> ! {
    match component::Loaded::load(machine) {
        Ok(mut loaded) => loop {
            loaded.serve();
        },
        Err(failure) => {
            channel::send(&ToHost::Done(failure.outcome()));
            channel::end()
        }
    }
}
