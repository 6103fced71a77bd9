use super::directory::{Directory, fresh_key};
use super::entry::{About, Entry, seal};
use super::functions::FunctionCache;
use super::key::EntryKey;
use super::pack::{self, Pack};
use limes_core::{Error, ErrorKind, Result};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// Size of everything kept, in bytes; the code of single functions, for components to come, included.
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
    name: String,
    kind: Kind,
    bytes: u64,
    used: SystemTime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Component(EntryKey),
    /// Single functions, for components to come.
    Pack,
}

/// What packs may take, of the whole bound and at most.
const PACKS_SHARE: u64 = 4;
const PACKS_BYTES: u64 = 256 << 20;

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
            entries: listed.iter().filter(|file| file.kind != Kind::Pack).count() as u64,
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
            self.directory.remove(&entry.name).map_err(failed)?;
            freed += entry.bytes;
        }
        Ok(freed)
    }

    /// Checks every entry and discards the bad ones: (good, discarded). Packs of functions count as entries here.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the directory cannot be read, or too many files are open.
    pub fn verify(&self) -> Result<(u64, u64)> {
        let (mut good, mut discarded) = (0, 0);
        for file in self.list().map_err(|error| self.failed("read", error))? {
            let checked = match file.kind {
                Kind::Component(key) => self.checked(&key).map(drop),
                Kind::Pack => self.pack(&file.name).map(drop),
            };
            match checked {
                Ok(()) => good += 1,
                // Another process has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_shortage(&error) => return Err(self.failed("check", error)),
                Err(error) => {
                    self.discard_file(&file.name, &error.to_string());
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

    /// Marks a file as used now, if it is there.
    pub(super) fn touch(&self, name: &str) {
        let _ = self.directory.read(name).and_then(|file| file.set_modified(SystemTime::now()));
    }

    fn mark_used(&self, entry: &Entry) {
        // To the nanosecond, where the kernel's own stamps are as coarse as its tick. On a read-only file system
        // there is no order to keep.
        let _ = entry.file().set_modified(SystemTime::now());
    }

    /// Removes an entry that must not be loaded.
    pub(super) fn discard(&self, key: &EntryKey, why: &str) {
        self.discard_file(&key.to_string(), why);
    }

    fn discard_file(&self, name: &str, why: &str) {
        let removed = self.directory.remove(name);
        tracing::warn!(
            entry = name,
            why,
            removed = removed.is_ok(),
            "discarding an entry of the compile cache"
        );
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
        match stored.and_then(|entry| self.make_room(&key.to_string()).map(|()| entry)) {
            Ok(entry) => Some(entry),
            Err(error) => {
                self.cannot_write(&error);
                None
            }
        }
    }

    fn cannot_write(&self, error: &io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(dir = %self.directory.path().display(), %error,
                "cannot write to the compile cache; components are compiled again at the next start");
        }
    }

    /// The single functions that are known.
    pub(super) fn functions(&self) -> Arc<FunctionCache> {
        let names = self.list().unwrap_or_default().into_iter().filter(|file| file.kind == Kind::Pack);
        let packs = names.filter_map(|file| match self.pack(&file.name) {
            Ok(pack) => Some(pack),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_shortage(&error) => None,
            Err(error) => {
                self.discard_file(&file.name, &error.to_string());
                None
            }
        });
        FunctionCache::new(packs.collect())
    }

    fn pack(&self, name: &str) -> io::Result<Pack> {
        Pack::open(name, self.directory.read(name)?, &self.mac_key)
    }

    /// Keeps what was compiled since [`functions`](Self::functions), and makes room for it.
    pub(super) fn keep_functions(&self, functions: &FunctionCache) {
        for name in functions.used() {
            self.touch(name);
        }
        let fresh = functions.take_fresh();
        if fresh.is_empty() {
            return;
        }
        let (name, content) = pack::seal(&self.mac_key, &fresh);
        if content.len() as u64 > self.max_pack_bytes() {
            return;
        }
        let stored = self.directory.write_lazily(&name, &[&content]);
        let stored = stored.and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = stored.and_then(|()| self.make_room(&name)) {
            self.cannot_write(&error);
        }
    }

    fn max_pack_bytes(&self) -> u64 {
        PACKS_BYTES.min(self.max_bytes / PACKS_SHARE)
    }

    /// Removes what was not used for the longest time until the bounds hold, but never `newest`.
    fn make_room(&self, newest: &str) -> io::Result<()> {
        let _lock = self.directory.lock()?;
        let mut listed = self.list()?;
        listed.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        let mut bytes: u64 = listed.iter().map(|file| file.bytes).sum();
        let mut pack_bytes: u64 =
            listed.iter().filter(|file| file.kind == Kind::Pack).map(|file| file.bytes).sum();
        for file in listed.iter().filter(|file| file.name != newest) {
            let is_pack = file.kind == Kind::Pack;
            if bytes > self.max_bytes || is_pack && pack_bytes > self.max_pack_bytes() {
                self.directory.remove(&file.name)?;
                bytes -= file.bytes;
                pack_bytes -= if is_pack { file.bytes } else { 0 };
            }
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let files = self.directory.list()?;
        Ok(files
            .into_iter()
            .filter_map(|(name, metadata)| {
                let kind = match EntryKey::from_name(&name) {
                    Some(key) => Kind::Component(key),
                    None if pack::is_pack(&name) => Kind::Pack,
                    None => return None,
                };
                Some(Listed {
                    name,
                    kind,
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
