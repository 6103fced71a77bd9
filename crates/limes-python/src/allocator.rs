//! The core's allocator: mimalloc, and what it has to know of loading components.
//!
//! Compiling one takes hundreds of megabytes, many times over, and then none. By itself the allocator gives free memory back after a second, so that the
//! system cleans each page again that is used again at once; and what it holds after the last compilation, it holds until somebody asks for memory.

use libmimalloc_sys::{mi_collect, mi_option_get, mi_option_set, mi_option_t};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request makes some fifty small allocations; Python keeps its own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After how many milliseconds free memory is given back: `mi_option_purge_delay` of mimalloc 3, whose header numbers the options.
const PURGE_DELAY: mi_option_t = 15;

/// An hour. Without any delay, mimalloc would not note what there is to give back.
const KEEP: i64 = 3_600_000;

/// A load that took longer has compiled.
const LONG: Duration = Duration::from_millis(200);

/// How long no component has been loaded when memory is given back: who deploys one often deploys another.
const QUIET: Duration = Duration::from_secs(3);

static LOADS: Mutex<Loads> = Mutex::new(Loads { running: 0, delay: 0, ended: None, giving_back: false });

struct Loads {
    running: u32,
    /// The allocator's own delay.
    delay: i64,
    /// When the last one ended.
    ended: Option<Instant>,
    /// A thread waits to give memory back.
    giving_back: bool,
}

fn loads() -> MutexGuard<'static, Loads> {
    LOADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what may compile a component: free memory is kept meanwhile, and given back some time after it.
pub(crate) fn while_loading<T>(load: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let running = Running::begin();
    let loaded = load();
    drop(running);
    if begun.elapsed() > LONG {
        give_back_later();
    }
    loaded
}

struct Running;

impl Running {
    fn begin() -> Self {
        let mut loads = loads();
        if loads.running == 0 {
            // SAFETY: an option is read and set.
            unsafe {
                loads.delay = mi_option_get(PURGE_DELAY);
                mi_option_set(PURGE_DELAY, KEEP);
            }
        }
        loads.running += 1;
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut loads = loads();
        loads.running -= 1;
        loads.ended = Some(Instant::now());
        if loads.running == 0 {
            // SAFETY: an option is set.
            unsafe { mi_option_set(PURGE_DELAY, loads.delay) };
        }
    }
}

fn give_back_later() {
    if std::mem::replace(&mut loads().giving_back, true) {
        return;
    }
    let waiting = std::thread::Builder::new().name("limes-memory".into()).spawn(|| {
        loop {
            std::thread::sleep(QUIET);
            let mut loads = loads();
            if loads.running == 0 && loads.ended.is_none_or(|ended| ended.elapsed() >= QUIET) {
                loads.giving_back = false;
                break;
            }
        }
        give_back();
    });
    if waiting.is_err() {
        loads().giving_back = false;
        give_back();
    }
}

/// What is free goes back to the system: that of the threads that the engine compiles on first, since it is theirs whoever has freed it.
fn give_back() {
    // SAFETY: it concerns free memory only.
    let collect = || unsafe { mi_collect(true) };
    rayon::broadcast(|_| collect());
    collect();
}
