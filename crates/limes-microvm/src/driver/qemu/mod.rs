//! QEMU's machine `microvm`: by software where there is no KVM, with a port of a virtio console as the channel.

mod control;

pub(super) use self::control::Control;
use super::process::{Executable, Folder, Place, Process};
use super::watch::Created;
use super::{Boot, Configured, Driver, Monitor, Phases, Purpose, Snapshot, Started, Template};
use crate::channel::{Channel, Link};
use crate::timer::SETTLED;
use limes_core::{BoxFuture, Error, ErrorKind, Mode, Phase, Result, Vmm};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};

/// The oldest version with what is used here.
const OLDEST: [u32; 2] = [7, 0];
/// How long the process may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many times longer emulated code runs, and what comes first: that it is translated.
const EMULATED: u32 = 20;

/// Nothing but memory, a processor and the places for virtio devices.
const MACHINE: &str = "microvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=off";

const CONSOLE: &str = "console";
const QMP: &str = "qmp";
const MEMORY: &str = "memory";
const STATE: &str = "state";

/// A QEMU binary.
pub(crate) struct Qemu {
    setup: Arc<Setup>,
}

pub(super) struct Setup {
    pub program: Executable,
    pub folder: Arc<Folder>,
    kvm: bool,
    /// The program vhost-device-vsock, for images that talk through vsock.
    pub vhost_vsock: Option<PathBuf>,
}

impl Setup {
    /// The arguments that say what runs the guest's instructions.
    pub fn accelerator(&self) -> [&'static str; 4] {
        if self.kvm {
            // Not every KVM lets the register be written that it shows; and what cannot be migrated cannot be kept as a snapshot.
            ["-accel", "kvm", "-cpu", "host,-arch-capabilities"]
        } else {
            ["-accel", "tcg,thread=single", "-cpu", "max"]
        }
    }
}

impl Qemu {
    /// Takes a binary after looking at its version. `kvm` asks for hardware virtualisation.
    ///
    /// # Errors
    /// It does not run, or is too old.
    pub fn new(
        program: Executable,
        folder: Arc<Folder>,
        kvm: bool,
        vhost_vsock: Option<PathBuf>,
    ) -> Result<Self> {
        program.require("QEMU", OLDEST, "version ", unavailable)?;
        Ok(Self { setup: Arc::new(Setup { program, folder, kvm, vhost_vsock }) })
    }
}

pub(super) fn unavailable(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "start QEMU", message)
}

impl Driver for Qemu {
    fn vmm(&self) -> Vmm {
        Vmm::Qemu
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Snapshot, Mode::EndToEnd, Mode::PreConfigured]
    }

    fn template(&self, boot: Boot) -> Result<Arc<dyn Template>> {
        if boot.extras.is_some() {
            return Ok(Arc::new(super::qemu_image::Images::new(self.setup.clone(), boot)));
        }
        Ok(Arc::new(Images { setup: self.setup.clone(), boot: Arc::new(boot) }))
    }
}

#[derive(Clone)]
struct Images {
    setup: Arc<Setup>,
    boot: Arc<Boot>,
}

/// What a process is started for, and so where its machine's memory is and whether it is controlled.
#[derive(Clone, Copy)]
enum Start<'a> {
    /// It runs at once, and nobody tells it anything: its memory is nobody else's.
    Free,
    /// It waits to be told to run.
    Paused(Purpose),
    /// It waits for the state of a snapshot; what it writes to the memory stays its own.
    Restored(&'a Place),
}

impl Images {
    fn command(&self, start: Start<'_>) -> Command {
        let bytes = self.boot.memory.next_multiple_of(1 << 20);
        let mut command = self.setup.program.command();
        command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
        command
            .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny"]);
        command.args(self.setup.accelerator());
        let mut machine = MACHINE.to_owned();
        let file = match start {
            Start::Free | Start::Paused(Purpose::Calls) => None,
            Start::Paused(Purpose::Snapshot) => Some((MEMORY.to_owned(), "on")),
            Start::Restored(place) => Some((place.join(MEMORY).to_string_lossy().into_owned(), "off")),
        };
        if let Some((path, share)) = file {
            machine += ",memory-backend=memory";
            let backend = format!("memory-backend-file,id=memory,size={bytes},mem-path={path},share={share}");
            command.args(["-object", &backend]);
        }
        command.args(["-M", &machine, "-m", &format!("{}M", bytes >> 20)]);
        command.arg("-kernel").arg(&self.boot.kernel);
        if let Some(initrd) = &self.boot.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-chardev", &format!("socket,id=channel,path={CONSOLE}")]);
        // A console would throw away what is not read at once.
        command.args(["-device", "virtio-serial-device,max_ports=2"]);
        command.args(["-device", "virtserialport,nr=1,chardev=channel"]);
        if !matches!(start, Start::Free) {
            command.arg("-S");
            command.args(["-chardev", &format!("socket,id=qmp,path={QMP}")]);
            command.args(["-mon", "chardev=qmp,mode=control"]);
        }
        if let Start::Restored(_) = start {
            command.args(["-incoming", "defer"]);
        }
        command
    }

