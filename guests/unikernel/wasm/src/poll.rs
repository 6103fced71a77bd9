//! `wasi:io/poll`: what is here, what the clock brings, and what the host says.

use crate::ask;
use crate::bindings::wasi::io::poll;
use crate::body::{Body, Source};
use crate::host::{Host, Shared};
use alloc::vec;
use alloc::vec::Vec;
use kernel::clock;
use wasmtime::bail;
use wasmtime::component::Resource;

/// Something to wait for.
pub enum Pollable {
    /// Nothing: it is ready.
    Ready,
    /// A moment of the monotonic clock.
    At(u64),
    /// A pollable of the host's.
    Remote(u32),
    /// Bytes to read. The host's pollable, once one was needed.
    Source(Shared<Source>, Option<u32>),
    /// Room to write. The host's pollable, once one was needed.
    Body(Shared<Body>, Option<u32>),
}

/// What is known of a pollable without asking.
pub enum Wait {
    Ready,
    At(u64),
    /// Ask the host about this pollable.
    Remote(u32),
    /// Subscribe to this handle of the host's, then ask.
    Subscribe(u32),
    /// Nothing that happens outside makes it ready.
    Never,
}

impl Pollable {
    fn wait(&mut self) -> wasmtime::Result<Wait> {
        let (wait, pollable) = match self {
            Self::Ready => return Ok(Wait::Ready),
            Self::At(when) => return Ok(Wait::At(*when)),
            Self::Remote(pollable) => return Ok(Wait::Remote(*pollable)),
            Self::Source(source, pollable) => (source.get().wait(), pollable),
            Self::Body(body, pollable) => (body.get().wait(), pollable),
        };
        Ok(match (wait, &pollable) {
            (Wait::Subscribe(_), Some(pollable)) => Wait::Remote(*pollable),
            (Wait::Subscribe(handle), None) => Wait::Remote(*pollable.insert(ask::subscribe(handle)?)),
            (wait, _) => wait,
        })
    }
}

impl Host {
    /// Waits until one is ready; indexes of those that are.
    fn wait_for(&mut self, pollables: &[Resource<Pollable>], block: bool) -> wasmtime::Result<Vec<u32>> {
        let mut remote = (vec![], vec![]);
        loop {
            let mut ready = vec![];
            let mut deadline = None::<u64>;
            remote.0.clear();
            remote.1.clear();
            for (index, pollable) in (0u32..).zip(pollables) {
                match self.table.get_mut(pollable)?.wait()? {
                    Wait::Ready => ready.push(index),
                    Wait::At(when) if when <= clock::monotonic() => ready.push(index),
                    Wait::At(when) => deadline = Some(deadline.map_or(when, |other| other.min(when))),
                    Wait::Remote(pollable) => {
                        remote.0.push(pollable);
                        remote.1.push(index);
                    }
                    Wait::Subscribe(_) | Wait::Never => {}
                }
            }
            let timeout = match (ready.is_empty() && block, deadline) {
                (true, Some(when)) => Some(when.saturating_sub(clock::monotonic())),
                (true, None) => None,
                // Somebody is ready: the host's are only looked at, so that none of them starves.
                (false, _) if remote.0.is_empty() => return Ok(ready),
                (false, _) => Some(0),
            };
            for at in ask::poll(remote.0.clone(), timeout)? {
                if let Some(index) = remote.1.get(at as usize) {
                    ready.push(*index);
                }
            }
            if !ready.is_empty() || !block {
                ready.sort_unstable();
                return Ok(ready);
            }
        }
    }
}

impl poll::Host for Host {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            bail!("empty poll list");
        }
        self.wait_for(&pollables, true)
    }
}

impl poll::HostPollable for Host {
    fn ready(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<bool> {
        Ok(!self.wait_for(&[pollable], false)?.is_empty())
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        self.wait_for(&[pollable], true).map(drop)
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        match self.table.delete(pollable)? {
            Pollable::Remote(handle)
            | Pollable::Source(_, Some(handle))
            | Pollable::Body(_, Some(handle)) => ask::drop_handle(handle),
            _ => Ok(()),
        }
    }
}
