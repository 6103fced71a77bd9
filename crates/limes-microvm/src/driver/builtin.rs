//! The built-in monitor: a jailed process a machine, a ring in shared memory as the channel.

#[cfg(test)]
mod tests;

use super::process::{on_starter, reap};
use super::{Boot, Configured, Driver, Monitor, Phases, Purpose, Snapshot, Template};
use crate::channel::{Channel, Link};
use crate::timer::{Lookout, SETTLED};
use limes_channel::ring::CAPACITY;
use limes_core::{BoxFuture, Error, ErrorKind, Mode, Phase, Result, Vmm};
use limes_vmm::{Event, Image, Worker};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::poll_proceed;

/// Processes that wait for a machine to be asked for.
const SPARE: usize = 4;

/// How long a process may take for one order.
const PATIENCE: Duration = Duration::from_secs(10);

/// The built-in monitor's program.
pub(crate) struct Builtin {
    spare: Arc<Spare>,
}

impl Builtin {
    pub fn new(binary: PathBuf) -> Self {
        Self { spare: Arc::new(Spare { binary, waiting: Mutex::default() }) }
    }
}

/// Processes started ahead.
struct Spare {
    binary: PathBuf,
    waiting: Mutex<Vec<Worker>>,
}

impl Spare {
    /// A process, with room for `memory` bytes if one waits.
    fn take(self: &Arc<Self>, memory: u64) -> Result<Worker> {
        let mut found = self.pop(memory);
        // One that has died while it waited is no use.
        while let Some(Err(_)) = found.as_ref().map(Worker::event) {
            found = self.pop(memory);
        }
        match found {
            Some(worker) => Ok(worker),
            None => start(&self.binary, memory),
        }
    }

    fn pop(&self, memory: u64) -> Option<Worker> {
        let mut waiting = self.waiting.lock();
        let fits = waiting.iter().rposition(|worker| worker.room() == memory);
        fits.map(|fits| waiting.swap_remove(fits)).or_else(|| waiting.pop())
    }

    /// Starts processes in the background, with room for what was last asked for.
    fn refill(self: &Arc<Self>, memory: u64) {
        let spare = Arc::downgrade(self);
        on_starter(move || {
            while let Some(spare) = spare.upgrade() {
                if spare.waiting.lock().len() >= SPARE {
                    break;
                }
                match Worker::start(&spare.binary, memory) {
                    Ok(worker) => spare.waiting.lock().push(worker),
                    Err(_) => break,
                }
            }
        });
    }
}

fn start(binary: &Path, memory: u64) -> Result<Worker> {
    let (done, started) = std::sync::mpsc::channel();
    let path = binary.to_owned();
    on_starter(move || {
        let _ = done.send(Worker::start(&path, memory));
    });
    let started = started.recv().map_err(io::Error::other).and_then(|started| started);
    started.map_err(|error| unavailable(format!("cannot start `{}`", binary.display())).from_source(error))
}

fn unavailable(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "start microVM", message)
}

impl Driver for Builtin {
    fn vmm(&self) -> Vmm {
        Vmm::Builtin
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Reset, Mode::Warm, Mode::Snapshot, Mode::PreConfigured, Mode::EndToEnd]
    }

    fn template(&self, boot: Boot) -> Result<Arc<dyn Template>> {
        if boot.extras.is_some() {
            let message = "the built-in monitor boots Limes' own unikernels; an image of your own needs vmm = \"firecracker\" or \"qemu\"";
            return Err(Error::new(ErrorKind::InvalidArgument, "start microVM", message));
        }
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                Error::new(ErrorKind::Io, "start microVM", format!("cannot read `{}`", path.display()))
                    .from_source(error)
            })
        };
        let kernel = read(&boot.kernel)?;
        let artifact = boot.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
        let image = Image::build(&kernel, &artifact, boot.memory).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "start microVM", "the machine cannot be laid out")
                .from_source(error)
        })?;
        self.spare.refill(image.ram());
        Ok(Arc::new(State { image, spare: self.spare.clone() }))
    }
}

/// A machine's memory and registers: before its first instruction, or at any later point.
struct State {
    image: Image,
    spare: Arc<Spare>,
}

impl State {
    async fn load(&self, phases: &Phases) -> Result<Loaded> {
        let begun = Instant::now();
        let worker = self.spare.take(self.image.ram())?;
        phases.record(Phase::Process, begun.elapsed());
        match self.load_into(worker, phases).await {
            Ok(loaded) => Ok(loaded),
            // A process that waited may have died a moment ago; one that is started now has not.
            Err(error) => {
                tracing::debug!(%error, "loading a machine once more");
                self.load_into(start(&self.spare.binary, self.image.ram())?, phases).await
            }
        }
    }

