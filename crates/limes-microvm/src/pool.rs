//! The machines of one function: made as its mode says, given out one a call, put back or ended after it.

use crate::budget::{Budget, Lease, Taken};
use crate::channel::{Channel, Window};
use crate::driver::process::Place;
use crate::driver::{Configured, Driver, Machine, Monitor, Phases, Purpose, Snapshot, Template};
use crate::input::wall_clock;
use crate::outcome::{broken, garbage, translate};
use crate::services::Services;
use crate::watch::Watch;
use limes_channel::{Decode, Output, ToGuest, ToHost, VERSION};
use limes_core::{Contract, Error, ErrorKind, Isolation, Limits, LogStream, MicroVm, Mode, Phase, Result};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Mutex as AsyncMutex;

/// Machines kept waiting in the mode `warm` when the manifest names no number.
const WARM: u32 = 2;

/// How long a machine may take that is made before any request waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Failures of a first machine that are not the function's own doing, or that each call would meet.
const STARTS_NOWHERE: [ErrorKind; 4] =
    [ErrorKind::Unavailable, ErrorKind::Overloaded, ErrorKind::BadComponent, ErrorKind::UnsupportedContract];

/// What all machines of a function are told first.
pub(crate) struct Loading {
    pub contract: Contract,
    pub export: String,
    pub memories_move: bool,
    pub limits: Arc<Limits>,
    /// The program's name and the granted arguments.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub tsc_hz: u64,
}

/// Who keeps machines that only wait.
pub(crate) trait Waiting: Send + Sync {
    /// Ends one of them; whether there was one.
    fn end_one(&self) -> bool;
}

/// All pools of a process: who can make room when memory is short.
#[derive(Default)]
pub(crate) struct Pools(Mutex<Vec<Weak<dyn Waiting>>>);

impl Pools {
    pub fn add(&self, pool: &Arc<dyn Waiting>) {
        let mut pools = self.0.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Ends one machine that only waits, of whichever function; whether there was one.
    pub fn make_room(&self) -> bool {
        let pools: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        pools.iter().any(|pool| pool.end_one())
    }
}

/// The machines of one function.
pub(crate) struct Pool {
    template: Arc<dyn Template>,
    loading: Loading,
    mode: Mode,
    isolation: Isolation,
    /// Bytes of one machine.
    memory: u64,
    warm: usize,
    budget: Arc<Budget>,
    all: Arc<Pools>,
    background: Handle,
    snapshot: AsyncMutex<Option<Arc<dyn Snapshot>>>,
    /// Set when the function asked its host for something before it was called, or failed: it then cannot be started ahead.
    not_ahead: AtomicBool,
    idle: Mutex<Vec<Machine>>,
    configured: Mutex<Vec<(Box<dyn Configured>, Lease)>>,
    /// The function's own folder, with what its machines boot.
    _place: Arc<Place>,
}

/// What a pool is made of.
pub(crate) struct Parts {
    pub driver: Arc<dyn Driver>,
    pub template: Arc<dyn Template>,
    pub loading: Loading,
    pub settings: MicroVm,
    pub memory: u64,
    pub budget: Arc<Budget>,
    pub all: Arc<Pools>,
    pub background: Handle,
    pub place: Arc<Place>,
}

impl Pool {
    /// Makes the pool, and starts one machine of it to see that the function runs.
    ///
    /// # Errors
    /// The monitor does not know the mode, or the machine does not start, or the function not in it.
    pub async fn new(parts: Parts) -> Result<Arc<Self>> {
        let Parts { driver, template, loading, settings, memory, budget, all, background, place } = parts;
        let known = driver.modes();
        let mode = match settings.mode {
            Mode::Auto => known[0],
            mode if known.contains(&mode) => mode,
            mode => return Err(unknown_mode(&*driver, mode)),
        };
        let pool = Arc::new(Self {
            warm: settings.warm.unwrap_or(WARM) as usize,
            isolation: settings.isolation,
            template,
            loading,
            mode,
            memory,
            budget,
            background,
            snapshot: AsyncMutex::new(None),
            not_ahead: AtomicBool::new(false),
            idle: Mutex::default(),
            configured: Mutex::default(),
            all: all.clone(),
            _place: place,
        });
        let watch = Watch::new(limes_core::Control::new(0, Arc::new(Unobserved)), Arc::default());
        let deadline = Instant::now() + PATIENCE;
        let mut services = Services::new(watch.clone(), &pool.loading.limits);
        let phases = Phases::default();
        let first = pool.boot(&phases, &mut services, &watch, deadline);
        let first = tokio::time::timeout_at(deadline.into(), first).await.map_err(|_| silent());
        match first? {
            Ok(machine) if pool.uses_snapshot() => pool.keep(machine).await?,
            Ok(_) => {}
            Err(error) if STARTS_NOWHERE.contains(&error.kind()) => return Err(error),
            // It is the function's own failure, which each of its calls reports.
            Err(_) => pool.not_ahead.store(true, Ordering::Relaxed),
        }
        let waiting: Arc<dyn Waiting> = pool.clone();
        all.add(&waiting);
        pool.refill();
        Ok(pool)
    }

