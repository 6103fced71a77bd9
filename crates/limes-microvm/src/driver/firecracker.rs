//! Firecracker: its HTTP API on a unix socket, its vsock as the channel.

use super::console::Console;
use super::network::{Addresses, DEVICE, GUEST_MAC, Network};
use super::process::{DRIVE, Folder, Place, Process, copy_drive, version_text};
use super::{Boot, Configured, Door, Driver, Extras, Monitor, Phases, Snapshot, Template};
use crate::channel::{Channel, Link};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use limes_core::{BoxFuture, Error, ErrorKind, Mode, Phase, Result, Vmm};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// The port of the host that a guest connects to.
const PORT: u32 = 1234;

/// Relative to the process's folder, so that clones of one snapshot do not meet.
const VSOCK: &str = "vsock";
const API: &str = "api";

/// How long the process may take to open its API.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an image may take to connect; whoever waits for it has a deadline of its own.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// How long a restored guest may take to connect before another is restored instead: a thousand times what it takes.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// The oldest version whose API this speaks.
const OLDEST: [u32; 2] = [1, 4];

/// A Firecracker binary.
pub(crate) struct Firecracker {
    binary: PathBuf,
    folder: Arc<Folder>,
}

impl Firecracker {
    /// Takes a binary after looking at its version.
    ///
    /// # Errors
    /// It does not run, or is too old.
    pub fn new(binary: PathBuf, folder: Arc<Folder>) -> Result<Self> {
        let text = version_text(&binary)
            .map_err(|error| unavailable(format!("cannot run `{}`", binary.display())).from_source(error))?;
        let version = text.split_once('v').map_or("", |(_, rest)| rest);
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
        if version < OLDEST {
            let line = text.lines().next().unwrap_or_default();
            return Err(unavailable(format!(
                "`{}` says `{line}`; Firecracker {}.{} or later is needed",
                binary.display(),
                OLDEST[0],
                OLDEST[1]
            )));
        }
        Ok(Self { binary, folder })
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
        Ok(Arc::new(Images {
            binary: self.binary.clone(),
            folder: self.folder.clone(),
            boot: Arc::new(boot),
        }))
    }
}

struct Images {
    binary: PathBuf,
    folder: Arc<Folder>,
    boot: Arc<Boot>,
}

impl Template for Images {
    fn configure(&self, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move {
            let extras = self.boot.extras.as_ref();
            let running = Running::start(&self.binary, &self.folder, extras, &phases).await?;
            let begun = Instant::now();
            let arguments = extras.map(|extras| Addresses::TAP.fill(&extras.arguments)).unwrap_or_default();
            let mut source = json!({ "kernel_image_path": self.boot.kernel, "boot_args": arguments });
            if let Some(initrd) = &self.boot.initrd {
                source["initrd_path"] = json!(initrd);
            }
            let memory = self.boot.memory.div_ceil(1 << 20);
            running.put("/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": memory })).await?;
            running.put("/boot-source", &source).await?;
            if let Some(drive) = extras.and_then(|extras| extras.drive.as_deref()) {
                running.add_drive(drive).await?;
            }
            running.add_door().await?;
            phases.record(Phase::Create, begun.elapsed());
            Ok(Box::new(running) as Box<dyn Configured>)
        })
    }
}

/// A process of Firecracker, listening where its guest will connect.
struct Running {
    process: Process,
    place: Place,
    listener: UnixListener,
    binary: PathBuf,
    folder: Arc<Folder>,
    /// Of an image.
    console: Option<Console>,
    /// Of an image that is reached by a port: that, and the network.
    network: Option<(u16, Network)>,
    patience: Duration,
}