    async fn load_into(&self, worker: Worker, phases: &Phases) -> Result<Loaded> {
        let begun = Instant::now();
        let mut ring = Ring::new(worker);
        ring.attach().map_err(lost)?;
        ring.worker().load(&self.image).map_err(lost)?;
        match ring.answer().await? {
            Event::Loaded => {}
            other => return Err(unexpected(&other)),
        }
        phases.record(Phase::Create, begun.elapsed());
        let pid = ring.worker().pid();
        Ok(Loaded { ring, monitor: Machine { pid, memory: self.image.ram(), spare: self.spare.clone() } })
    }
}

fn lost(error: io::Error) -> Error {
    unavailable("the machine's process is gone".into()).from_source(error)
}

fn unexpected(event: &Event) -> Error {
    let message = match event {
        Event::Failed(message) => format!("the machine's process failed: {message}"),
        other => format!("the machine's process said {other:?}"),
    };
    unavailable(message)
}

struct Loaded {
    ring: Ring,
    monitor: Machine,
}

impl Template for State {
    fn configure(&self, _: Purpose, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move { Ok(Box::new(self.load(&phases).await?) as Box<dyn Configured>) })
    }
}

impl Configured for Loaded {
    fn start(self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        // It runs once there is something to read for it.
        Box::pin(async move {
            let mut channel = Channel::new(Link::Ring(Box::new(self.ring)));
            channel.attach().map_err(lost)?;
            Ok((channel, Box::new(self.monitor) as Box<dyn Monitor>))
        })
    }
}

impl Snapshot for State {
    fn restore(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            let Loaded { ring, monitor } = self.load(&phases).await?;
            Ok((Channel::new(Link::Ring(Box::new(ring))), Box::new(monitor) as Box<dyn Monitor>))
        })
    }
}

/// What is known of a machine beside its channel, which holds the process.
struct Machine {
    pid: u32,
    /// Bytes.
    memory: u64,
    spare: Arc<Spare>,
}

impl Drop for Machine {
    /// Its process is replaced when it is done, and not when it was taken: the start of another would be in the way of the call.
    fn drop(&mut self) {
        self.spare.refill(self.memory);
    }
}

fn ring_of(channel: &mut Channel) -> Result<&mut Ring> {
    channel.ring().ok_or_else(|| unavailable("the machine has no ring".into()))
}

impl Monitor for Machine {
    fn computed(&self) -> Option<Duration> {
        super::process::computed(self.pid)
    }

    fn why(&mut self) -> String {
        String::new()
    }

    fn snapshot<'a>(&'a mut self, channel: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async move {
            let ring = ring_of(channel)?;
            ring.waits().await?;
            ring.worker().snapshot().map_err(lost)?;
            match ring.answer().await? {
                Event::Snapshot(image) => {
                    Ok(Arc::new(State { image, spare: self.spare.clone() }) as Arc<dyn Snapshot>)
                }
                other => Err(unexpected(&other)),
            }
        })
    }

    fn reset<'a>(&'a mut self, channel: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let ring = ring_of(channel)?;
            ring.waits().await?;
            ring.worker().reset().map_err(lost)?;
            match ring.answer().await? {
                Event::Reset => {}
                other => return Err(unexpected(&other)),
            }
            ring.was_full = false;
            channel.restart();
            Ok(())
        })
    }
}

/// The descriptor of a worker's events, for the reactor.
struct Events(RawFd);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// The ring of one machine, and the process that runs it.
///
/// The machine runs until it has nothing left to read, or no room to write; the process then says so, and it goes on when that has changed.
pub(crate) struct Ring {
    /// Before the worker, whose descriptor it watches.
    events: Option<AsyncFd<Events>>,
    /// `None` only while it is being dropped.
    worker: Option<Worker>,
    running: bool,
    /// Whether the guest may have found no room since it was last resumed.
    was_full: bool,
    /// An event that answers an order, not yet taken.
    answered: Option<Event>,
    /// Whether what a running guest has written is read before it waits.
    ahead: bool,
    lookout: Lookout,
}

