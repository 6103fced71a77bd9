//! Firecracker: its HTTP API on a unix socket, its vsock as the channel.

mod api;
mod cell;

use self::api::Api;
use self::cell::Cell;
use super::console::Console;
use super::network::{Addresses, DEVICE, GUEST_MAC, Network};
use super::process::{DRIVE, Executable, Folder, Place, Process, copy_drive};
use super::watch::Created;
use super::{Boot, Configured, Door, Driver, Extras, Monitor, Phases, Purpose, Snapshot, Started, Template};
use crate::channel::{Channel, Link};
use limes_core::{BoxFuture, Error, ErrorKind, Mode, Phase, Result, Vmm};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixListener};

/// The port of the host that a guest connects to.
const PORT: u32 = 1234;

/// Relative to the process's folder, so that clones of one snapshot do not meet.
const VSOCK: &str = "vsock";
const API: &str = "api";
const CONFIG: &str = "machine.json";
const STATE: &str = "state";
const MEMORY: &str = "memory";

/// How long the process may take to open its API.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an image may take to connect; whoever waits for it has a deadline of its own.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// The oldest version that wakes a restored guest to tell it that its connection is gone.
const OLDEST: [u32; 2] = [1, 10];

/// A Firecracker binary.
pub(crate) struct Firecracker {
    setup: Arc<Setup>,
}

struct Setup {
    program: Executable,
    /// Firecracker's own jailer, where it is to be used.
    jailer: Option<PathBuf>,
    folder: Arc<Folder>,
}

impl Firecracker {
    /// Takes a binary after looking at its version. Its processes are started through `jailer` if there is one, which takes root.
    ///
    /// # Errors
    /// It does not run, or is too old.
    pub fn new(program: Executable, jailer: Option<PathBuf>, folder: Arc<Folder>) -> Result<Self> {
        program.require("Firecracker", OLDEST, "v", unavailable)?;
        Ok(Self { setup: Arc::new(Setup { program, jailer, folder }) })
    }
}

fn unavailable(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "start Firecracker", message)
}

impl Driver for Firecracker {
    fn vmm(&self) -> Vmm {
        Vmm::Firecracker
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Snapshot, Mode::EndToEnd, Mode::PreConfigured]
    }

    fn template(&self, boot: Boot) -> Result<Arc<dyn Template>> {
        Ok(Arc::new(Images { setup: self.setup.clone(), boot }))
    }
}

struct Images {
    setup: Arc<Setup>,
    boot: Boot,
}

impl Images {
    /// The machine, each part by the path of the API that takes it and by its name in a file of all of them.
    fn parts(&self, cell: &Cell) -> Result<Vec<(&'static str, &'static str, Value)>> {
        let extras = self.boot.extras.as_ref();
        let memory = self.boot.memory.div_ceil(1 << 20);
        let arguments = extras.map(|extras| Addresses::TAP.fill(&extras.arguments)).unwrap_or_default();
        let kernel = cell.give(&self.boot.kernel, "kernel")?;
        let mut source = json!({ "kernel_image_path": kernel, "boot_args": arguments });
        if let Some(initrd) = &self.boot.initrd {
            source["initrd_path"] = json!(cell.give(initrd, "artifact")?);
        }
        let mut parts = vec![
            ("/machine-config", "machine-config", json!({ "vcpu_count": 1, "mem_size_mib": memory })),
            ("/boot-source", "boot-source", source),
        ];
        if extras.is_some_and(|extras| extras.drive.is_some()) {
            let root = json!({
                "drive_id": "root", "path_on_host": DRIVE, "is_root_device": true, "is_read_only": false,
            });
            parts.push(("/drives/root", "drives", root));
        }
        parts.push(match extras.map(|extras| extras.door) {
            Some(Door::Port(_)) => {
                let card = json!({ "iface_id": "eth0", "guest_mac": GUEST_MAC, "host_dev_name": DEVICE });
                ("/network-interfaces/eth0", "network-interfaces", card)
            }
            _ => ("/vsock", "vsock", json!({ "guest_cid": 3, "uds_path": VSOCK })),
        });
        Ok(parts)
    }
}