    fn uses_snapshot(&self) -> bool {
        matches!(self.mode, Mode::Snapshot | Mode::Reset | Mode::Warm)
            && !self.not_ahead.load(Ordering::Relaxed)
    }

    /// A machine that waits for a call.
    ///
    /// # Errors
    /// There is no memory for it by `deadline`, or it does not start.
    pub async fn acquire(
        self: &Arc<Self>,
        phases: &Phases,
        services: &mut Services,
        watch: &Watch,
        deadline: Instant,
    ) -> Result<Machine> {
        if !self.uses_snapshot() {
            return self.boot(phases, services, watch, deadline).await;
        }
        match self.take(deadline, || self.take_idle()).await? {
            Taken::Machine(machine) => Ok(machine),
            Taken::Memory(lease) => self.restore(phases, lease).await,
        }
    }

    /// A machine that waits for a call, if there is one whose process has not died meanwhile.
    fn take_idle(&self) -> Option<Machine> {
        loop {
            let mut machine = self.idle.lock().pop()?;
            if machine.channel.lives() && machine.channel.attach().is_ok() {
                return Some(machine);
            }
        }
    }

    async fn take<M>(&self, deadline: Instant, waiting: impl Fn() -> Option<M>) -> Result<Taken<M>> {
        self.budget.take(self.memory, deadline, waiting, || self.all.make_room()).await
    }

    async fn restore(&self, phases: &Phases, lease: Lease) -> Result<Machine> {
        let snapshot = self.snapshot.lock().await.clone();
        let Some(snapshot) = snapshot else {
            return Err(Error::new(ErrorKind::Internal, "start microVM", "the function has no snapshot"));
        };
        let (channel, monitor) = snapshot.restore(phases.clone()).await?;
        Ok(Machine { channel, monitor, holds: false, _lease: lease })
    }

    /// A machine from nothing, or from one that was configured ahead.
    async fn boot(
        self: &Arc<Self>,
        phases: &Phases,
        services: &mut Services,
        watch: &Watch,
        deadline: Instant,
    ) -> Result<Machine> {
        let taken = self.take(deadline, || self.configured.lock().pop()).await?;
        let (configured, lease) = match taken {
            Taken::Machine((configured, lease)) => (Some(configured), lease),
            Taken::Memory(lease) => {
                let configured = match self.purpose() {
                    Some(purpose) => Some(self.template.configure(purpose, phases.clone()).await?),
                    None => None,
                };
                (configured, lease)
            }
        };
        self.refill();
        let begun = Instant::now();
        let (mut channel, mut monitor, begun) = match configured {
            Some(configured) => {
                let (channel, monitor) = configured.start().await?;
                (channel, monitor, begun)
            }
            None => self.template.run(phases.clone()).await?,
        };
        let instantiated = self.instantiate(&mut channel, &mut *monitor, services, watch).await?;
        phases.record(Phase::Instantiate, instantiated);
        phases.record(Phase::Boot, begun.elapsed().saturating_sub(instantiated));
        Ok(Machine { channel, monitor, holds: false, _lease: lease })
    }

