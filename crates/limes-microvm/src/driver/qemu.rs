//! QEMU's machine `microvm`: by software where there is no KVM, with a virtio console as the channel.

use super::process::{Folder, Place, Process, version_text};
use super::watch::Created;
use super::{Boot, Configured, Driver, Monitor, Phases, Snapshot, Template};
use crate::channel::{Channel, Link};
use limes_core::{BoxFuture, Error, ErrorKind, Mode, Phase, Result, Vmm};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The oldest version with what is used here.
const OLDEST: u32 = 7;
/// How long the process may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);

const CONSOLE: &str = "console";
const QMP: &str = "qmp";
const MEMORY: &str = "memory";
const STATE: &str = "state";

/// A QEMU binary.
pub(crate) struct Qemu {
    setup: Arc<Setup>,
}

pub(super) struct Setup {
    pub binary: PathBuf,
    pub folder: Arc<Folder>,
    kvm: bool,
    /// The program vhost-device-vsock, for images that talk through vsock.
    pub vhost_vsock: Option<PathBuf>,
}

impl Setup {
    /// The arguments that say what runs the guest's instructions.
    pub fn accelerator(&self) -> [&'static str; 4] {
        if self.kvm {
            ["-accel", "kvm", "-cpu", "host,-arch-capabilities,migratable=no"]
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
        binary: PathBuf,
        folder: Arc<Folder>,
        kvm: bool,
        vhost_vsock: Option<PathBuf>,
    ) -> Result<Self> {
        let text = version_text(&binary)
            .map_err(|error| unavailable(format!("cannot run `{}`", binary.display())).from_source(error))?;
        let version = text.split_once("version ").map_or("", |(_, rest)| rest);
        let major: u32 = version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            let line = text.lines().next().unwrap_or_default();
            let binary = binary.display();
            return Err(unavailable(format!("`{binary}` says `{line}`; QEMU {OLDEST} or later is needed")));
        }
        Ok(Self { setup: Arc::new(Setup { binary, folder, kvm, vhost_vsock }) })
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

/// Where a machine's memory lies, and whether what is written to it goes there.
enum Memory<'a> {
    Own,
    Of(&'a Place),
}

impl Images {
    fn command(&self, memory: &Memory<'_>) -> Command {
        let bytes = self.boot.memory.next_multiple_of(1 << 20);
        let (path, share) = match memory {
            Memory::Own => (MEMORY.to_owned(), "on"),
            Memory::Of(place) => (place.join(MEMORY).to_string_lossy().into_owned(), "off"),
        };
        let mut command = Command::new(&self.setup.binary);
        command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-S"]);
        command
            .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny"]);
        command.args(self.setup.accelerator());
        command.args(["-M", "microvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=off,memory-backend=memory"]);
        command.args(["-m", &format!("{}M", bytes >> 20)]);
        command.args([
            "-object",
            &format!("memory-backend-file,id=memory,size={bytes},mem-path={path},share={share}"),
        ]);
        command.arg("-kernel").arg(&self.boot.kernel);
        if let Some(initrd) = &self.boot.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-chardev", &format!("socket,id=channel,path={CONSOLE}")]);
        command.args([
            "-device",
            "virtio-serial-device,max_ports=1",
            "-device",
            "virtconsole,chardev=channel",
        ]);
        command.args(["-chardev", &format!("socket,id=qmp,path={QMP}"), "-mon", "chardev=qmp,mode=control"]);
        if let Memory::Of(_) = memory {
            command.args(["-incoming", "defer"]);
        }
        command
    }

    async fn launch(&self, memory: Memory<'_>, phases: &Phases) -> Result<Running> {
        let begun = Instant::now();
        let failed =
            |error: std::io::Error| unavailable("cannot listen for a machine".into()).from_source(error);
        let place = self.setup.folder.place().map_err(failed)?;
        let console = UnixListener::bind(place.join(CONSOLE)).map_err(failed)?;
        let control = UnixListener::bind(place.join(QMP)).map_err(failed)?;
        let mut process = Process::start("QEMU", self.command(&memory), &place)?;
        let both = async {
            let (channel, _) = console.accept().await?;
            let (control, _) = control.accept().await?;
            Ok(Some((channel, control)))
        };
        let connected = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                both = both => both,
                ended = process.ended() => ended.map(|()| None),
            }
        });
        let (channel, control) = match connected.await {
            Ok(Ok(Some(both))) => both,
            Ok(Err(error)) => return Err(failed(error)),
            Ok(Ok(None)) | Err(_) => return Err(unavailable(format!("it did not connect{}", process.why()))),
        };
        let mut running = Running {
            process,
            place,
            channel: Some(channel),
            control: Control::new(control),
            images: self.clone(),
        };
        running.control.greet().await?;
        phases.record(Phase::Process, begun.elapsed());
        Ok(running)
    }
}

