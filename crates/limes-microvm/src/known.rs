//! What is remembered about the monitors of this machine, across processes: finding out takes booting a machine.
//!
//! It is a file in the compile cache's directory, which is this user's alone; one that is odd in any way is as good as none. What was found holds for
//! the same kernel since its start, and the same programs; that a monitor does not work holds for an hour, since it may have failed for want of time.

use parking_lot::Mutex;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most that the file may hold, in bytes.
const MOST: u64 = 64 << 10;

/// The most monitors that are remembered: with each version of a program there is one more.
const ENTRIES: usize = 32;

/// How long it holds that a monitor does not work, in seconds.
const DOUBT: u64 = 3600;

/// What is remembered. Without a path, only as long as the process is.
pub(crate) struct Known {
    path: Option<PathBuf>,
    found: Mutex<Option<File>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Which kernel, and which start of it.
    machine: String,
    monitors: BTreeMap<String, Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    works: bool,
    /// Seconds since 1970.
    at: u64,
}

impl Known {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, found: Mutex::default() }
    }

    /// Whether the monitor `key` works, as far as that is known.
    pub fn works(&self, key: &str) -> Option<bool> {
        let mut found = self.found.lock();
        let entry = found.get_or_insert_with(|| self.read()).monitors.get(key)?;
        let fresh = entry.at <= now() && now() - entry.at < DOUBT;
        (entry.works || fresh).then_some(entry.works)
    }

    /// Remembers whether the monitor `key` works.
    pub fn remember(&self, key: String, works: bool) {
        let mut found = self.found.lock();
        // What another process has found meanwhile is kept.
        let mut file = self.read();
        file.monitors.insert(key, Entry { works, at: now() });
        while file.monitors.len() > ENTRIES {
            let oldest = file.monitors.iter().min_by_key(|(_, entry)| entry.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| file.monitors.remove(&key));
        }
        if let Err(error) = self.write(&file) {
            tracing::debug!(%error, "cannot remember which monitors work");
        }
        *found = Some(file);
    }

    fn read(&self) -> File {
        let machine = machine();
        let read = self.path.as_deref().map(read);
        match read {
            Some(Ok(file)) if file.machine == machine => file,
            _ => File { machine, monitors: BTreeMap::new() },
        }
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        temporary.write_all(&serde_json::to_vec(file)?)?;
        temporary.persist(path).map_err(|error| error.error).map(drop)
    }
}

fn read(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let about = file.metadata()?;
    let own = about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
    if !about.is_file() || !own || about.len() > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn machine() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    format!("{} {}", read("osrelease").trim(), read("random/boot_id").trim())
}

/// What tells whether a file is still the one it was: another one has another number, a changed one another time of change.
pub(crate) fn identity(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(about) => {
            let (device, number, size) = (about.dev(), about.ino(), about.size());
            format!("{}:{device}:{number}:{size}:{}.{}", path.display(), about.ctime(), about.ctime_nsec())
        }
        Err(_) => format!("{}:none", path.display()),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_finds_the_next_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitors.json");
        let first = Known::new(Some(path.clone()));
        assert_eq!(first.works("builtin"), None);
        first.remember("builtin".into(), true);
        first.remember("qemu".into(), false);
        let next = Known::new(Some(path.clone()));
        assert_eq!((next.works("builtin"), next.works("qemu")), (Some(true), Some(false)));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_odd_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitors.json");
        let known = || Known::new(Some(path.clone())).works("builtin");
        Known::new(Some(path.clone())).remember("builtin".into(), true);
        let good = std::fs::read_to_string(&path).unwrap();
        let damaged = [
            "{".to_owned(),
            good.replace(&machine(), "another kernel"),
            good.replace("\"works\"", "\"wrks\""),
            " ".repeat(MOST as usize + 1) + &good,
        ];
        for odd in damaged {
            std::fs::write(&path, odd).unwrap();
            assert_eq!(known(), None);
        }
        std::fs::write(&path, &good).unwrap();
        assert_eq!(known(), Some(true));
        std::fs::set_permissions(&path, Permissions::from_mode(0o622)).unwrap();
        assert_eq!(known(), None, "others may have written it");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(known(), None, "it is a link");
    }

    #[test]
    fn that_a_monitor_does_not_work_is_forgotten_after_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitors.json");
        let known = Known::new(Some(path.clone()));
        known.remember("qemu".into(), false);
        known.remember("builtin".into(), true);
        let aged = std::fs::read_to_string(&path).unwrap().replace(&now().to_string()[..6], "100000");
        std::fs::write(&path, aged).unwrap();
        let later = Known::new(Some(path));
        assert_eq!((later.works("qemu"), later.works("builtin")), (None, Some(true)));
    }

    #[test]
    fn a_program_that_was_replaced_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("firecracker");
        std::fs::write(&program, "one").unwrap();
        let before = identity(&program);
        assert_eq!(identity(&program), before);
        std::fs::write(folder.path().join("new"), "two").unwrap();
        std::fs::rename(folder.path().join("new"), &program).unwrap();
        assert_ne!(identity(&program), before);
    }
}