    async fn launch(&self, start: Start<'_>, phases: &Phases) -> Result<Running> {
        let begun = Instant::now();
        let failed =
            |error: std::io::Error| unavailable("cannot listen for a machine".into()).from_source(error);
        let place = self.setup.folder.place().map_err(failed)?;
        let console = UnixListener::bind(place.join(CONSOLE)).map_err(failed)?;
        let control = match start {
            Start::Free => None,
            _ => Some(UnixListener::bind(place.join(QMP)).map_err(failed)?),
        };
        let mut process = Process::start("QEMU", self.command(start), &place)?;
        let all = async {
            let (channel, _) = console.accept().await?;
            let control = match control {
                Some(control) => Some(control.accept().await?.0),
                None => None,
            };
            Ok(Some((channel, control)))
        };
        let connected = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                all = all => all,
                ended = process.ended() => ended.map(|()| None),
            }
        });
        let (channel, control) = match connected.await {
            Ok(Ok(Some(all))) => all,
            Ok(Err(error)) => return Err(failed(error)),
            Ok(Ok(None)) | Err(_) => return Err(unavailable(format!("it did not connect{}", process.why()))),
        };
        let mut control = control.map(Control::new);
        if let Some(control) = &mut control {
            control.greet().await?;
        }
        phases.record(Phase::Process, begun.elapsed());
        Ok(Running { process, place, channel: Some(channel), control, images: self.clone() })
    }
}

impl Template for Images {
    fn configure(&self, purpose: Purpose, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move {
            let running = self.launch(Start::Paused(purpose), &phases).await?;
            Ok(Box::new(running) as Box<dyn Configured>)
        })
    }

    /// Without its control socket, of which it reads a byte at a time.
    fn run(&self, phases: Phases) -> BoxFuture<'_, Result<Started>> {
        Box::pin(async move {
            let running = self.launch(Start::Free, &phases).await?;
            let begun = Instant::now();
            let (channel, monitor) = running.hand_over()?;
            Ok((channel, monitor, begun))
        })
    }
}

struct Running {
    process: Process,
    place: Place,
    channel: Option<UnixStream>,
    /// `None` for one that was started to run at once.
    control: Option<Control>,
    images: Images,
}

impl Running {
    fn control(&mut self) -> Result<&mut Control> {
        self.control.as_mut().ok_or_else(|| unavailable("it was started without its control socket".into()))
    }

    async fn resume(mut self) -> Result<(Channel, Box<dyn Monitor>)> {
        self.control()?.run("cont", json!({})).await?;
        self.hand_over()
    }

    fn hand_over(mut self) -> Result<(Channel, Box<dyn Monitor>)> {
        let Some(socket) = self.channel.take() else {
            return Err(unavailable("its channel was taken already".into()));
        };
        Ok((Channel::new(Link::Socket(socket)), Box::new(self)))
    }
}

impl Configured for Running {
    fn start(self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(self.resume())
    }
}

impl Monitor for Running {
    fn computed(&self) -> Option<Duration> {
        self.process.computed()
    }

    fn settles(&self) -> Duration {
        if self.images.setup.kvm { SETTLED } else { SETTLED * EMULATED }
    }

    fn why(&mut self) -> String {
        self.process.why()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async move {
            let failed =
                |error: std::io::Error| unavailable("cannot keep a snapshot".into()).from_source(error);
            let place = self.images.setup.folder.place().map_err(failed)?;
            let control = self.control()?;
            control.run("stop", json!({})).await?;
            let capabilities =
                json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
            control.run("migrate-set-capabilities", capabilities).await?;
            // QEMU is done when it has written to the pipe; the file is whole when it has its name.
            let written = Created::new(self.place.path(), STATE).map_err(failed)?;
            let uri = format!("exec:cat>part&&mv part {STATE}");
            let control = self.control()?;
            control.run("migrate", json!({ "uri": uri })).await?;
            control.migrated().await?;
            match tokio::time::timeout(PATIENCE, written.wait()).await {
                Ok(written) => written.map_err(failed)?,
                Err(_) => return Err(unavailable("it did not write its state".into())),
            }
            for name in [MEMORY, STATE] {
                std::fs::rename(self.place.join(name), place.join(name)).map_err(failed)?;
            }
            Ok(Arc::new(State { place, images: self.images.clone() }) as Arc<dyn Snapshot>)
        })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unavailable("it cannot put a machine back; use the mode `snapshot`".into())) })
    }
}

/// A snapshot on disk. Its memory is mapped, privately, by each machine that is restored from it.
struct State {
    place: Place,
    images: Images,
}

impl Snapshot for State {
    fn restore(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            let mut running = self.images.launch(Start::Restored(&self.place), &phases).await?;
            let begun = Instant::now();
            let capabilities =
                json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
            let control = running.control()?;
            control.run("migrate-set-capabilities", capabilities).await?;
            let uri = format!("exec:cat {}", self.place.join(STATE).display());
            control.run("migrate-incoming", json!({ "uri": uri })).await?;
            control.migrated().await?;
            let resumed = running.resume().await?;
            phases.record(Phase::Create, begun.elapsed());
            Ok(resumed)
        })
    }
}
