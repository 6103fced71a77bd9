//! Unikernels with a function's own crate linked in: the same kernel, channel and calls, and no WebAssembly.
//!
//! Each program in `bin/` is one function. It answers to `component:run`: a string goes in, a string comes out.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

use alloc::string::{String, ToString};
use kernel::{channel, clock, random};
use limes_channel::{Contract, Input, MAX_CHUNK, Outcome, ToGuest, ToHost, Trap, VERSION};

/// What a function answers, or why it has no answer.
pub type Answer = Result<String, String>;

/// Defines the program: the function it calls takes the argument and gives an [`Answer`].
#[macro_export]
macro_rules! program {
    ($function:expr) => {
        /// Called by the kernel.
        #[unsafe(no_mangle)]
        fn limes_main(_: ::kernel::Machine) -> ! {
            $crate::serve($function)
        }
    };
}

/// Takes the host's order to load, then one call after the other.
pub fn serve(function: fn(&str) -> Answer) -> ! {
    let loaded = channel::receive(|message| match message {
        ToGuest::Load { version: VERSION, contract: Contract::Run, tsc_hz, seed, wall_clock, .. } => {
            clock::set_frequency(tsc_hz);
            clock::set_wall(wall_clock);
            random::seed(seed);
            true
        }
        _ => false,
    });
    if !loaded {
        channel::send(&ToHost::Done(Outcome::Unfit("a native function of this release is called as component:run")));
        channel::end();
    }
    channel::send(&ToHost::Ready { version: VERSION, instantiate: 0 });
    loop {
        answer(call().and_then(|argument| function(&argument)));
    }
}

/// The argument of the next call.
fn call() -> Answer {
    loop {
        let argument = channel::receive(|message| match message {
            ToGuest::Call { seed, wall_clock, input: Input::Run(_), first, rest: None, .. } => {
                clock::set_wall(wall_clock);
                random::seed(seed);
                Some(core::str::from_utf8(first).map(ToString::to_string).map_err(|error| error.to_string()))
            }
            // For bytes of the call before.
            ToGuest::Credit(_) => None,
            _ => Some(Err(alloc::format!("a native function takes a string of at most {MAX_CHUNK} bytes"))),
        });
        if let Some(argument) = argument {
            return argument;
        }
    }
}

/// Sends what a function answered. It fits the window: a native function answers with a line, not with a file.
fn answer(answer: Answer) {
    let outcome = match &answer {
        Ok(text) => {
            text.as_bytes().chunks(MAX_CHUNK).for_each(|piece| channel::send(&ToHost::Chunk(piece)));
            Outcome::Returned
        }
        Err(message) => Outcome::Trapped { trap: Trap::Wasm, message, backtrace: "" },
    };
    channel::send(&ToHost::Done(outcome));
}
