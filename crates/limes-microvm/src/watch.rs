//! What one call shares between its guest, the host's services and whoever takes its answer.

use limes_core::{Control, Error, ErrorKind, Grants, LogStream};
use limes_wasm::grants::Granted;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A call under its grants: who is told, what was denied, which limit was passed.
pub(crate) struct Watch {
    pub control: Arc<Control>,
    grants: Arc<Grants>,
    denied: Mutex<Option<Denial>>,
    /// What went wrong with the request's body.
    pub breach: Arc<Mutex<Option<Error>>>,
    /// Whether the guest, or else its body, has come to its end without failing.
    half_ended: AtomicBool,
}

#[derive(Clone)]
struct Denial {
    grant: &'static str,
    wanted: String,
}

impl Watch {
    pub fn new(control: Arc<Control>, grants: Arc<Grants>) -> Arc<Self> {
        Arc::new(Self {
            control,
            grants,
            denied: Mutex::default(),
            breach: Arc::default(),
            half_ended: AtomicBool::new(false),
        })
    }

    /// Why the guest must not go on, if it must not.
    pub fn interruption(&self) -> Option<Error> {
        if let Some(breach) = self.breach.lock().take() {
            return Some(breach);
        }
        let reason = self.control.stop_reason()?;
        Some(Error::new(ErrorKind::Stopped, "run guest", reason.describe()))
    }

    /// Wraps an error of the guest when it was denied something before: that is then what to mend.
    pub fn blame_denial(&self, error: Error) -> Error {
        let Some(Denial { grant, wanted }) = self.denied.lock().clone() else { return error };
        let message = format!(
            "the function failed after it was denied `{wanted}`; grant it with `grants.{grant}` if it should have it"
        );
        Error::new(ErrorKind::MissingGrant, "run guest", message)
            .with("grant", grant)
            .with("wanted", wanted)
            .from_source(error)
    }

    /// The guest, or its streaming body, has ended: when both have, the invocation has succeeded.
    pub fn end_half(&self) {
        if self.half_ended.swap(true, Ordering::AcqRel) {
            self.control.finish(Ok(()));
        }
    }
}

impl Granted for Watch {
    fn grants(&self) -> &Grants {
        &self.grants
    }

    fn deny(&self, grant: &'static str, wanted: String) {
        let line = format!("denied {grant}: `{wanted}` is not granted\n");
        self.control.log(LogStream::System, line.as_bytes());
        self.denied.lock().get_or_insert(Denial { grant, wanted });
    }
}