impl Template for Images {
    fn configure(&self, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move {
            let running = self.launch(Memory::Own, &phases).await?;
            Ok(Box::new(running) as Box<dyn Configured>)
        })
    }
}

struct Running {
    process: Process,
    place: Place,
    channel: Option<UnixStream>,
    control: Control,
    images: Images,
}

impl Running {
    async fn resume(mut self) -> Result<(Channel, Box<dyn Monitor>)> {
        self.control.run("cont", json!({})).await?;
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

    fn why(&mut self) -> String {
        self.process.why()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async move {
            let failed =
                |error: std::io::Error| unavailable("cannot keep a snapshot".into()).from_source(error);
            let place = self.images.setup.folder.place().map_err(failed)?;
            self.control.run("stop", json!({})).await?;
            let capabilities =
                json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
            self.control.run("migrate-set-capabilities", capabilities).await?;
            // QEMU is done when it has written to the pipe; the file is whole when it has its name.
            let written = Created::new(self.place.path(), STATE).map_err(failed)?;
            let uri = format!("exec:cat>part&&mv part {STATE}");
            self.control.run("migrate", json!({ "uri": uri })).await?;
            self.control.migrated().await?;
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
            let mut running = self.images.launch(Memory::Of(&self.place), &phases).await?;
            let begun = Instant::now();
            let capabilities =
                json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
            running.control.run("migrate-set-capabilities", capabilities).await?;
            let uri = format!("exec:cat {}", self.place.join(STATE).display());
            running.control.run("migrate-incoming", json!({ "uri": uri })).await?;
            running.control.migrated().await?;
            let resumed = running.resume().await?;
            phases.record(Phase::Create, begun.elapsed());
            Ok(resumed)
        })
    }
}

/// QEMU's machine protocol: a JSON object a line, commands answered in order, events between.
pub(super) struct Control {
    lines: BufReader<UnixStream>,
    line: String,
}

impl Control {
    pub fn new(socket: UnixStream) -> Self {
        Self { lines: BufReader::new(socket), line: String::new() }
    }

    pub async fn greet(&mut self) -> Result<()> {
        self.next().await?;
        // Migration says by events when it is over: there is nothing to look at again and again.
        let capabilities = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        self.run("qmp_capabilities", json!({})).await?;
        self.run("migrate-set-capabilities", capabilities).await
    }

    async fn next(&mut self) -> Result<Value> {
        self.line.clear();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut self.line)).await;
        match read {
            Ok(Ok(count)) if count > 0 => serde_json::from_str(&self.line)
                .map_err(|error| unavailable(format!("it said `{}`", self.line.trim())).from_source(error)),
            Ok(Err(error)) => Err(unavailable("its control socket failed".into()).from_source(error)),
            Ok(Ok(_)) => Err(unavailable("it closed its control socket".into())),
            Err(_) => Err(unavailable("it does not answer on its control socket".into())),
        }
    }

    /// Has it do something.
    ///
    /// # Errors
    /// It cannot, or is gone.
    pub async fn run(&mut self, command: &str, arguments: Value) -> Result<()> {
        self.ask(command, arguments).await.map(drop)
    }

    /// What it answers to a command.
    ///
    /// # Errors
    /// It cannot, or is gone.
    pub async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let order = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        let sent = self.lines.get_mut().write_all(order.as_bytes()).await;
        sent.map_err(|error| unavailable(format!("cannot send it `{command}`")).from_source(error))?;
        loop {
            let mut answer = self.next().await?;
            if let Some(said) = answer.get_mut("return") {
                return Ok(said.take());
            }
            if let Some(error) = answer.get("error") {
                let said = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(unavailable(format!("{command}: {said}")));
            }
        }
    }

    /// Waits until the migration under way is over.
    async fn migrated(&mut self) -> Result<()> {
        loop {
            let event = self.next().await?;
            if event["event"] != "MIGRATION" {
                continue;
            }
            match event["data"]["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(unavailable("the snapshot failed".into())),
                _ => {}
            }
        }
    }
}
