//! Unikernels with a function's own crate linked in: the same kernel, channel and calls, and no WebAssembly.
//!
//! A program is one function. It answers to `component:run`: a string goes in, a string comes out.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! limes_native::program!(|name| Ok(alloc::format!("Hello, {name}!")));
//! ```
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

mod host;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::arch::global_asm;
use host::Window;
use kernel::{arena, channel, clock, heap, random};
use limes_channel::machine::NATIVE_NOTE_TYPE;
use limes_channel::{Contract, Input, Limits, Outcome, Output, ToGuest, ToHost, Trap, VERSION};

#[doc(hidden)]
pub use kernel::Machine;

/// What a function answers, or why it has no answer.
pub type Answer = Result<String, String>;

/// Defines the program: the function takes the argument as `&str` and gives an [`Answer`].
#[macro_export]
macro_rules! program {
    ($function:expr) => {
        /// Called by the kernel.
        #[unsafe(no_mangle)]
        fn limes_main(_: $crate::Machine) -> ! {
            $crate::serve($function)
        }
    };
}

// By this a host tells the program from other ELF files.
global_asm!(
    ".pushsection .note.limes, \"a\", @note",
    ".balign 4",
    ".long 6, 4, {note}",
    ".asciz \"Limes\"",
    ".balign 4",
    ".long {version}",
    ".popsection",
    note = const NATIVE_NOTE_TYPE,
    version = const VERSION,
);

/// Takes the host's order to load, then one call after the other.
pub fn serve(function: fn(&str) -> Answer) -> ! {
    let loaded = channel::receive(|message| match message {
        ToGuest::Load {
            version: VERSION, contract: Contract::Run, limits, tsc_hz, seed, wall_clock, ..
        } => {
            clock::set_frequency(tsc_hz);
            clock::set_wall(wall_clock);
            random::seed(seed);
            keep_within(&limits);
            true
        }
        _ => false,
    });
    if !loaded {
        channel::send(&ToHost::Done(Outcome::Unfit(
            "a native function of this release is called as component:run",
        )));
        channel::end();
    }
    channel::send(&ToHost::Ready { version: VERSION, instantiate: 0 });
    loop {
        let mut window = Window::new();
        let answer = call(&mut window).and_then(|argument| function(&argument));
        send(answer, &mut window);
    }
}

/// Writes to the function's log, as a component does to its stdout.
pub fn print(text: &str) {
    for piece in text.as_bytes().chunks(limes_channel::MAX_CHUNK) {
        channel::send(&ToHost::Output(Output::Stdout, piece));
    }
}

/// The limit `memory` holds for what the function allocates; time and bytes the host counts.
fn keep_within(limits: &Limits) {
    arena::limit(usize::try_from(limits.memory).unwrap_or(usize::MAX));
    heap::on_exhaustion(|asked| {
        channel::send(&ToHost::Done(Outcome::Limit { limit: "memory", asked: asked as u64 }));
        channel::end()
    });
}

/// The argument of the next call.
fn call(window: &mut Window) -> Answer {
    let (mut argument, rest) = loop {
        let called = channel::receive(|message| match message {
            ToGuest::Call { seed, wall_clock, input: Input::Run(_), first, rest, .. } => {
                clock::set_wall(wall_clock);
                random::seed(seed);
                Some((Vec::from(first), rest))
            }
            // For bytes of the call before.
            ToGuest::Credit(_) => None,
            other => panic!("a call was due, and {other:?} came"),
        });
        if let Some(called) = called {
            break called;
        }
    };
    if let Some(stream) = rest {
        host::read_all(stream, &mut argument, window)?;
    }
    String::from_utf8(argument).map_err(|error| format!("the argument is not UTF-8: {error}"))
}

/// Sends what a function answered.
fn send(answer: Answer, window: &mut Window) {
    let outcome = match &answer {
        Ok(text) => {
            window.queue(text.as_bytes());
            Outcome::Returned
        }
        Err(message) => Outcome::Trapped { trap: Trap::Wasm, message, backtrace: "" },
    };
    channel::send(&ToHost::Done(outcome));
}