impl Ring {
    fn new(worker: Worker) -> Self {
        Self {
            events: None,
            worker: Some(worker),
            running: false,
            was_full: false,
            answered: None,
            ahead: false,
            lookout: Lookout::default(),
        }
    }

    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("taken only when this is dropped")
    }

    pub fn attach(&mut self) -> io::Result<()> {
        if self.events.is_none() {
            let descriptor = self.worker().fd().as_raw_fd();
            // SAFETY: the descriptor is the worker's, which outlives this: both drops of the ring take the events first.
            let events = unsafe { AsyncFd::register_with_interest(Events(descriptor), Interest::READABLE) };
            self.events = Some(events.map_err(io::Error::from)?);
        }
        Ok(())
    }

    pub fn detach(&mut self) {
        self.events = None;
        self.lookout = Lookout::default();
    }

    /// Takes events until one changes what can be done. Each is charged to the task, as a [frame](Channel::next) is.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let charge = ready!(poll_proceed(cx));
        let event = ready!(self.poll_any_event(cx));
        charge.made_progress();
        Poll::Ready(event)
    }

    fn poll_any_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let event = match self.worker().event() {
                Ok(event) => event,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(io::Error::new(error.kind(), "its process is gone")));
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            match event {
                Some(Event::Waiting) => {
                    self.running = false;
                    return Poll::Ready(Ok(()));
                }
                Some(Event::Stopped(fault)) => {
                    return Poll::Ready(Err(io::Error::other(format!("the machine stopped: {fault:?}"))));
                }
                Some(Event::Failed(message)) => return Poll::Ready(Err(io::Error::other(message))),
                Some(event) => {
                    self.answered = Some(event);
                    return Poll::Ready(Ok(()));
                }
                None => {}
            }
            let Some(events) = &self.events else {
                return Poll::Ready(Err(io::Error::other("the machine's events are not watched")));
            };
            ready!(events.poll_read_ready(cx))?.clear_ready();
            // Something may have come before the readiness was cleared; the loop looks again.
            if let Some(event) = self.worker().event()? {
                match event {
                    Event::Waiting => self.running = false,
                    Event::Stopped(fault) => {
                        return Poll::Ready(Err(io::Error::other(format!("the machine stopped: {fault:?}"))));
                    }
                    Event::Failed(message) => return Poll::Ready(Err(io::Error::other(message))),
                    event => self.answered = Some(event),
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether a machine that waits for a call still has its process.
    pub fn lives(&mut self) -> bool {
        match self.worker().event() {
            Ok(None) => true,
            Ok(Some(Event::Waiting)) => {
                self.running = false;
                true
            }
            Ok(Some(_)) | Err(_) => false,
        }
    }

    fn resume(&mut self) -> io::Result<()> {
        self.was_full = false;
        self.running = true;
        self.ahead = false;
        self.lookout.restart();
        self.worker().resume()
    }

    /// Bytes read from the guest; waits for some.
    ///
    /// A guest that runs may yet fail, and then what it wrote a moment before is no answer: it is not read until the guest waits, or has
    /// computed for a while.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            while self.running && !self.ahead {
                if self.poll_event(cx)?.is_pending() && self.poll_look(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            let end = self.worker().to_host();
            let readable = end.readable().map_err(io::Error::other)?;
            if readable > 0 {
                let count = end.read(into).map_err(io::Error::other)?;
                // A guest that runs may fill the ring while it is read. One that found room is resumed for nothing, and waits again.
                self.was_full |= self.running || readable == CAPACITY;
                return Poll::Ready(Ok(count));
            }
            let unread = self.worker().to_guest().writable().map_err(io::Error::other)? < CAPACITY;
            if !self.running && (self.was_full || unread) {
                self.resume()?;
            }
            if self.poll_event(cx)?.is_pending() && (!self.running || self.poll_look(cx).is_pending()) {
                return Poll::Pending;
            }
        }
    }

    /// A guest that computes says nothing of what it has written: it is looked after now and then.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pid = self.worker().pid();
        self.ahead |= ready!(self.lookout.poll(cx, || super::process::computed(pid))) >= SETTLED;
        Poll::Ready(())
    }

    /// Bytes written for the guest; waits for room.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let count = self.worker().to_guest().write(bytes).map_err(io::Error::other)?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if !self.running {
                self.resume()?;
            }
            ready!(self.poll_event(cx))?;
        }
    }

    /// Lets the guest read what was written, if it waits.
    pub fn poll_resume(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.running {
            self.resume()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the machine waits.
    async fn waits(&mut self) -> Result<()> {
        while self.running {
            self.wait().await?;
        }
        Ok(())
    }

    /// The answer to the order that was given last.
    async fn answer(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.answered.take() {
                return Ok(event);
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let event = std::future::poll_fn(|cx| self.poll_event(cx));
        match tokio::time::timeout(PATIENCE, event).await {
            Ok(waited) => waited.map_err(lost),
            Err(_) => Err(unavailable("the machine's process does not answer".into())),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.events = None;
        if let Some(worker) = self.worker.take() {
            reap(Box::new(worker));
        }
    }
}
