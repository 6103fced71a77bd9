//! Where a process of Firecracker lives: its machine's folder, or a jail in it.
//!
//! Firecracker's jailer changes to a root of the process's own and to a user of its own. What the process needs lies in that root before it starts, and
//! what it makes there is reached from outside.

use super::super::process::{Executable, Folder, Place};
use super::unavailable;
use limes_core::Result;
use rustix::fs::{Gid, Mode, Uid};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The machine's name in the layout of the jailer, whose base is a folder of this machine alone.
const ID: &str = "vm";

/// The first of the users that jailed processes run as, and how many there are: a range that systemd leaves to nobody. Each process gets one at
/// random, so that it can do nothing to another.
const USERS: (u32, u32) = (0x7000_0000, 1 << 28);

pub(super) struct Cell {
    place: Place,
    jail: Option<Jail>,
}

struct Jail {
    jailer: PathBuf,
    root: PathBuf,
    user: u32,
}

impl Cell {
    /// A folder of its own, with a root in it for `jailer` if there is one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(folder: &Arc<Folder>, jailer: Option<&Path>, binary: &Path) -> Result<Self> {
        let failed = |error: io::Error| unavailable("no folder for a machine".into()).from_source(error);
        let place = folder.place().map_err(failed)?;
        let jail = jailer.map(|jailer| Jail::new(&place, jailer, binary)).transpose().map_err(failed)?;
        Ok(Self { place, jail })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The user that the process runs as, if that is not this one's.
    pub fn user(&self) -> Option<u32> {
        self.jail.as_ref().map(|jail| jail.user)
    }

    /// The folder that the process calls its current one.
    pub fn root(&self) -> &Path {
        self.jail.as_ref().map_or(self.place.path(), |jail| &jail.root)
    }

    /// A file of it, as this process calls it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The command that runs `program` in here; Firecracker's arguments may follow.
    pub fn command(&self, program: &Executable) -> Command {
        let Some(jail) = &self.jail else { return program.command() };
        let jailer = Executable { binary: jail.jailer.clone(), launcher: program.launcher.clone() };
        let user = jail.user.to_string();
        let mut command = jailer.command();
        command.args(["--id", ID, "--uid", &user, "--gid", &user, "--exec-file"]).arg(&program.binary);
        command.arg("--chroot-base-dir").arg(self.place.path()).arg("--");
        command
    }

    /// Makes a file available to the process, and gives the name it has there. A jail gets a second name of the same file, or a copy where that
    /// is on another file system.
    ///
    /// # Errors
    /// There is no such file, or no room.
    pub fn give(&self, file: &Path, name: &str) -> Result<PathBuf> {
        let Some(jail) = &self.jail else { return Ok(file.to_owned()) };
        let inside = jail.root.join(name);
        std::fs::hard_link(file, &inside)
            .or_else(|_| std::fs::copy(file, &inside).map(drop))
            .map(|()| Path::new("/").join(name))
            .map_err(|error| {
                let message = format!("cannot put `{}` into the machine's jail", file.display());
                unavailable(message).from_source(error)
            })
    }

    /// Lets the process write to a file in here.
    ///
    /// # Errors
    /// It is not there.
    pub fn own(&self, name: &str) -> Result<()> {
        let Some(jail) = &self.jail else { return Ok(()) };
        let (user, group) = (Uid::from_raw(jail.user), Gid::from_raw(jail.user));
        rustix::fs::chown(jail.root.join(name), Some(user), Some(group)).map_err(|error| {
            unavailable(format!("cannot hand `{name}` over to the machine"))
                .from_source(io::Error::from(error))
        })
    }

    /// Takes a file that the process has made out of here; the next process, of another user, may read it.
    ///
    /// # Errors
    /// It is not there.
    pub fn take(&self, name: &str, to: &Path) -> io::Result<()> {
        std::fs::rename(self.join(name), to)?;
        if self.jail.is_some() {
            rustix::fs::chown(to, Some(Uid::ROOT), Some(Gid::ROOT))?;
            rustix::fs::chmod(to, Mode::from_raw_mode(0o644))?;
        }
        Ok(())
    }

    /// Lets the process connect to a socket in here; nobody else gets as far as its folder.
    ///
    /// # Errors
    /// It is not there.
    pub fn open_to_all(&self, socket: &Path) -> io::Result<()> {
        if self.jail.is_some() {
            rustix::fs::chmod(socket, Mode::from_raw_mode(0o666))?;
        }
        Ok(())
    }
}

impl Jail {
    fn new(place: &Place, jailer: &Path, binary: &Path) -> io::Result<Self> {
        let user = USERS.0 + rand::random_range(0..USERS.1);
        let program = binary.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let root = place.path().join(program).join(ID).join("root");
        std::fs::create_dir_all(&root)?;
        rustix::fs::chown(&root, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?;
        Ok(Self { jailer: jailer.to_owned(), root, user })
    }
}
