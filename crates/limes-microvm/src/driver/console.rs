//! What the machine of an image writes to its console: to the log of the call that it belongs to.

use super::Extras;
use limes_core::{Control, Error, ErrorKind, LogStream, Result};
use parking_lot::Mutex;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// How long what was written last may take to come through after the machine has ended.
const REST: Duration = Duration::from_secs(1);

/// The console of one machine, bounded: a flood is read and thrown away.
pub(crate) struct Console {
    said: Arc<Mutex<Said>>,
    reader: JoinHandle<()>,
}

struct Said {
    /// Before there was a call.
    before: Vec<u8>,
    call: Option<Arc<Control>>,
    /// Bytes that may still be kept or logged.
    left: u64,
}

impl Said {
    fn hear(&mut self, bytes: &[u8]) {
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= take as u64;
        match &self.call {
            Some(call) => call.log(LogStream::Stdout, &bytes[..take]),
            None => self.before.extend_from_slice(&bytes[..take]),
        }
        if take < bytes.len() && take > 0 {
            let line = b"the console is cut off at `limits.output`\n";
            match &self.call {
                Some(call) => call.log(LogStream::System, line),
                None => self.before.extend_from_slice(line),
            }
        }
    }
}

impl Console {
    /// The console of a machine and the pipe's end that the machine says it to; `None` where there is no image.
    ///
    /// # Errors
    /// The system gives no pipe.
    pub fn of(extras: Option<&Extras>) -> Result<Option<(Self, OwnedFd)>> {
        let Some(extras) = extras else { return Ok(None) };
        let (ours, theirs) = io::pipe()
            .and_then(|(ours, theirs)| Ok((Self::new(ours.into(), extras.console)?, theirs.into())))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "start microVM", "no pipe for the machine's console")
                    .from_source(error)
            })?;
        Ok(Some((ours, theirs)))
    }

    /// Reads from the machine's end of a pipe; at most `limit` bytes go to the log.
    fn new(pipe: OwnedFd, limit: u64) -> io::Result<Self> {
        let mut pipe = Receiver::from_owned_fd(pipe)?;
        let said = Arc::new(Mutex::new(Said { before: Vec::new(), call: None, left: limit }));
        let heard = said.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                heard.lock().hear(&buffer[..count]);
            }
        });
        Ok(Self { said, reader })
    }

    /// Logs with `call` from now on, what was said before first.
    pub fn follow(&self, call: Arc<Control>) {
        let mut said = self.said.lock();
        let before = std::mem::take(&mut said.before);
        if !before.is_empty() {
            call.log(LogStream::Stdout, &before);
        }
        said.call = Some(call);
    }

    /// Keeps what is said from now on for the next call.
    pub fn leave(&self) {
        self.said.lock().call = None;
    }

    /// Waits, after the machine was ended, until all that it said is logged.
    pub async fn ended(self) {
        let _ = tokio::time::timeout(REST, self.reader).await;
        self.said.lock().call = None;
    }

    /// What was said while there was no call; its end, for an error.
    pub fn last_words(&self) -> String {
        let said = self.said.lock();
        let text = String::from_utf8_lossy(&said.before);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}
