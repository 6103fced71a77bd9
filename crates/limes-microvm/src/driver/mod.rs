//! One module a virtual machine monitor, behind one set of traits.

pub(crate) mod builtin;
pub(crate) mod console;
pub(crate) mod firecracker;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod qemu;
mod qemu_image;
mod watch;

use crate::budget::Lease;
use crate::channel::Channel;
use crate::timer::SETTLED;
use console::Console;
use limes_core::{BoxFuture, Control, Mode, Phase, Result, Vmm};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What a machine boots.
pub(crate) struct Boot {
    /// The unikernel.
    pub kernel: PathBuf,
    /// The artifact, where the unikernel takes one.
    pub initrd: Option<PathBuf>,
    /// Bytes.
    pub memory: u64,
    /// Set for an image of one's own.
    pub extras: Option<Extras>,
}

/// What a machine with an image of one's own has besides its kernel.
pub(crate) struct Extras {
    /// For the kernel.
    pub arguments: String,
    /// Its root drive, to be copied.
    pub drive: Option<PathBuf>,
    /// How it is reached.
    pub door: Door,
    /// Bytes of its console that are kept.
    pub console: u64,
}

/// How an image is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// It connects to its host's vsock.
    Vsock,
    /// It listens on a port of its network card.
    Port(u16),
}

/// A monitor that works here.
pub(crate) trait Driver: Send + Sync {
    /// Which one.
    fn vmm(&self) -> Vmm;

    /// The modes it knows, the one that `auto` means first.
    fn modes(&self) -> &'static [Mode];

    /// Readies what all machines of a function share.
    ///
    /// # Errors
    /// A file cannot be read, or the monitor does not take it.
    fn template(&self, boot: Boot) -> Result<Arc<dyn Template>>;
}

/// Where a machine's phases are recorded.
#[derive(Clone, Default)]
pub(crate) struct Phases(pub Option<Arc<Control>>);

impl Phases {
    pub fn record(&self, phase: Phase, took: Duration) {
        if let Some(control) = &self.0 {
            control.record(phase, took);
        }
    }
}

/// A machine that was started, and when.
pub(crate) type Started = (Channel, Box<dyn Monitor>, Instant);

/// What a machine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Calls.
    Calls,
    /// A [snapshot](Monitor::snapshot) of it.
    Snapshot,
}

/// Makes machines of one function.
pub(crate) trait Template: Send + Sync {
    /// A process with a machine in it that has not been started.
    fn configure(&self, purpose: Purpose, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>>;

    /// A machine for calls that was started as soon as its process was; its guest has not been heard of. With it comes when it was started.
    fn run(&self, phases: Phases) -> BoxFuture<'_, Result<Started>> {
        Box::pin(async move {
            let configured = self.configure(Purpose::Calls, phases).await?;
            let begun = Instant::now();
            let (channel, monitor) = configured.start().await?;
            Ok((channel, monitor, begun))
        })
    }
}

/// A machine that has not been started.
pub(crate) trait Configured: Send {
    /// Starts it; its guest has not been heard of.
    fn start(self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>>;

    /// The console of an image's machine, once.
    fn console(&mut self) -> Option<Console> {
        None
    }
}

/// A machine's state on which others are made.
pub(crate) trait Snapshot: Send + Sync {
    /// A machine in that state, going on from there.
    fn restore(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>>;
}

/// The monitor of one machine. Dropped, it ends the machine and its process at once, and leaves nothing behind.
pub(crate) trait Monitor: Send + Sync {
    /// Time that the monitor's process has computed; `None` when it is gone.
    fn computed(&self) -> Option<Duration>;

    /// What its guest computes, with nothing to wait for, before what it said of its answer stands.
    fn settles(&self) -> Duration {
        SETTLED
    }

    /// What is known of its end, as ` (…)`; empty when nothing is.
    fn why(&mut self) -> String;

    /// Takes the state of a machine that waits for a call. The machine itself is of no more use.
    ///
    /// # Errors
    /// The monitor does not know this, or failed.
    fn snapshot<'a>(&'a mut self, channel: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>>;

    /// Puts the machine back to the state it was restored from.
    ///
    /// # Errors
    /// The monitor does not know this, or failed.
    fn reset<'a>(&'a mut self, channel: &'a mut Channel) -> BoxFuture<'a, Result<()>>;

    /// Waits until the monitor's process has ended.
    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// A connection to the port of an image.
    ///
    /// # Errors
    /// It has none, or nobody listens there yet.
    fn connect(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// A machine whose guest waits for a call, or answers one.
pub(crate) struct Machine {
    pub channel: Channel,
    pub monitor: Box<dyn Monitor>,
    /// Whether its guest has handles of the last call's host, which mean nothing to the next one's.
    pub holds: bool,
    /// Its memory, until it is gone.
    pub _lease: Lease,
}
