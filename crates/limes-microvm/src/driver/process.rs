//! Processes of monitors: they end with the machine, with the node, and leave nothing behind.

use limes_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, PidfdFlags};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How folders of machines are named; a folder whose lock nobody holds was left by a process that died.
const PREFIX: &str = "limes-microvm-";
const LOCK: &str = "lock";

/// The copy of an image's root drive in the folder of its machine.
pub(super) const DRIVE: &str = "drive";

/// What of a monitor's own words goes into an error, in bytes.
const TAIL: u64 = 2000;

/// A private folder for sockets and states of machines, gone with this process or swept by the next.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes one under `base`, and removes those of processes that are no more.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(base: &Path) -> Result<Arc<Self>> {
        sweep(base);
        let failed = |error: io::Error| {
            let message = format!("cannot make a folder for machines in `{}`", base.display());
            Error::new(ErrorKind::Io, "start microVM", message).from_source(error)
        };
        // Locked under another name first: a sweep must not find it before.
        let mut path = tempfile::Builder::new().prefix("limes-new-").tempdir_in(base).map_err(failed)?;
        let lock = File::create_new(path.path().join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let name =
            path.path().file_name().unwrap_or_default().to_string_lossy().replace("limes-new-", PREFIX);
        let target = base.join(name);
        std::fs::rename(path.path(), &target).map_err(failed)?;
        path.disable_cleanup(true);
        Ok(Arc::new(Self { path: target, _lock: lock }))
    }

    /// A folder for one machine.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn place(self: &Arc<Self>) -> io::Result<Place> {
        let path = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(&self.path)?;
        Ok(Place { path, _folder: self.clone() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let abandoned = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if abandoned {
            end_jailed(&entry.path());
        }
        if abandoned && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!(folder = %entry.path().display(), %error, "cannot sweep a folder of machines");
        }
    }
}

/// Ends processes that live in a root of their own below `folder`: a process that changes its user, as in a jail, does not end with its owner.
fn end_jailed(folder: &Path) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let root = std::fs::read_link(process.path().join("root"));
        if let (Some(number), Ok(root)) = (number, root)
            && root.starts_with(folder)
        {
            let _ = rustix::process::kill_process(number, rustix::process::Signal::KILL);
        }
    }
}

/// A machine's own folder, gone with it.
pub(crate) struct Place {
    path: TempDir,
    _folder: Arc<Folder>,
}

impl Place {
    pub fn path(&self) -> &Path {
        self.path.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.path().join(name)
    }
}

/// Copies an image's root drive to `to`, in a machine's folder: what the machine writes there is gone with it.
///
/// # Errors
/// It cannot be read, or the folder takes no more.
pub(super) async fn copy_drive(drive: &Path, to: PathBuf) -> Result<()> {
    let from = drive.to_owned();
    let copied = tokio::task::spawn_blocking(move || std::fs::copy(from, to));
    let copied = copied.await.map_err(io::Error::other).and_then(|copied| copied);
    copied.map(drop).map_err(|error| {
        let message = format!("cannot copy the image's drive `{}` for a machine", drive.display());
        Error::new(ErrorKind::Io, "start microVM", message).from_source(error)
    })
}

/// A monitor's program, as it is started: through `launcher`, the program `limes-vmm`.
#[derive(Clone)]
pub(crate) struct Executable {
    pub binary: PathBuf,
    pub launcher: PathBuf,
}

impl Executable {
    /// Sees whether it is at least `oldest` of the program `name`, by the version that it says after `mark`.
    ///
    /// # Errors
    /// It does not run, or is too old; made by `unavailable`.
    pub fn require(
        &self,
        name: &str,
        oldest: [u32; 2],
        mark: &str,
        unavailable: fn(String) -> Error,
    ) -> Result<()> {
        let binary = self.binary.display();
        let said = Command::new(&self.binary)
            .arg("--version")
            .output()
            .map_err(|error| unavailable(format!("cannot run `{binary}`")).from_source(error))?;
        let text = String::from_utf8_lossy(&said.stdout);
        let version = text.split_once(mark).map_or("", |(_, rest)| rest);
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        if [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= oldest {
            return Ok(());
        }
        let line = text.lines().next().unwrap_or_default();
        let [major, minor] = oldest;
        Err(unavailable(format!("`{binary}` says `{line}`; {name} {major}.{minor} or later is needed")))
    }

    /// The command that runs it, without arguments.
    pub fn command(&self) -> Command {
        limes_vmm::launch::command(&self.launcher, &self.binary)
    }
}

/// A monitor's process. Dropped, it is killed.
pub(crate) struct Process {
    child: Option<Child>,
    log: File,
    name: &'static str,
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that starts processes. The kernel ends a child when the thread that started it ends, so that must be one that never does.
static STARTER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Job>();
    let run = move || inbox.into_iter().for_each(|job| job());
    // Without the thread every start fails with an error that says so.
    let _ = std::thread::Builder::new().name("limes-vm-start".into()).spawn(run);
    orders
});

