//! Images of one's own on QEMU's machine `microvm`: vsock by the program vhost-device-vsock, or a port of a network without privileges.

use super::console::Console;
use super::network::{Addresses, GUEST_MAC};
use super::process::{DRIVE, Place, Process, copy_drive};
use super::qemu::{Control, Setup, unavailable};
use super::watch::Created;
use super::{Boot, Configured, Door, Extras, Monitor, Phases, Purpose, Snapshot, Template};
use crate::channel::{Channel, Link};
use limes_core::{BoxFuture, Phase, Result};
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixListener};

/// How long the processes may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

const QMP: &str = "qmp";
const MEMORY: &str = "memory";
/// Where vhost-device-vsock talks with QEMU, and where a guest's connection to the port comes out.
const VHOST: &str = "vhost";
const VSOCK: &str = "vsock";
const VSOCK_PORT: &str = "vsock_1234";

/// Machines of one image.
pub(super) struct Images {
    setup: Arc<Setup>,
    boot: Arc<Boot>,
}

impl Images {
    pub fn new(setup: Arc<Setup>, boot: Boot) -> Self {
        Self { setup, boot: Arc::new(boot) }
    }

    fn command(&self, extras: &Extras) -> Command {
        let bytes = self.boot.memory.next_multiple_of(1 << 20);
        let mut command = self.setup.program.command();
        command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-S"]);
        command.args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
        command.args(self.setup.accelerator());
        // What kernels of others expect: tables that say where devices are, timers, a serial port.
        command.args(["-M", "microvm,memory-backend=memory"]);
        command.args(["-m", &format!("{}M", bytes >> 20)]);
        let memory = format!("memory-backend-file,id=memory,size={bytes},mem-path={MEMORY},share=on");
        command.args(["-object", &memory, "-serial", "stdio"]);
        command.arg("-kernel").arg(&self.boot.kernel);
        command.args(["-append", &Addresses::USER.fill(&extras.arguments)]);
        if extras.drive.is_some() {
            let drive = format!("id=root,file={DRIVE},format=raw,if=none");
            command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=root"]);
        }
        match extras.door {
            Door::Vsock => {
                command.args(["-chardev", &format!("socket,id=vsock,path={VHOST}")]);
                command.args(["-device", "vhost-user-vsock-device,chardev=vsock"]);
            }
            Door::Port(port) => {
                let network = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:{port}");
                let card = format!("virtio-net-device,netdev=net,mac={GUEST_MAC}");
                command.args(["-netdev", &network, "-device", &card]);
            }
        }
        command.args(["-chardev", &format!("socket,id=qmp,path={QMP}"), "-mon", "chardev=qmp,mode=control"]);
        command
    }

    async fn launch(&self, extras: &Extras, phases: &Phases) -> Result<Machine> {
        let begun = Instant::now();
        let failed = |error: io::Error| unavailable("cannot listen for a machine".into()).from_source(error);
        let place = self.setup.folder.place().map_err(failed)?;
        if let Some(drive) = &extras.drive {
            copy_drive(drive, &place).await?;
        }
        let listener = UnixListener::bind(place.join(VSOCK_PORT)).map_err(failed)?;
        let vsock = match extras.door {
            Door::Vsock => Some(self.vsock(&place).await?),
            Door::Port(_) => None,
        };
        let control = UnixListener::bind(place.join(QMP)).map_err(failed)?;
        let (console, said) = Console::of(Some(extras))?.unzip();
        let mut process = Process::start_saying("QEMU", self.command(extras), &place, said)?;
        let connected = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                accepted = control.accept() => accepted.map(|(socket, _)| Some(socket)),
                ended = process.ended() => ended.map(|()| None),
            }
        });
        let control = match connected.await {
            Ok(Ok(Some(control))) => control,
            Ok(Err(error)) => return Err(failed(error)),
            Ok(Ok(None)) | Err(_) => return Err(unavailable(format!("it did not connect{}", process.why()))),
        };
        let mut control = Control::new(control);
        control.greet().await?;
        let forwarded = match extras.door {
            Door::Vsock => None,
            Door::Port(_) => Some(forwarded(&mut control).await?),
        };
        phases.record(Phase::Process, begun.elapsed());
        Ok(Machine { process, _vsock: vsock, _place: place, control, listener, console, forwarded })
    }

    /// The program that carries vsock between QEMU and sockets in the machine's folder.
    async fn vsock(&self, place: &Place) -> Result<Process> {
        let Some(program) = &self.setup.vhost_vsock else {
            return Err(unavailable(
                "`vhost-device-vsock` is not on PATH, and SPARE's protocol needs it on QEMU; install it with \
                 `cargo install vhost-device-vsock --locked`, or name it in LIMES_VHOST_DEVICE_VSOCK"
                    .into(),
            ));
        };
        let failed =
            |error: io::Error| unavailable("cannot watch a machine's folder".into()).from_source(error);
        let opened = Created::new(place.path(), VHOST).map_err(failed)?;
        let mut command = limes_vmm::launch::command(&self.setup.program.launcher, program);
        command.args(["--vm", &format!("guest-cid=3,uds-path={VSOCK},socket={VHOST}")]);
        let mut process = Process::start("vhost-device-vsock", command, place)?;
        let opened = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                opened = opened.wait() => opened,
                _ = process.ended() => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        });
        if !matches!(opened.await, Ok(Ok(()))) {
            return Err(unavailable(format!("vhost-device-vsock did not start{}", process.why())));
        }
        Ok(process)
    }
}

/// Where on the host connections to the guest's port are taken, as QEMU's table of connections says.
async fn forwarded(control: &mut Control) -> Result<SocketAddr> {
    let said = control.ask("human-monitor-command", json!({ "command-line": "info usernet" })).await?;
    let said = said.as_str().unwrap_or_default();
    let row = said.lines().find(|line| line.contains("TCP[HOST_FORWARD]"));
    let port = row.and_then(|row| row.split_ascii_whitespace().nth(3)?.parse().ok());
    let port = port.ok_or_else(|| unavailable(format!("it does not forward the port: {}", said.trim())))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

impl Template for Images {
    fn configure(&self, _: Purpose, phases: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async move {
            let Some(extras) = &self.boot.extras else {
                return Err(unavailable("it was told of no image".into()));
            };
            Ok(Box::new(self.launch(extras, &phases).await?) as Box<dyn Configured>)
        })
    }
}

struct Machine {
    process: Process,
    _vsock: Option<Process>,
    _place: Place,
    control: Control,
    listener: UnixListener,
    console: Option<Console>,
    forwarded: Option<SocketAddr>,
}

impl Configured for Machine {
    fn start(mut self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            self.control.run("cont", json!({})).await?;
            if self.forwarded.is_some() {
                return Ok((Channel::new(Link::Lost), self as Box<dyn Monitor>));
            }
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.process.ended() => Err(io::ErrorKind::UnexpectedEof.into()),
            };
            match accepted {
                Ok((socket, _)) => Ok((Channel::new(Link::Socket(socket)), self as Box<dyn Monitor>)),
                Err(_) => Err(unavailable(format!("its guest did not connect{}", self.process.why()))),
            }
        })
    }

    fn console(&mut self) -> Option<Console> {
        self.console.take()
    }
}

impl Monitor for Machine {
    fn computed(&self) -> Option<Duration> {
        self.process.computed()
    }

    fn why(&mut self) -> String {
        self.process.why()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async { Err(unavailable("images have no snapshots".into())) })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unavailable("images have no snapshots".into())) })
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let _ = self.process.ended().await;
        })
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            match self.forwarded {
                Some(address) => TcpStream::connect(address).await,
                None => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}
