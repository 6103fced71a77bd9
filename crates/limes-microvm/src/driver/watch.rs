//! Waiting for a file to appear, without looking again and again.

use super::process::reap;
use rustix::fs::inotify;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// A file that is to be made in a folder. Made before whoever makes the file is started.
pub(super) struct Created {
    /// `None` only while it is being dropped.
    events: Option<AsyncFd<OwnedFd>>,
    name: String,
}

impl Drop for Created {
    fn drop(&mut self) {
        // The kernel takes some ten milliseconds to close a watch.
        if let Some(events) = self.events.take() {
            reap(Box::new(events.into_inner()));
        }
    }
}

impl Created {
    /// Watches `folder` for `name`.
    ///
    /// # Errors
    /// The kernel gives no more watches.
    pub fn new(folder: &Path, name: &str) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO)?;
        // SAFETY: the descriptor is owned by what is registered, and closed with it.
        let events = unsafe { AsyncFd::register_with_interest(events, tokio::io::Interest::READABLE) };
        Ok(Self { events: Some(events.map_err(io::Error::from)?), name: name.to_owned() })
    }

    /// Waits until it has been made.
    pub async fn wait(&self) -> io::Result<()> {
        let Some(events) = &self.events else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            let mut ready = events.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 1024];
            let mut reader = inotify::Reader::new(events.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let made = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                        if made == Some(OsStr::new(&self.name)) {
                            return Ok(());
                        }
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
        }
    }
}
