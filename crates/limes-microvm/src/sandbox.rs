//! The sandbox as others see it: components in, functions in machines out.

use crate::budget::Budget;
use crate::driver::builtin::Builtin;
use crate::driver::firecracker::Firecracker;
use crate::driver::process::{Executable, Folder, Place};
use crate::driver::qemu::Qemu;
use crate::driver::{Boot, Door, Driver, Extras};
use crate::function::MicroVmFunction;
use crate::image::{ImageFunction, Machines};
use crate::known::{Known, identity};
use crate::pool::{Loading, Parts, Pool, Pools};
use crate::program::Program;
use limes_channel::machine::OVERHEAD;
use limes_core::{
    Accelerator, Contract, Error, ErrorKind, FunctionSpec, Grants, Image, Limits, MicroVm, Prepared,
    Protocol, Result, Sandbox, SandboxKind, Timing, Vmm,
};
use limes_wasm::{Processor, WasmSandbox, read_component};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::runtime::Runtime;

/// Memory of a machine that other monitors use for what they place in it, and leave unused between, in bytes.
const FIRMWARE: u64 = 32 << 20;

/// A component that answers at once: whoever runs it can run others.
const PROBE: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "run") (param i32 i32) (result i32) (i32.const 0)))
    (core instance $m (instantiate $m))
    (func $run (param "args" string) (result string)
        (canon lift (core func $m "run") (memory $m "memory") (realloc (func $m "realloc"))))
    (instance $i (export "run" (func $run)))
    (export "component:run/run" (instance $i)))"#;

/// How a [`MicroVmSandbox`] is set up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The unikernel's file.
    pub unikernel: PathBuf,
    /// The program of the built-in monitor.
    pub builtin: PathBuf,
    /// Firecracker's program; `None` when there is none.
    pub firecracker: Option<PathBuf>,
    /// QEMU's program; `None` when there is none.
    pub qemu: Option<PathBuf>,
    /// The program vhost-device-vsock, for images on QEMU that talk through vsock; `None` when there is none.
    pub vhost_vsock: Option<PathBuf>,
    /// Firecracker's jailer; `None` when there is none. Only root can use it.
    pub jailer: Option<PathBuf>,
    /// Where it is kept from one process to the next which monitors work; `None` keeps it nowhere.
    pub known: Option<PathBuf>,
    /// Bytes that all machines may take together; `None` is three quarters of what the system has available at the start.
    pub memory: Option<u64>,
    /// Where folders for sockets and snapshots are made; `None` is the system's folder for temporary files.
    pub folder: Option<PathBuf>,
}

/// What was found out about one monitor.
#[derive(Clone, Debug, Serialize)]
pub struct Probed {
    /// Which.
    pub vmm: Vmm,
    /// Whether the unikernel booted and its function was ready.
    pub works: bool,
    /// How long that took, in nanoseconds, process start included; 0 when it did not.
    pub took: u64,
    /// Why it does not work, and what to do; empty when it does.
    pub problem: String,
    /// What else there is to say of one that works; mostly empty.
    pub note: String,
}

/// Runs components in virtual machines of their own.
pub struct MicroVmSandbox {
    wasm: Arc<WasmSandbox>,
    settings: Settings,
    budget: Arc<Budget>,
    pools: Arc<Pools>,
    /// Made when the first machine is asked for.
    found: OnceLock<Found>,
    /// The monitor that `auto` came to.
    chosen: Mutex<Option<Vmm>>,
    known: Known,
}

/// A function's machines, once a first one has shown that the function starts.
struct Booted {
    pool: Arc<Pool>,
    contract: Contract,
    /// `compile` and `cache` are set.
    timing: Timing,
}

/// A monitor that was looked at, and whether it has KVM.
type Looked = ((Vmm, bool), Arc<dyn Driver>);

struct Found {
    folder: Arc<Folder>,
    background: Background,
    drivers: Mutex<Vec<Looked>>,
}

impl Found {
    /// A function's own folder.
    fn place(&self) -> Result<Arc<Place>> {
        self.folder.place().map(Arc::new).map_err(|error| {
            Error::new(ErrorKind::Io, "start microVM", "cannot make a folder for the function")
                .from_source(error)
        })
    }
}

