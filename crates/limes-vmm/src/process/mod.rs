//! The process that holds one machine.

mod jail;
mod machine;
mod memory;

use crate::control::{self, Order, Report};
use machine::Machine;
use rustix::event::{PollFd, PollFlags};
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
    jail::close_inherited();
    let mut machine = Machine::new()?;
    let pagemap = File::open("/proc/self/pagemap")?;
    jail::enclose()?;
    watch(socket.try_clone_to_owned()?)?;
    jail::restrict()?;
    while let Some((order, descriptors)) = control::receive::<Order>(socket, RecvFlags::empty())? {
        match order {
            Order::Load(layout) => {
                let [image, rings]: [OwnedFd; 2] =
                    descriptors.try_into().map_err(|_| io::Error::other("a load without its descriptors"))?;
                machine.load(layout, image, &rings)?;
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

/// Ends the process when its owner is gone, whatever the guest is doing then. Returns once that is being watched for: a thread that
/// starts makes system calls which are not allowed later.
fn watch(socket: OwnedFd) -> io::Result<()> {
    let (started, starting) = std::sync::mpsc::sync_channel(0);
    std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
        let _ = started.send(());
        loop {
            let mut polled = [PollFd::new(&socket, PollFlags::HUP)];
            if rustix::event::poll(&mut polled, None).is_ok() && polled[0].revents().contains(PollFlags::HUP)
            {
                std::process::exit(0);
            }
        }
    })?;
    starting.recv().map_err(io::Error::other)
}