    /// What a machine is configured for that is made now; `None` for one that is started with its process.
    fn purpose(&self) -> Option<Purpose> {
        match self.mode {
            _ if self.uses_snapshot() => Some(Purpose::Snapshot),
            Mode::PreConfigured => Some(Purpose::Calls),
            _ => None,
        }
    }

    /// Has a guest that was just started instantiate the function; gives the time that took it.
    async fn instantiate(
        &self,
        channel: &mut Channel,
        monitor: &mut dyn Monitor,
        services: &mut Services,
        watch: &Watch,
    ) -> Result<Duration> {
        let Loading { contract, export, memories_move, limits, args, env, tsc_hz } = &self.loading;
        channel.send(&ToGuest::Load {
            version: VERSION,
            contract: shape(*contract),
            export,
            memories_move: *memories_move,
            limits: limes_channel::Limits {
                memory: limits.memory,
                table_elements: limits.table_elements,
                instances: limits.instances,
                stack: limits.stack,
                handles: limits.handles,
            },
            args: args.iter().map(String::as_str).collect(),
            env: env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            tsc_hz: *tsc_hz,
            seed: rand::random(),
            wall_clock: wall_clock(),
        });
        let window = Window::default();
        let mut written = 0;
        loop {
            if let Err(failure) = channel.flush().await {
                return Err(broken(&failure, &monitor.why()));
            }
            let payload = match channel.next().await {
                Ok(payload) => payload,
                Err(failure) => return Err(broken(&failure, &monitor.why())),
            };
            match ToHost::decode(&payload).map_err(|bad| garbage(&bad.to_string()))? {
                ToHost::Ready { version: VERSION, instantiate } => {
                    return Ok(Duration::from_nanos(cycles(instantiate, *tsc_hz)));
                }
                ToHost::Ready { version, .. } => return Err(other_version(version)),
                ToHost::Output(stream, bytes) => {
                    written += bytes.len() as u64;
                    if written > limits.output {
                        return Err(Error::limit(
                            "run guest",
                            "output",
                            limits.output,
                            format!("{written} bytes"),
                        ));
                    }
                    watch.control.log(log_stream(stream), bytes);
                }
                ToHost::Ask(ask) => {
                    self.not_ahead.store(true, Ordering::Relaxed);
                    services.answer(ask, &window).await?.write(channel.line());
                }
                ToHost::Done(outcome) => {
                    let failed = translate(&outcome, *contract, limits, watch);
                    return Err(failed.err().unwrap_or_else(|| garbage("an end before a call")));
                }
                _ => return Err(garbage("an answer before a call")),
            }
        }
    }

    /// Takes the snapshot on which the others are made.
    async fn keep(&self, mut machine: Machine) -> Result<()> {
        let Machine { channel, monitor, .. } = &mut machine;
        let taken = monitor.snapshot(channel).await?;
        *self.snapshot.lock().await = Some(taken);
        Ok(())
    }

    /// Takes back a machine whose call has ended well.
    pub async fn release(self: &Arc<Self>, mut machine: Machine, watch: &Watch) {
        let begun = Instant::now();
        let keeps = matches!(self.mode, Mode::Reset | Mode::Warm) && self.uses_snapshot();
        match self.isolation {
            Isolation::FreshState if keeps => {
                let reset = machine.monitor.reset(&mut machine.channel).await;
                watch.control.record(Phase::Reset, begun.elapsed());
                match reset {
                    Ok(()) => self.put_back(machine),
                    Err(error) => tracing::debug!(%error, "a machine that cannot be put back is ended"),
                }
            }
            // A command runs once in its instance.
            Isolation::Reuse
                if self.uses_snapshot() && !machine.holds && !self.loading.contract.is_command() =>
            {
                self.put_back(machine);
            }
            _ => {
                drop(machine);
                watch.control.record(Phase::Teardown, begun.elapsed());
            }
        }
        self.refill();
    }

