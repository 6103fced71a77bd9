//! Starting another monitor's program so that it ends with its owner.
//!
//! What a process does between its start and its program's it does after a fork, which copies the page tables of the owner: several
//! milliseconds for a large one. So the owner starts this small program, without a fork, and this one turns into the other.

use rustix::process::{Pid, Signal};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The command that runs `program` through `launcher`, the program `limes-vmm`. Its arguments may follow.
///
/// The program is killed when the thread that starts it ends; nothing but its standard streams is open in it.
pub fn command(launcher: &Path, program: &Path) -> Command {
    let mut command = Command::new(launcher);
    command.arg(std::process::id().to_string()).arg(program);
    command
}

/// The whole program: becomes the program that the arguments name, or says why not.
#[doc(hidden)]
pub fn main(owner: &OsStr, mut arguments: impl Iterator<Item = OsString>) {
    let Some(program) = arguments.next() else {
        eprintln!(
            "limes-vmm is started by Limes; with arguments, they are the owner's process and a program"
        );
        std::process::exit(2);
    };
    crate::process::close_inherited();
    let error = match end_with_owner(owner) {
        Ok(()) => Command::new(&program).args(arguments).exec(),
        Err(error) => error,
    };
    eprintln!("cannot run `{}`: {error}", program.display());
    std::process::exit(127);
}

fn end_with_owner(owner: &OsStr) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before.
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    let owner = owner.to_str().and_then(|owner| owner.parse::<std::num::NonZeroI32>().ok());
    if owner.is_none() || parent != owner {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "its owner is gone"));
    }
    Ok(())
}