impl Template for Images {
    fn configure(&self, _: Purpose, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move {
            let extras = self.boot.extras.as_ref();
            let mut running = Running::serve(&self.setup, extras, &phases).await?;
            let begun = Instant::now();
            if let Some(drive) = extras.and_then(|extras| extras.drive.as_deref()) {
                copy_drive(drive, running.cell.join(DRIVE)).await?;
                running.cell.own(DRIVE)?;
            }
            for (path, _, part) in self.parts(&running.cell)? {
                running.api()?.request("PUT", path, &part).await?;
            }
            phases.record(Phase::Create, begun.elapsed());
            Ok(Box::new(running) as Box<dyn Configured>)
        })
    }

    /// From a file, and without the API: each request to that waits for a thread of the process twice.
    fn run(&self, phases: Phases) -> BoxFuture<'_, Result<Started>> {
        Box::pin(async move {
            let begun = Instant::now();
            let (cell, listener) = self.setup.listen()?;
            let mut machine: serde_json::Map<_, _> =
                self.parts(&cell)?.into_iter().map(|(_, name, part)| (name.to_owned(), part)).collect();
            machine.insert("drives".into(), json!([]));
            std::fs::write(cell.join(CONFIG), Value::Object(machine).to_string()).map_err(|error| {
                unavailable("cannot write a machine's settings".into()).from_source(error)
            })?;
            let mut command = cell.command(&self.setup.program);
            command.args(["--no-api", "--config-file", CONFIG, "--level", "Error"]);
            let process = Process::start("Firecracker", command, cell.place())?;
            phases.record(Phase::Process, begun.elapsed());
            let started = Instant::now();
            let running = Running {
                process,
                cell,
                listener,
                api: None,
                setup: self.setup.clone(),
                console: None,
                network: None,
                patience: PATIENCE,
            };
            let (channel, monitor) = running.accept(PATIENCE).await?;
            Ok((channel, monitor, started))
        })
    }
}

impl Setup {
    /// Where a machine lives, and where its guest will connect.
    fn listen(&self) -> Result<(Cell, UnixListener)> {
        let cell = Cell::new(&self.folder, self.jailer.as_deref(), &self.program.binary)?;
        let path = cell.join(&format!("{VSOCK}_{PORT}"));
        let listener = UnixListener::bind(&path)
            .and_then(|listener| cell.open_to_all(&path).map(|()| listener))
            .map_err(|error| unavailable("cannot listen for a machine".into()).from_source(error))?;
        Ok((cell, listener))
    }
}

/// A process of Firecracker, listening where its guest will connect.
struct Running {
    process: Process,
    cell: Cell,
    listener: UnixListener,
    /// `None` for one that was started without.
    api: Option<Api>,
    setup: Arc<Setup>,
    /// Of an image.
    console: Option<Console>,
    /// Of an image that is reached by a port: that, and the network.
    network: Option<(u16, Network)>,
    patience: Duration,
}