    fn put_back(&self, mut machine: Machine) {
        if machine.channel.detach().is_ok() {
            let mut idle = self.idle.lock();
            if idle.len() < self.loading.limits.concurrency as usize {
                idle.push(machine);
            }
        }
        self.budget.tell();
    }

    /// Makes machines for later calls, as many as the mode keeps and memory allows, without anybody waiting.
    fn refill(self: &Arc<Self>) {
        let (wanted, have) = match self.mode {
            Mode::Warm if self.uses_snapshot() => (self.warm, self.idle.lock().len()),
            Mode::PreConfigured => (1, self.configured.lock().len()),
            _ => return,
        };
        for _ in have..wanted {
            let Some(lease) = self.budget.try_take(self.memory) else { return };
            let pool = Arc::downgrade(self);
            self.background.spawn(async move {
                let Some(pool) = pool.upgrade() else { return };
                if let Err(error) = pool.make_ahead(lease).await {
                    tracing::debug!(%error, "a machine for later calls did not start");
                }
            });
        }
    }

    async fn make_ahead(&self, lease: Lease) -> Result<()> {
        if self.mode == Mode::PreConfigured {
            let configured = self.template.configure(Purpose::Calls, Phases::default()).await?;
            let mut ahead = self.configured.lock();
            if ahead.is_empty() {
                ahead.push((configured, lease));
            }
            drop(ahead);
            self.budget.tell();
            return Ok(());
        }
        let snapshot = self.snapshot.lock().await.clone();
        if let Some(snapshot) = snapshot {
            let (channel, monitor) = snapshot.restore(Phases::default()).await?;
            self.put_back(Machine { channel, monitor, holds: false, _lease: lease });
        }
        Ok(())
    }
}

impl Waiting for Pool {
    fn end_one(&self) -> bool {
        let machine = self.idle.lock().pop();
        let configured = machine.is_none().then(|| self.configured.lock().pop()).flatten();
        machine.is_some() || configured.is_some()
    }
}

fn unknown_mode(driver: &dyn Driver, mode: Mode) -> Error {
    let known: Vec<_> = driver.modes().iter().map(|mode| mode.name()).collect();
    Error::new(
        ErrorKind::InvalidArgument,
        "start microVM",
        format!(
            "`microvm.mode` is {mode}, which {} does not have; it has {}",
            driver.vmm(),
            known.join(", ")
        ),
    )
}

fn silent() -> Error {
    let message = format!("the function's machine was not ready after {} s", PATIENCE.as_secs());
    Error::new(ErrorKind::Unavailable, "start microVM", message)
}

fn other_version(found: u16) -> Error {
    let message = format!(
        "the unikernel speaks version {found} of the channel, the host {VERSION}; install them together"
    );
    Error::new(ErrorKind::Unavailable, "start microVM", message)
}

fn shape(contract: Contract) -> limes_channel::Contract {
    if contract.is_http() {
        limes_channel::Contract::Http
    } else if contract.is_command() {
        limes_channel::Contract::Command
    } else {
        limes_channel::Contract::Run
    }
}

fn log_stream(stream: Output) -> LogStream {
    match stream {
        Output::Stdout => LogStream::Stdout,
        Output::Stderr => LogStream::Stderr,
        Output::Console => LogStream::System,
    }
}

/// Nanoseconds of so many cycles; a guest's word, so it is only shown.
fn cycles(cycles: u64, hz: u64) -> u64 {
    let nanos = u128::from(cycles) * 1_000_000_000 / u128::from(hz.max(1));
    u64::try_from(nanos).unwrap_or(0).min(PATIENCE.as_nanos() as u64)
}

/// Nobody hears of a machine that is made before any request.
struct Unobserved;

impl limes_core::Observer for Unobserved {
    fn log(&self, _: &limes_core::Control, stream: LogStream, bytes: &[u8]) {
        tracing::debug!(?stream, text = %String::from_utf8_lossy(bytes), "a machine said");
    }

    fn finished(&self, _: &limes_core::Control, _: Result<(), &Error>) {}
}
