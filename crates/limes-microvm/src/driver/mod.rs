//! One module a virtual machine monitor, behind one set of traits.

pub(crate) mod builtin;
pub(crate) mod firecracker;
pub(crate) mod process;
pub(crate) mod qemu;
mod watch;

use crate::budget::Lease;
use crate::channel::Channel;
use limes_core::{BoxFuture, Control, Mode, Phase, Result, Vmm};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a machine boots.
pub(crate) struct Boot {
    /// The unikernel.
    pub kernel: PathBuf,
    /// The artifact.
    pub initrd: PathBuf,
    /// Bytes.
    pub memory: u64,
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
    fn run(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>, Instant)>> {
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
}

/// A machine whose guest waits for a call, or answers one.
pub(crate) struct Machine {
    pub channel: Channel,
    pub monitor: Box<dyn Monitor>,
    /// Its memory, until it is gone.
    pub _lease: Lease,
}
