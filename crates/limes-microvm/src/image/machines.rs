//! The machines of an image: made as its mode says, one a call.

use super::{port, spare};
use crate::budget::{Budget, Lease, Taken};
use crate::channel::Channel;
use crate::driver::console::Console;
use crate::driver::process::Place;
use crate::driver::{Configured, Door, Monitor, Phases, Purpose, Template};
use crate::pool::{Pools, Waiting};
use limes_core::{Control, Error, ErrorKind, Isolation, MicroVm, Mode, Phase, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;

/// How long an image may take to be ready when it is loaded, or made ahead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Machines kept waiting in the mode `warm` when the manifest names no number.
const WARM: u32 = 2;

/// The modes that images have, the one that `auto` means first.
const MODES: [Mode; 3] = [Mode::PreConfigured, Mode::EndToEnd, Mode::Warm];

/// What a machine's image is spoken to through.
pub(super) enum Open {
    Vsock(UnixStream),
    /// A connection that was made and not used yet.
    Port(Option<TcpStream>),
}

/// A machine whose image waits for a call.
pub(crate) struct Machine {
    pub(super) open: Open,
    pub(super) monitor: Box<dyn Monitor>,
    _lease: Lease,
}

/// A machine that was made before its call.
enum Ahead {
    Ready(Machine, Option<Console>),
    Configured(Box<dyn Configured>, Lease),
}

/// What the machines of an image are made of.
pub(crate) struct Parts {
    pub template: Arc<dyn Template>,
    pub door: Door,
    pub settings: MicroVm,
    pub memory: u64,
    pub budget: Arc<Budget>,
    pub all: Arc<Pools>,
    pub background: Handle,
    pub place: Arc<Place>,
}

/// The machines of one image.
pub(crate) struct Machines {
    template: Arc<dyn Template>,
    door: Door,
    mode: Mode,
    pub(super) isolation: Isolation,
    /// Bytes of one machine.
    memory: u64,
    warm: usize,
    budget: Arc<Budget>,
    all: Arc<Pools>,
    background: Handle,
    ready: Mutex<Vec<(Machine, Option<Console>)>>,
    configured: Mutex<Vec<(Box<dyn Configured>, Lease)>>,
    /// The image's own folder, with its kernel.
    _place: Arc<Place>,
}

impl Machines {
    /// Starts one machine to see that the image is ready in it.
    ///
    /// # Errors
    /// Images do not have the mode or the isolation, or the machine does not start, or the image is not ready in time.
    pub async fn new(parts: Parts) -> Result<Arc<Self>> {
        let Parts { template, door, settings, memory, budget, all, background, place } = parts;
        let machines = Arc::new(Self {
            template,
            door,
            mode: mode(settings.mode)?,
            isolation: isolation(settings.isolation, door)?,
            memory,
            warm: settings.warm.unwrap_or(WARM) as usize,
            budget,
            all: all.clone(),
            background,
            ready: Mutex::default(),
            configured: Mutex::default(),
            _place: place,
        });
        let deadline = Instant::now() + PATIENCE;
        let mut said = None;
        let phases = Phases::default();
        let begun = machines.begin(&phases, deadline, &mut said, None);
        match tokio::time::timeout_at(deadline.into(), begun).await {
            Ok(Ok(machine)) if machines.mode == Mode::Warm => machines.ready.lock().push((machine, said)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::GuestFailure => {
                return Err(unfit(error.message(), said.as_ref()).from_source(error));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let silent = format!("it was not ready after {} s", PATIENCE.as_secs());
                return Err(unfit(&silent, said.as_ref()));
            }
        }
        let waiting: Arc<dyn Waiting> = machines.clone();
        all.add(&waiting);
        machines.budget.tell();
        machines.refill();
        Ok(machines)
    }

    /// A machine whose image is ready. Its console is `said`, from before it is.
    ///
    /// # Errors
    /// There is no memory for it by `deadline`, it does not start, or its image says what is not due.
    pub async fn take(
        self: &Arc<Self>,
        phases: &Phases,
        control: &Arc<Control>,
        deadline: Instant,
        said: &mut Option<Console>,
    ) -> Result<Machine> {
        let machine = self.begin(phases, deadline, said, Some(control)).await;
        self.refill();
        machine
    }

    async fn begin(
        &self,
        phases: &Phases,
        deadline: Instant,
        said: &mut Option<Console>,
        control: Option<&Arc<Control>>,
    ) -> Result<Machine> {
        let taken = self.budget.take(self.memory, deadline, || self.ahead(), || self.all.make_room()).await?;
        let (mut configured, lease) = match taken {
            Taken::Machine(Ahead::Ready(machine, console)) => {
                *said = console;
                if let (Some(said), Some(control)) = (said.as_ref(), control) {
                    said.follow(control.clone());
                }
                return Ok(machine);
            }
            Taken::Machine(Ahead::Configured(configured, lease)) => (configured, lease),
            Taken::Memory(lease) => (self.template.configure(Purpose::Calls, phases.clone()).await?, lease),
        };
        *said = configured.console();
        if let (Some(said), Some(control)) = (said.as_ref(), control) {
            said.follow(control.clone());
        }
        let begun = Instant::now();
        let (channel, mut monitor) = configured.start().await?;
        let opened = self.open(channel, &*monitor).await;
        let open = opened.map_err(|error| super::explain(error, &mut *monitor))?;
        phases.record(Phase::Boot, begun.elapsed());
        Ok(Machine { open, monitor, _lease: lease })
    }

    /// The furthest of what was made ahead.
    fn ahead(&self) -> Option<Ahead> {
        if let Some((machine, said)) = self.ready.lock().pop() {
            return Some(Ahead::Ready(machine, said));
        }
        let (configured, lease) = self.configured.lock().pop()?;
        Some(Ahead::Configured(configured, lease))
    }

    /// Waits until the image is ready.
    async fn open(&self, channel: Channel, monitor: &dyn Monitor) -> Result<Open> {
        match (self.door, channel.into_socket()) {
            (Door::Port(_), _) => port::reach(monitor).await.map(|socket| Open::Port(Some(socket))),
            (Door::Vsock, Some(mut socket)) => {
                spare::ready(&mut socket, monitor).await?;
                Ok(Open::Vsock(socket))
            }
            (Door::Vsock, None) => Err(super::gone("it has no socket")),
        }
    }

    /// Takes back a machine that is used again.
    pub(super) fn put_back(&self, machine: Machine, said: Option<Console>) {
        if let Some(said) = &said {
            said.leave();
        }
        self.ready.lock().push((machine, said));
        self.budget.tell();
    }

    /// Makes what the mode keeps ahead, as much as memory allows, without anybody waiting.
    fn refill(self: &Arc<Self>) {
        let (wanted, have) = match self.mode {
            Mode::Warm => (self.warm, self.ready.lock().len()),
            Mode::PreConfigured => (1, self.configured.lock().len()),
            _ => return,
        };
        for _ in have..wanted {
            let Some(lease) = self.budget.try_take(self.memory) else { return };
            let machines = Arc::downgrade(self);
            self.background.spawn(async move {
                let Some(machines) = machines.upgrade() else { return };
                let made = tokio::time::timeout(PATIENCE, machines.make_ahead(lease)).await;
                if let Ok(Err(error)) = made {
                    tracing::debug!(%error, "a machine for later calls did not start");
                }
            });
        }
    }

    async fn make_ahead(&self, lease: Lease) -> Result<()> {
        let mut configured = self.template.configure(Purpose::Calls, Phases::default()).await?;
        if self.mode == Mode::PreConfigured {
            let mut ahead = self.configured.lock();
            if ahead.is_empty() {
                ahead.push((configured, lease));
            }
            drop(ahead);
            self.budget.tell();
            return Ok(());
        }
        let said = configured.console();
        let (channel, monitor) = configured.start().await?;
        let open = self.open(channel, &*monitor).await?;
        let mut ready = self.ready.lock();
        if ready.len() < self.warm {
            ready.push((Machine { open, monitor, _lease: lease }, said));
        }
        drop(ready);
        self.budget.tell();
        Ok(())
    }
}

impl Waiting for Machines {
    fn end_one(&self) -> bool {
        let ready = self.ready.lock().pop();
        let configured = ready.is_none().then(|| self.configured.lock().pop()).flatten();
        ready.is_some() || configured.is_some()
    }
}

fn mode(asked: Mode) -> Result<Mode> {
    match asked {
        Mode::Auto => Ok(MODES[0]),
        mode if MODES.contains(&mode) => Ok(mode),
        mode => Err(Error::new(
            ErrorKind::InvalidArgument,
            "start microVM",
            format!(
                "`microvm.mode` is {mode}, which images do not have: a snapshot would cut their connections; they have {}",
                MODES.map(Mode::name).join(", ")
            ),
        )),
    }
}

fn isolation(asked: Isolation, door: Door) -> Result<Isolation> {
    if asked == Isolation::Reuse && door == Door::Vsock {
        let message = "`microvm.isolation` is reuse; SPARE's protocol has one call a machine";
        return Err(Error::new(ErrorKind::InvalidArgument, "start microVM", message));
    }
    Ok(asked)
}

fn unfit(why: &str, said: Option<&Console>) -> Error {
    let words = said.map(Console::last_words).filter(|words| !words.is_empty());
    let words = words.map(|words| format!("; its console said: {words}")).unwrap_or_default();
    let message = format!("the image does not run as `microvm.image` says: {why}{words}");
    Error::new(ErrorKind::BadComponent, "start microVM", message)
}