/// The thread that ends processes and waits for them, so that none stays as a zombie and no request waits.
static REAPER: LazyLock<mpsc::Sender<Box<dyn Send>>> = LazyLock::new(|| {
    let (sender, inbox) = mpsc::channel::<Box<dyn Send>>();
    let run = move || inbox.into_iter().for_each(drop);
    let _ = std::thread::Builder::new().name("limes-vm-reap".into()).spawn(run);
    sender
});

/// Runs `job` on the thread that starts processes.
pub(super) fn on_starter(job: impl FnOnce() + Send + 'static) {
    let _ = STARTER.send(Box::new(job));
}

/// Drops what ends a process by its drop, where waiting for that holds up nobody.
pub(super) fn reap(process: Box<dyn Send>) {
    let _ = REAPER.send(process);
}

/// A killed child, waited for when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts a [`Executable`]'s `command` in `place`, with nothing on its stdin and its words kept; it ends with this process.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(name: &'static str, command: Command, place: &Place) -> Result<Self> {
        Self::start_saying(name, command, place, None)
    }

    /// As [`start`](Self::start); what it says on stdout is a guest's console, and goes to `console`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_saying(
        name: &'static str,
        mut command: Command,
        place: &Place,
        console: Option<std::os::fd::OwnedFd>,
    ) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Unavailable, "start microVM", format!("cannot start {name}"))
                .from_source(error)
        };
        let log =
            File::options().create(true).read(true).append(true).open(place.join("log")).map_err(failed)?;
        let words = || log.try_clone().map(Stdio::from);
        command
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(console.map_or_else(words, |console| Ok(console.into())).map_err(failed)?)
            .stderr(words().map_err(failed)?);
        let (done, started) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        on_starter(move || {
            let _ = done.send(command.spawn());
        });
        let child = started.recv().map_err(|_| failed(gone()))?.map_err(failed)?;
        Ok(Self { child: Some(child), log, name })
    }

    /// Time it has computed, all threads together; `None` when it is gone.
    pub fn computed(&self) -> Option<Duration> {
        computed(self.child.as_ref()?.id())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub async fn ended(&self) -> io::Result<()> {
        let gone = || io::Error::other("it is gone");
        let pid = i32::try_from(self.child.as_ref().ok_or_else(gone)?.id()).map_err(io::Error::other)?;
        let pid = Pid::from_raw(pid).ok_or_else(gone)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: the descriptor is owned by what is registered, and closed with it.
        let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        process.map_err(io::Error::from)?.readable().await.map(drop)
    }

    /// How it ended and what it last said, as ` (…)`; empty while it runs and has said nothing.
    pub fn why(&mut self) -> String {
        // Its socket closes a moment before the kernel calls it ended.
        let mut status = None;
        for _ in 0..20 {
            status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if status.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = status.map(|status| match status.signal() {
            Some(signal) => format!("{} was killed by signal {signal}", self.name),
            None => format!("{} ended with {status}", self.name),
        });
        let said = self.last_words();
        match (ended, said.is_empty()) {
            (None, true) => String::new(),
            (Some(ended), true) => format!("; {ended}"),
            (None, false) => format!("; {} said: {said}", self.name),
            (Some(ended), false) => format!("; {ended}: {said}"),
        }
    }

    fn last_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let size = self.log.metadata().map_or(0, |metadata| metadata.len());
        let read = self
            .log
            .seek(SeekFrom::Start(size.saturating_sub(TAIL)))
            .and_then(|_| self.log.by_ref().take(TAIL).read_to_end(&mut bytes));
        if read.is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

/// Time that a process has computed, all threads together.
pub(super) fn computed(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write to a local of the type they ask for, and nothing else.
    let read = unsafe {
        libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    read.then(|| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            reap(Box::new(Killed(child)));
        }
    }
}
