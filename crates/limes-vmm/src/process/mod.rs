//! The process that holds one machine.

mod jail;
mod machine;
mod memory;

use crate::control::{self, Order, Report};
pub(crate) use jail::close_inherited;
use machine::Machine;
use rustix::net::RecvFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The whole program. The socket is standard input.
pub fn main() {
    let socket = io::stdin();
    let socket = socket.as_fd();
    if let Err(error) = serve(socket) {
        let _ = control::send(socket, &Report::Failed(error.to_string()), &[]);
    }
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    close_inherited();
    let mut machine = Machine::new()?;
    let pagemap = File::open("/proc/self/pagemap")?;
    jail::enclose()?;
    // Whatever the guest is doing then. An owner that is gone already is noticed at the first look at the socket.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    jail::restrict()?;
    while let Some((order, descriptors)) = control::receive::<Order>(socket, RecvFlags::empty())? {
        match order {
            Order::Prepare(room) => machine.prepare(room, &only(descriptors)?)?,
            Order::Load(layout) => {
                machine.load(layout, &only(descriptors)?)?;
                control::send(socket, &Report::Loaded, &[])?;
            }
            Order::Resume => {
                let report = match machine.run()? {
                    Ok(()) => Report::Waiting,
                    Err(fault) => Report::Stopped(fault),
                };
                control::send(socket, &report, &[])?;
            }
            Order::Reset => {
                machine.reset(&pagemap)?;
                control::send(socket, &Report::Reset, &[])?;
            }
            Order::Snapshot => {
                let (memory, extents, registers) = machine.snapshot(&pagemap)?;
                control::send(socket, &Report::Snapshot { extents, registers }, &[memory.as_fd()])?;
            }
        }
    }
    Ok(())
}

fn only(descriptors: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    descriptors.into_iter().next().ok_or_else(|| io::Error::other("an order without its descriptor"))
}