/// The thread for what no request waits for. Dropped, it does not wait.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl MicroVmSandbox {
    /// A sandbox that compiles with `wasm`. Nothing is started or looked for before a function is loaded.
    pub fn new(wasm: Arc<WasmSandbox>, settings: Settings) -> Self {
        let memory = settings.memory.unwrap_or_else(|| available_memory() / 4 * 3);
        Self {
            wasm,
            known: Known::new(settings.known.clone()),
            settings,
            budget: Budget::new(memory),
            pools: Arc::default(),
            found: OnceLock::new(),
            chosen: Mutex::default(),
        }
    }

    fn found(&self) -> Result<&Found> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let base = self.settings.folder.clone().unwrap_or_else(std::env::temp_dir);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("limes-vm")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "start microVM", "cannot start a thread").from_source(error)
            })?;
        let found = Found {
            folder: Folder::make(&base)?,
            background: Background(Some(runtime)),
            drivers: Mutex::default(),
        };
        Ok(self.found.get_or_init(|| found))
    }

    /// Takes a component (or a wasip1 module, or either as wat text), or a native function, to something that can be invoked.
    ///
    /// Blocks while it compiles, and until a first machine has shown that the function starts in it.
    ///
    /// # Errors
    /// As the component sandbox; a contract or import of WASI 0.3; no monitor works here.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        limits: Limits,
        grants: Grants,
        settings: &MicroVm,
    ) -> Result<Prepared> {
        if let Some(image) = &settings.image {
            return self.load_image(name, bytes, limits, grants, settings, image);
        }
        let begun = Instant::now();
        let (limits, grants) = (Arc::new(limits), Arc::new(grants));
        let name = if name.is_empty() { "function".to_owned() } else { name.to_owned() };
        let program = |processor| Program::of(bytes, &self.wasm, processor);
        let Booted { pool, contract, mut timing } = self.pool(&name, program, &limits, &grants, settings)?;
        timing.load = nanos(begun).saturating_sub(timing.compile);
        let function = MicroVmFunction { name, contract, limits, grants, pool };
        Ok(Prepared { function: Arc::new(function), timing })
    }

    /// The machines of a function, on the monitor that was asked for, or on the first that works. `program` makes the function for the
    /// processor that they have.
    fn pool(
        &self,
        name: &str,
        program: impl Fn(Processor) -> Result<Program>,
        limits: &Arc<Limits>,
        grants: &Grants,
        settings: &MicroVm,
    ) -> Result<Booted> {
        let found = self.found()?;
        let place = found.place()?;
        let kept = |name: &str, bytes: &Vec<u8>| {
            let path = place.join(name);
            write(&path, bytes).map(|()| path)
        };
        let chosen = *self.chosen.lock();
        let candidates = self.candidates(settings.vmm, chosen);
        let (vmm, booted) = first_that_works(&candidates, |vmm| {
            let kvm = self.has_kvm(vmm, settings.accelerator);
            let processor = if kvm { Processor::Host } else { Processor::Oldest };
            let Program { kernel, artifact, contract, export, memories_move, timing } = program(processor)?;
            // What another kernel does says nothing about the monitor.
            let tells = kernel.is_none();
            let kernel = kernel.as_ref().map(|bytes| kept("kernel", bytes)).transpose()?;
            let kernel = kernel.unwrap_or_else(|| self.settings.unikernel.clone());
            let initrd = artifact.as_ref().map(|bytes| kept("artifact", bytes)).transpose()?;
            let artifact_bytes = artifact.map_or(0, |bytes| bytes.len() as u64);
            let made = self.driver(vmm, kvm).and_then(|driver| {
                let own = if vmm == Vmm::Builtin { OVERHEAD } else { OVERHEAD + FIRMWARE };
                let least = limits.memory.saturating_add(own).saturating_add(artifact_bytes);
                let memory = settings.memory.unwrap_or(least).next_multiple_of(2 << 20);
                let boot = Boot { kernel, initrd, memory, extras: None };
                let parts = Parts {
                    template: driver.template(boot)?,
                    driver,
                    loading: Loading {
                        contract,
                        export,
                        memories_move,
                        limits: limits.clone(),
                        args: [name.to_owned()].into_iter().chain(grants.args.iter().cloned()).collect(),
                        env: grants.env.clone().into_iter().collect(),
                        tsc_hz: tsc_hz(),
                    },
                    settings: settings.clone(),
                    memory,
                    budget: self.budget.clone(),
                    all: self.pools.clone(),
                    background: self.background(found)?,
                    place: place.clone(),
                };
                self.background(found)?.block_on(Pool::new(parts))
            });
            if tells {
                self.learn(vmm, kvm, &made);
            }
            made.map(|pool| (vmm, Booted { pool, contract, timing }))
        })?;
        if settings.vmm == Vmm::Auto {
            self.chosen.lock().get_or_insert(vmm);
        }
        Ok(booted)
    }

    /// Remembers whether a monitor works, where `made` tells.
    fn learn<T>(&self, vmm: Vmm, kvm: bool, made: &Result<T>) {
        let works = match made {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::Unavailable => false,
            Err(_) => return,
        };
        let key = self.key(vmm, kvm);
        if self.known.works(&key) != Some(works) {
            self.known.remember(key, works);
        }
    }

    /// Takes a kernel, and what `image` says of it, to something that can be invoked.
    fn load_image(
        &self,
        name: &str,
        kernel: &[u8],
        limits: Limits,
        grants: Grants,
        settings: &MicroVm,
        image: &Image,
    ) -> Result<Prepared> {
        let begun = Instant::now();
        let found = self.found()?;
        let place = found.place()?;
        let path = place.join("kernel");
        write(&path, kernel)?;
        let memory = settings.memory.unwrap_or(limits.memory).next_multiple_of(2 << 20);
        let door = match image.protocol {
            Protocol::Spare => Door::Vsock,
            Protocol::Http => Door::Port(image.port),
        };
        let candidates = match settings.vmm {
            Vmm::Auto => vec![Vmm::Firecracker, Vmm::Qemu],
            vmm => vec![vmm],
        };
        let machines = first_that_works(&candidates, |vmm| {
            let extras = Extras {
                arguments: image.arguments.clone(),
                drive: image.drive.clone(),
                door,
                console: limits.output,
            };
            let boot = Boot { kernel: path.clone(), initrd: None, memory, extras: Some(extras) };
            let parts = crate::image::Parts {
                template: self.driver(vmm, self.has_kvm(vmm, settings.accelerator))?.template(boot)?,
                door,
                settings: settings.clone(),
                memory,
                budget: self.budget.clone(),
                all: self.pools.clone(),
                background: self.background(found)?,
                place: place.clone(),
            };
            self.background(found)?.block_on(Machines::new(parts))
        })?;
        let function = ImageFunction {
            name: name.to_owned(),
            protocol: image.protocol,
            limits: Arc::new(limits),
            grants: Arc::new(grants),
            machines,
        };
        let timing = Timing { load: nanos(begun), ..Timing::default() };
        Ok(Prepared { function: Arc::new(function), timing })
    }

    /// The monitors to try, in their order: for `auto` those not known to fail, or all where that leaves none.
    fn candidates(&self, asked: Vmm, chosen: Option<Vmm>) -> Vec<Vmm> {
        const ALL: [Vmm; 3] = [Vmm::Builtin, Vmm::Firecracker, Vmm::Qemu];
        match (asked, chosen) {
            (Vmm::Auto, Some(chosen)) => vec![chosen],
            (Vmm::Auto, None) => {
                let fails = |vmm: &Vmm| self.known.works(&self.key(*vmm, *vmm != Vmm::Qemu)) == Some(false);
                let hopeful: Vec<Vmm> = ALL.into_iter().filter(|vmm| !fails(vmm)).collect();
                if hopeful.is_empty() { ALL.to_vec() } else { hopeful }
            }
            (vmm, _) => vec![vmm],
        }
    }

    /// By what a monitor is remembered: itself, and the files that its machines are made of.
    fn key(&self, vmm: Vmm, kvm: bool) -> String {
        let Settings { builtin, unikernel, firecracker, jailer, qemu, .. } = &self.settings;
        let programs = match vmm {
            Vmm::Firecracker => vec![firecracker.as_ref(), jailer.as_ref()],
            Vmm::Qemu => vec![qemu.as_ref()],
            Vmm::Builtin | Vmm::Auto => vec![],
        };
        let files = programs.into_iter().flatten().chain([builtin, unikernel]);
        let files: Vec<String> = files.map(|path| identity(path)).collect();
        format!("{vmm}{} {}", if kvm { "+kvm" } else { "" }, files.join(" "))
    }

    /// Whether a monitor is to use KVM. Only QEMU has a choice; where that is to be found out, and is not known, by booting the
    /// unikernel with it.
    fn has_kvm(&self, vmm: Vmm, accelerator: Accelerator) -> bool {
        match accelerator {
            _ if vmm != Vmm::Qemu => true,
            Accelerator::Kvm => true,
            Accelerator::Tcg => false,
            Accelerator::Auto => self.known.works(&self.key(Vmm::Qemu, true)).unwrap_or_else(|| {
                self.settings.qemu.is_some()
                    && usable_kvm().is_ok()
                    && self.boot(Vmm::Qemu, Accelerator::Kvm).is_ok()
            }),
        }
    }

    fn background(&self, found: &Found) -> Result<tokio::runtime::Handle> {
        let runtime = found.background.0.as_ref();
        runtime
            .map(|runtime| runtime.handle().clone())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "start microVM", "the sandbox has ended"))
    }

    /// A monitor, looked at once.
    fn driver(&self, vmm: Vmm, kvm: bool) -> Result<Arc<dyn Driver>> {
        let found = self.found()?;
        if let Some((_, driver)) = found.drivers.lock().iter().find(|(known, _)| *known == (vmm, kvm)) {
            return Ok(driver.clone());
        }
        let folder = found.folder.clone();
        let driver: Arc<dyn Driver> = match vmm {
            Vmm::Firecracker => {
                let program = self.program(&self.settings.firecracker, vmm)?;
                let jailer = self.settings.jailer.clone().filter(|_| rustix::process::geteuid().is_root());
                Arc::new(Firecracker::new(program, jailer, folder)?)
            }
            Vmm::Qemu => {
                if kvm {
                    usable_kvm()?;
                }
                let vhost_vsock = self.settings.vhost_vsock.clone();
                Arc::new(Qemu::new(self.program(&self.settings.qemu, vmm)?, folder, kvm, vhost_vsock)?)
            }
            Vmm::Builtin | Vmm::Auto => {
                usable_kvm()?;
                Arc::new(Builtin::new(self.settings.builtin.clone()))
            }
        };
        found.drivers.lock().push(((vmm, kvm), driver.clone()));
        Ok(driver)
    }

    fn program(&self, program: &Option<PathBuf>, vmm: Vmm) -> Result<Executable> {
        let binary = program.clone().ok_or_else(|| {
            let (what, how) = match vmm {
                Vmm::Firecracker => {
                    ("firecracker", "install it from https://github.com/firecracker-microvm/firecracker/releases, or name it in LIMES_FIRECRACKER")
                }
                _ => ("qemu-system-x86_64", "install the package qemu-system-x86, or name it in LIMES_QEMU"),
            };
            Error::new(ErrorKind::Unavailable, "start microVM", format!("`{what}` is not on PATH; {how}"))
        })?;
        Ok(Executable { binary, launcher: self.settings.builtin.clone() })
    }

    /// Boots the unikernel with each monitor and sees whether its function is ready. What is found is remembered.
    pub fn probe(&self) -> Vec<Probed> {
        [Vmm::Builtin, Vmm::Firecracker, Vmm::Qemu].into_iter().map(|vmm| self.probe_one(vmm)).collect()
    }

    fn probe_one(&self, vmm: Vmm) -> Probed {
        match self.boot(vmm, Accelerator::Tcg) {
            Ok(took) => Probed { vmm, works: true, took, problem: String::new(), note: self.note(vmm) },
            Err(error) => {
                Probed { vmm, works: false, took: 0, problem: error.to_string(), note: String::new() }
            }
        }
    }

    /// What a user may want to know of a monitor that works.
    fn note(&self, vmm: Vmm) -> String {
        match vmm {
            Vmm::Firecracker => match &self.settings.jailer {
                Some(jailer) if rustix::process::geteuid().is_root() => {
                    format!("in the jail of `{}`", jailer.display())
                }
                Some(jailer) => format!("without `{}`, which only root can use", jailer.display()),
                None => "without a jail: `jailer` is neither beside it nor on PATH".into(),
            },
            Vmm::Qemu => match self.boot(vmm, Accelerator::Kvm) {
                Ok(took) => format!("by software; with KVM after {:.1} ms", took as f64 / 1e6),
                Err(error) => format!("by software only; with KVM: {error}"),
            },
            Vmm::Builtin | Vmm::Auto => String::new(),
        }
    }

    /// Nanoseconds from nothing to a function that is ready.
    fn boot(&self, vmm: Vmm, accelerator: Accelerator) -> Result<u64> {
        let limits = Limits { memory: 8 << 20, ..Limits::default() };
        let settings = MicroVm { vmm, accelerator, mode: limes_core::Mode::EndToEnd, ..MicroVm::default() };
        let begun = Instant::now();
        let program = |processor| Program::of(PROBE.as_bytes(), &self.wasm, processor);
        let booted = self.pool("probe", program, &Arc::new(limits), &Grants::default(), &settings)?;
        Ok(nanos(begun).saturating_sub(booted.timing.compile))
    }
}

