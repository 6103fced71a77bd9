use limes_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// Temporary files older than this were left behind by a process that died.
const STALE: Duration = Duration::from_secs(3600);

const TEMPORARY: &str = ".tmp-";
const KEY: &str = "key";
const LOCK: &str = "lock";

/// A directory that only this user can look into: the premise of loading code from it.
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Makes the directory if need be, and closes it to others.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be made or opened, or belongs to another user.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |what: &str, error: io::Error| {
            Error::new(
                ErrorKind::Io,
                "open cache",
                format!("cannot {what} the cache directory `{}`", path.display()),
            )
            .from_source(error)
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("make", error))?;
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits() as i32)
            .open(path)
            .map_err(|error| failed("open", error))?;
        let metadata = handle.metadata().map_err(|error| failed("look at", error))?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(Error::new(
                ErrorKind::Io,
                "open cache",
                format!(
                    "the cache directory `{}` belongs to user {}, not to this process's user {}; machine code is \
                     only loaded from a directory of one's own, so name another",
                    path.display(),
                    metadata.uid(),
                    geteuid().as_raw()
                ),
            ));
        }
        if metadata.mode() & 0o077 != 0 {
            tracing::warn!(dir = %path.display(), mode = format!("{:o}", metadata.mode() & 0o7777),
                "the cache directory was open to other users; closing it");
            handle.set_permissions(Permissions::from_mode(0o700)).map_err(|error| failed("close", error))?;
        }
        Ok(Self { path: path.to_owned(), handle })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file `name` for reading.
    ///
    /// # Errors
    /// Besides those of opening: it is a link or no regular file, belongs to somebody else, or others may write it.
    pub fn read(&self, name: &str) -> io::Result<File> {
        // Not to be held up by a pipe that stands in the file's place, nor led elsewhere by a link.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(self.path.join(name))?;
        let metadata = file.metadata()?;
        let fault = if !metadata.is_file() {
            "it is no regular file".into()
        } else if metadata.uid() != geteuid().as_raw() {
            format!("it belongs to user {}", metadata.uid())
        } else if metadata.mode() & 0o022 != 0 {
            format!("others may write it (mode {:o})", metadata.mode() & 0o7777)
        } else {
            return Ok(file);
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, fault))
    }

    /// Writes the file `name` whole or not at all: it is on disk when this returns. Readers of an older one of that
    /// name keep what they have open.
    pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<File> {
        let written = self.written(parts)?;
        written.as_file().sync_all()?;
        let file = self.put(written, name)?;
        self.handle.sync_all()?;
        Ok(file)
    }

    /// As [`write`](Self::write), without waiting for the disk: for what only saves time, and shows by its authentication code when a
    /// loss of power has damaged it.
    pub fn write_lazily(&self, name: &str, parts: &[&[u8]]) -> io::Result<File> {
        self.put(self.written(parts)?, name)
    }

    fn written(&self, parts: &[&[u8]]) -> io::Result<NamedTempFile> {
        let mut temporary = self.temporary()?;
        for part in parts {
            temporary.write_all(part)?;
        }
        Ok(temporary)
    }

    fn put(&self, written: NamedTempFile, name: &str) -> io::Result<File> {
        written.persist(self.path.join(name)).map_err(|error| error.error)
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.path)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir_all(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Names and metadata of all files, links not followed. What disappears meanwhile is left out.
    pub fn list(&self) -> io::Result<Vec<(String, std::fs::Metadata)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) {
                files.push((name, metadata));
            }
        }
        Ok(files)
    }

    /// Waits until no other process or thread has the lock; it is given back with the returned file.
    pub fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(self.path.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    /// The key that entries are authenticated with; made when there is none, or none that can be trusted.
    /// To be called with the lock held, so that two processes agree.
    pub fn key(&self) -> io::Result<[u8; 32]> {
        match self.stored_key() {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(dir = %self.path.display(), %error,
                    "the key of the compile cache is unusable; making a new one, every entry will be compiled again");
                self.remove(KEY)?;
            }
        }
        let key = fresh_key()?;
        self.write(KEY, &[&key])?;
        Ok(key)
    }

    fn stored_key(&self) -> io::Result<[u8; 32]> {
        let mut file = self.read(KEY)?;
        let metadata = file.metadata()?;
        if metadata.mode() & 0o077 != 0 || metadata.len() != 32 {
            let fault = format!("it has {} bytes and mode {:o}", metadata.len(), metadata.mode() & 0o7777);
            return Err(io::Error::other(fault));
        }
        let mut key = [0; 32];
        file.read_exact(&mut key)?;
        Ok(key)
    }

    /// Removes temporary files that were last written more than an hour before `now`.
    pub fn sweep(&self, now: SystemTime) {
        for (name, metadata) in self.list().unwrap_or_default() {
            let age = metadata.modified().ok().and_then(|written| now.duration_since(written).ok());
            if name.starts_with(TEMPORARY) && age.is_some_and(|age| age > STALE) {
                let _ = self.remove(&name);
            }
        }
    }
}

/// 32 bytes that nobody can guess. `/dev/random` gives what getrandom(2) gives: it waits only until the kernel
/// has gathered randomness after a boot, which matters on small devices.
pub(super) fn fresh_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open("/dev/random")?.read_exact(&mut key)?;
    Ok(key)
}
