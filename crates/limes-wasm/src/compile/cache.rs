use super::directory::{Directory, fresh_key};
use super::entry::{About, Entry, seal};
use super::key::EntryKey;
use limes_core::{Error, ErrorKind, Result};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Compiled components on disk, in a directory of this user's own.
///
/// Several threads and processes may use one directory at once. An entry is loaded only when its authentication
/// code proves that it was written with the directory's key; one that is damaged, foreign or out of place is removed,
/// and made again by whoever needs it. When the entries together pass the bound, those go that were not used for the
/// longest time; a process that has one in memory keeps it.
pub struct Cache {
    directory: Directory,
    mac_key: [u8; 32],
    max_bytes: u64,
    warned: AtomicBool,
}

/// What a cache holds.
///
/// The default is what there is to say of no cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    /// Where it is.
    pub dir: Option<PathBuf>,
    /// How many compiled components.
    pub entries: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub max_bytes: u64,
}

/// Whether `error` tells of this process or machine rather than of the file: the entry may be good.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error)
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR].contains(&errno))
}

struct Listed {
    key: EntryKey,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Opens the cache in `dir`, and makes it (mode 0700) when there is none.
    ///
    /// A directory of one's own that others can read is closed to them. On a file system that cannot be written the
    /// cache answers with what it holds, and stores nothing.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when `dir` cannot be made or opened, or belongs to another user.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self> {
        let directory = Directory::open(dir)?;
        let lock = directory.lock();
        let stored = directory.key();
        drop(lock);
        let mut warned = false;
        let mac_key = stored
            .or_else(|error| {
                warned = true;
                tracing::warn!(dir = %dir.display(), %error, "cannot keep a key for the compile cache; it will not keep anything");
                fresh_key()
            })
            .map_err(|error| {
                Error::new(ErrorKind::Io, "open cache", "cannot read a key for the compile cache from /dev/random")
                    .from_source(error)
            })?;
        directory.sweep(SystemTime::now());
        Ok(Self { directory, mac_key, max_bytes, warned: AtomicBool::new(warned) })
    }

    /// Where it is, and how full.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the directory cannot be read.
    pub fn info(&self) -> Result<CacheInfo> {
        let listed = self.list().map_err(|error| self.failed("read", error))?;
        Ok(CacheInfo {
            dir: Some(self.directory.path().to_owned()),
            entries: listed.len() as u64,
            bytes: listed.iter().map(|entry| entry.bytes).sum(),
            max_bytes: self.max_bytes,
        })
    }

    /// Removes every entry; returns the bytes freed. Functions already loaded go on.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the directory cannot be read or an entry not be removed.
    pub fn clear(&self) -> Result<u64> {
        let failed = |error| self.failed("clear", error);
        let _lock = self.directory.lock().map_err(failed)?;
        let mut freed = 0;
        for entry in self.list().map_err(failed)? {
            self.directory.remove(&entry.key.to_string()).map_err(failed)?;
            freed += entry.bytes;
        }
        Ok(freed)
    }

    /// Checks every entry and discards the bad ones: (good, discarded).
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the directory cannot be read, or too many files are open.
    pub fn verify(&self) -> Result<(u64, u64)> {
        let (mut good, mut discarded) = (0, 0);
        for entry in self.list().map_err(|error| self.failed("read", error))? {
            match self.checked(&entry.key) {
                Ok(_) => good += 1,
                // Another process has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_shortage(&error) => return Err(self.failed("check", error)),
                Err(error) => {
                    self.discard(&entry.key, &error.to_string());
                    discarded += 1;
                }
            }
        }
        Ok((good, discarded))
    }

    /// The entry of `key`, checked, and marked as used now.
    pub(super) fn get(&self, key: &EntryKey) -> Option<Entry> {
        match self.checked(key) {
            Ok(entry) => {
                self.mark_used(&entry);
                Some(entry)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if is_shortage(&error) => {
                tracing::warn!(entry = %key, %error, "cannot read an entry of the compile cache now");
                None
            }
            Err(error) => {
                self.discard(key, &error.to_string());
                None
            }
        }
    }

    /// The artifact of an entry from [`get`](Self::get).
    pub(super) fn read(&self, key: &EntryKey, entry: &Entry) -> Option<Vec<u8>> {
        entry.read().map_err(|error| self.discard(key, &error.to_string())).ok()
    }

    fn checked(&self, key: &EntryKey) -> io::Result<Entry> {
        Entry::open(self.directory.read(&key.to_string())?, &self.mac_key, key)
    }

    fn mark_used(&self, entry: &Entry) {
        // To the nanosecond, where the kernel's own stamps are as coarse as its tick. On a read-only file system
        // there is no order to keep.
        let _ = entry.file().set_modified(SystemTime::now());
    }

    /// Removes an entry that must not be loaded.
    pub(super) fn discard(&self, key: &EntryKey, why: &str) {
        let removed = self.directory.remove(&key.to_string());
        tracing::warn!(entry = %key, why, removed = removed.is_ok(), "discarding an entry of the compile cache");
    }

    /// Stores an artifact, and makes room for it. `None` when it is larger than the whole cache may be, or cannot
    /// be written: the first such failure is traced.
    pub(super) fn put(&self, key: &EntryKey, artifact: &[u8], about: &About) -> Option<Entry> {
        let tail = seal(&self.mac_key, key, artifact, about);
        let bytes = (artifact.len() + tail.len()) as u64;
        if bytes > self.max_bytes {
            tracing::debug!(entry = %key, bytes, max_bytes = self.max_bytes, "too large for the compile cache");
            return None;
        }
        let stored = self.directory.write(&key.to_string(), &[artifact, &tail]).map(|file| {
            let entry = Entry::written(file, artifact.len(), about.clone());
            self.mark_used(&entry);
            entry
        });
        match stored.and_then(|entry| self.make_room(key).map(|()| entry)) {
            Ok(entry) => Some(entry),
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(dir = %self.directory.path().display(), %error,
                        "cannot write to the compile cache; components are compiled again at the next start");
                }
                None
            }
        }
    }

    /// Removes what was not used for the longest time until the bound holds, but never `newest`.
    fn make_room(&self, newest: &EntryKey) -> io::Result<()> {
        let _lock = self.directory.lock()?;
        let mut listed = self.list()?;
        let mut bytes: u64 = listed.iter().map(|entry| entry.bytes).sum();
        listed.sort_by_key(|entry| (entry.used, entry.key.0));
        for entry in listed.iter().filter(|entry| entry.key != *newest) {
            if bytes <= self.max_bytes {
                break;
            }
            self.directory.remove(&entry.key.to_string())?;
            bytes -= entry.bytes;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let files = self.directory.list()?;
        Ok(files
            .into_iter()
            .filter_map(|(name, metadata)| {
                let key = EntryKey::from_name(&name)?;
                Some(Listed {
                    key,
                    bytes: metadata.len(),
                    used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                })
            })
            .collect())
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let dir = self.directory.path().display();
        Error::new(ErrorKind::Io, "use cache", format!("cannot {what} the compile cache in `{dir}`"))
            .from_source(error)
    }
}