impl Sandbox for MicroVmSandbox {
    fn kind(&self) -> SandboxKind {
        SandboxKind::MicroVm
    }

    fn prepare(&self, spec: &FunctionSpec) -> Result<Prepared> {
        let bytes = read_component(spec)?;
        self.load(&spec.name, &bytes, spec.limits.clone(), spec.grants.clone(), &spec.microvm)
    }
}

/// What `make` gives for the first monitor that works here.
///
/// # Errors
/// None works, or the first that does has an error of another kind.
fn first_that_works<T>(candidates: &[Vmm], make: impl Fn(Vmm) -> Result<T>) -> Result<T> {
    let mut reasons = Vec::new();
    for vmm in candidates {
        match make(*vmm) {
            Err(error) if error.kind() == ErrorKind::Unavailable => reasons.push(format!("{vmm}: {error}")),
            made => return made,
        }
    }
    let reasons = reasons.join("; ");
    let message = format!(
        "no microVM runs here ({reasons}); `limes doctor` tells more, and sandbox = \"wasm\" needs none"
    );
    Err(Error::new(ErrorKind::Unavailable, "start microVM", message))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(|error| {
        Error::new(ErrorKind::Io, "start microVM", format!("cannot write `{}`", path.display()))
            .from_source(error)
    })
}

fn usable_kvm() -> Result<()> {
    std::fs::File::options().read(true).write(true).open("/dev/kvm").map(drop).map_err(|error| {
        let message = "cannot open /dev/kvm; allow virtualisation, and add the user to the group that owns it (mostly `kvm`)";
        Error::new(ErrorKind::Unavailable, "start microVM", message).from_source(error)
    })
}

/// Bytes of memory that are available now.
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
}

/// Cycles a second of the time stamp counter, measured once.
fn tsc_hz() -> u64 {
    static HZ: OnceLock<u64> = OnceLock::new();
    *HZ.get_or_init(|| {
        let read = || {
            // SAFETY: every x86-64 processor has the instruction; it changes nothing.
            unsafe { std::arch::x86_64::_rdtsc() }
        };
        let (begun, from) = (Instant::now(), read());
        std::thread::sleep(std::time::Duration::from_millis(5));
        let (passed, to) = (begun.elapsed().as_nanos(), read());
        let hz = u128::from(to.wrapping_sub(from)) * 1_000_000_000 / passed.max(1);
        u64::try_from(hz).unwrap_or(u64::MAX)
    })
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