impl Running {
    async fn start(
        binary: &Path,
        folder: &Arc<Folder>,
        extras: Option<&Extras>,
        phases: &Phases,
    ) -> Result<Self> {
        let begun = Instant::now();
        let place = folder
            .place()
            .map_err(|error| unavailable("no folder for a machine".into()).from_source(error))?;
        let listener = UnixListener::bind(place.join(&format!("{VSOCK}_{PORT}")))
            .map_err(|error| unavailable("cannot listen for a machine".into()).from_source(error))?;
        let opened = super::watch::Created::new(place.path(), API)
            .map_err(|error| unavailable("cannot watch a machine's folder".into()).from_source(error))?;
        let mut command = Command::new(binary);
        command.args(["--api-sock", API, "--level", "Error"]);
        let network = match extras.map(|extras| extras.door) {
            Some(Door::Port(port)) => Some((port, Network::make()?)),
            _ => None,
        };
        if let Some((_, network)) = &network {
            network.enter(&mut command);
        }
        let (console, said) = Console::of(extras)?.unzip();
        let process = Process::start_saying("Firecracker", command, &place, said)?;
        let patience = if extras.is_some() { FOREVER } else { PATIENCE };
        let (binary, folder) = (binary.to_owned(), folder.clone());
        let mut running = Self { process, place, listener, binary, folder, console, network, patience };
        let opened = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                opened = opened.wait() => opened,
                _ = running.process.ended() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        });
        if !matches!(opened.await, Ok(Ok(()))) {
            return Err(unavailable(format!("it did not open its API{}", running.process.why())));
        }
        phases.record(Phase::Process, begun.elapsed());
        Ok(running)
    }

    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        self.request("PUT", path, body).await
    }

    async fn add_drive(&self, drive: &Path) -> Result<()> {
        copy_drive(drive, &self.place).await?;
        let root = json!({
            "drive_id": "root", "path_on_host": DRIVE, "is_root_device": true, "is_read_only": false,
        });
        self.put("/drives/root", &root).await
    }

    /// What its guest talks through.
    async fn add_door(&self) -> Result<()> {
        if self.network.is_none() {
            return self.put("/vsock", &json!({ "guest_cid": 3, "uds_path": VSOCK })).await;
        }
        let card = json!({ "iface_id": "eth0", "guest_mac": GUEST_MAC, "host_dev_name": DEVICE });
        self.put("/network-interfaces/eth0", &card).await
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        request(&self.place, method, path, body).await
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

async fn request(place: &Place, method: &str, path: &str, body: &Value) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| unavailable(format!("{method} {path} failed: {error}"));
    let socket = connect(&place.join(API)).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|error| failed(&error))?;
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| failed(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    // The connection moves no bytes unless it is polled.
    let answered = async {
        tokio::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            answered = &mut exchange => answered,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error),
            },
        }
    };
    let (status, body) = tokio::time::timeout(PATIENCE, answered)
        .await
        .map_err(|_| failed(&"no answer"))?
        .map_err(|error| failed(&error))?;
    if status.is_success() {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = said["fault_message"].as_str().unwrap_or("no reason given").to_owned();
    Err(failed(&format!("{status}: {said}")))
}

/// Connects to an API whose socket is there. Between its making and the process listening on it a connection is refused, and nothing tells of that moment.
async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let mut left = 100;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused && left > 0 => left -= 1,
            connected => return connected,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Configured for Running {
    fn start(self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            self.put("/actions", &json!({ "action_type": "InstanceStart" })).await?;
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
                .folder
                .place()
                .map_err(|error| unavailable("no folder for a snapshot".into()).from_source(error))?;
            request(&self.place, "PATCH", "/vm", &json!({ "state": "Paused" })).await?;
            let create = json!({
                "snapshot_type": "Full", "snapshot_path": place.join("state"), "mem_file_path": place.join("memory"),
            });
            request(&self.place, "PUT", "/snapshot/create", &create).await?;
            let snapshot = State { place, binary: self.binary.clone(), folder: self.folder.clone() };
            Ok(Arc::new(snapshot) as Arc<dyn Snapshot>)
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
    binary: PathBuf,
    folder: Arc<Folder>,
}

impl State {
    async fn try_restore(&self, phases: &Phases, patience: Duration) -> Result<(Channel, Box<dyn Monitor>)> {
        let running = Running::start(&self.binary, &self.folder, None, phases).await?;
        let begun = Instant::now();
        let load = json!({
            "snapshot_path": self.place.join("state"),
            "mem_backend": { "backend_type": "File", "backend_path": self.place.join("memory") },
            "resume_vm": true,
        });
        running.put("/snapshot/load", &load).await?;
        phases.record(Phase::Create, begun.elapsed());
        let resumed = Instant::now();
        let connected = running.accept(patience).await?;
        phases.record(Phase::Boot, resumed.elapsed());
        Ok(connected)
    }
}

impl Snapshot for State {
    fn restore(&self, phases: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            // Now and then a restored guest misses that its old connection is gone; another one will not.
            match self.try_restore(&phases, IMPATIENCE).await {
                Ok(restored) => Ok(restored),
                Err(error) => {
                    tracing::debug!(%error, "restoring a machine once more");
                    self.try_restore(&phases, PATIENCE).await
                }
            }
        })
    }
}
