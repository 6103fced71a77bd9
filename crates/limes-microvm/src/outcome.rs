//! How a guest ended, in the terms of Limes.

use crate::channel::Broken;
use crate::watch::Watch;
use limes_channel::{Outcome, Trap};
use limes_core::{Contract, Error, ErrorKind, Limits};

/// What it means that the guest ended so: its exit code, 0 for a function that returned.
///
/// # Errors
/// It failed.
pub(crate) fn translate(
    outcome: &Outcome<'_>,
    contract: Contract,
    limits: &Limits,
    watch: &Watch,
) -> Result<i32, Error> {
    match outcome {
        Outcome::Returned => Ok(0),
        Outcome::Exited(code) if contract.is_command() => Ok(*code),
        Outcome::Exited(code) => {
            let failure = format!("the function exited with code {code} instead of answering");
            let failure = Error::new(ErrorKind::GuestFailure, "run guest", failure).with("exit_code", code);
            Err(watch.blame_denial(failure))
        }
        Outcome::Trapped { trap: Trap::StackOverflow, backtrace, .. } => {
            Err(Error::limit("run guest", "stack", limits.stack, "more").with("backtrace", backtrace))
        }
        Outcome::Trapped { trap, message, backtrace } => {
            let message = match trap {
                Trap::Panic => format!("the function's unikernel panicked: {message}"),
                Trap::Fault => format!("the function's machine faulted: {message}"),
                Trap::Wasm | Trap::StackOverflow => format!("the function trapped: {message}"),
            };
            let error = Error::new(ErrorKind::GuestTrap, "run guest", message).with("backtrace", backtrace);
            Err(watch.blame_denial(error))
        }
        Outcome::Limit { limit, asked } => Err(limit_error(limit, *asked, limits)),
        Outcome::Unfit(why) => Err(Error::new(
            ErrorKind::BadComponent,
            "instantiate",
            format!("the component does not run in a microVM: {why}"),
        )),
    }
}

fn limit_error(name: &str, asked: u64, limits: &Limits) -> Error {
    let (name, allowed) = match name {
        "memory" => ("memory", limits.memory),
        "table_elements" => ("table_elements", limits.table_elements),
        "instances" => ("instances", limits.instances.into()),
        "handles" => ("handles", limits.handles.into()),
        "stack" => ("stack", limits.stack),
        _ => return garbage("the name of a limit that is none"),
    };
    match asked {
        0 => Error::limit("run guest", name, allowed, "more"),
        asked => Error::limit("run guest", name, allowed, asked),
    }
}

/// The error for a guest that does not keep to the protocol.
pub(crate) fn garbage(what: &str) -> Error {
    Error::new(
        ErrorKind::GuestFailure,
        "run guest",
        format!("the function's machine sent {what}; it was ended"),
    )
}

/// The error for a channel that broke. `why` tells of the machine's process, where that is known.
pub(crate) fn broken(broken: &Broken, why: &str) -> Error {
    match broken {
        Broken::Garbage(what) => garbage(what),
        Broken::Gone(what) => Error::new(
            ErrorKind::Unavailable,
            "run guest",
            format!("the function's machine ended before it answered ({what}{why}); try again"),
        ),
    }
}