impl Running {
    /// A process that waits for requests.
    async fn serve(setup: &Arc<Setup>, extras: Option<&Extras>, phases: &Phases) -> Result<Self> {
        let begun = Instant::now();
        let (cell, listener) = setup.listen()?;
        let opened = Created::new(cell.root(), API)
            .map_err(|error| unavailable("cannot watch a machine's folder".into()).from_source(error))?;
        let mut command = cell.command(&setup.program);
        command.args(["--api-sock", API, "--level", "Error"]);
        let network = match extras.map(|extras| extras.door) {
            Some(Door::Port(port)) => Some((port, Network::make(cell.user())?)),
            _ => None,
        };
        if let Some((_, network)) = &network {
            network.enter(&mut command);
        }
        let (console, said) = Console::of(extras)?.unzip();
        let process = Process::start_saying("Firecracker", command, cell.place(), said)?;
        let patience = if extras.is_some() { FOREVER } else { PATIENCE };
        let setup = setup.clone();
        let mut running = Self { process, cell, listener, api: None, setup, console, network, patience };
        let opened = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                opened = opened.wait() => opened,
                _ = running.process.ended() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        });
        if !matches!(opened.await, Ok(Ok(()))) {
            return Err(unavailable(format!("it did not open its API{}", running.process.why())));
        }
        running.api = Some(Api::connect(&running.cell.join(API)).await?);
        phases.record(Phase::Process, begun.elapsed());
        Ok(running)
    }

    fn api(&mut self) -> Result<&mut Api> {
        self.api.as_mut().ok_or_else(|| unavailable("it was started without its API".into()))
    }

    /// The guest's connection.
    async fn accept(mut self, patience: Duration) -> Result<(Channel, Box<dyn Monitor>)> {
        let accepted = tokio::time::timeout(patience, async {
            tokio::select! {
                accepted = self.listener.accept() => accepted.map(Some),
                ended = self.process.ended() => ended.map(|()| None),
            }
        });
        let socket = match accepted.await {
            Ok(Ok(Some((socket, _)))) => socket,
            Ok(Err(error)) => return Err(unavailable("cannot accept its guest".into()).from_source(error)),
            Ok(Ok(None)) | Err(_) => {
                return Err(unavailable(format!("its guest did not connect{}", self.process.why())));
            }
        };
        Ok((Channel::new(Link::Socket(socket)), Box::new(self)))
    }
}

impl Configured for Running {
    fn start(mut self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            self.api()?.request("PUT", "/actions", &json!({ "action_type": "InstanceStart" })).await?;
            if self.network.is_some() {
                return Ok((Channel::new(Link::Lost), self as Box<dyn Monitor>));
            }
            let patience = self.patience;
            self.accept(patience).await
        })
    }

    fn console(&mut self) -> Option<Console> {
        self.console.take()
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
            let place = self
                .setup
                .folder
                .place()
                .map_err(|error| unavailable("no folder for a snapshot".into()).from_source(error))?;
            let create = json!({
                "snapshot_type": "Full", "snapshot_path": STATE, "mem_file_path": MEMORY,
            });
            let api = self.api()?;
            api.request("PATCH", "/vm", &json!({ "state": "Paused" })).await?;
            api.request("PUT", "/snapshot/create", &create).await?;
            for name in [STATE, MEMORY] {
                self.cell
                    .take(name, &place.join(name))
                    .map_err(|error| unavailable("cannot keep a snapshot".into()).from_source(error))?;
            }
            Ok(Arc::new(State { place, setup: self.setup.clone() }) as Arc<dyn Snapshot>)
        })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unavailable("it cannot put a machine back; use the mode `snapshot`".into())) })
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let _ = self.process.ended().await;
        })
    }

    fn connect(&self) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        Box::pin(async move {
            match &self.network {
                Some((port, network)) => network.connect(*port).await,
                None => Err(std::io::ErrorKind::Unsupported.into()),
            }
        })
    }
}

/// A snapshot on disk. Its memory is mapped, privately, by each machine that is restored from it.
struct State {
    place: Place,
    setup: Arc<Setup>,
}

impl Snapshot for State {
    fn restore(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            let mut running = Running::serve(&self.setup, None, &phases).await?;
            let begun = Instant::now();
            let load = json!({
                "snapshot_path": running.cell.give(&self.place.join(STATE), STATE)?,
                "mem_backend": {
                    "backend_type": "File", "backend_path": running.cell.give(&self.place.join(MEMORY), MEMORY)?,
                },
                "resume_vm": true,
            });
            running.api()?.request("PUT", "/snapshot/load", &load).await?;
            phases.record(Phase::Create, begun.elapsed());
            let resumed = Instant::now();
            let connected = running.accept(PATIENCE).await?;
            phases.record(Phase::Boot, resumed.elapsed());
            Ok(connected)
        })
    }
}
