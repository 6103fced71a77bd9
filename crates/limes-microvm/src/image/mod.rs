//! Images of one's own: a machine for every call, spoken to in a protocol that the image knows.
//!
//! `machines`: how they are made, ahead or on demand; `spare` and `port`: the protocols. What an image says is a hostile guest's.

mod machines;
mod port;
mod spare;
#[cfg(test)]
mod tests;

use crate::conversation::guard;
use crate::driver::console::Console;
use crate::driver::{Monitor, Phases};
use crate::function::until;
use crate::timer::Timer;
use crate::watch::Watch;
use bytes::Bytes;
use http_body_util::Full;
use limes_core::{
    BoxFuture, Contract, Control, Error, ErrorKind, Function, Grants, Input, Invocation, Isolation, Limits,
    Output, Phase, Protocol, Result, StopReason,
};
use machines::Machine;
pub(crate) use machines::{Machines, Parts};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a function behind `protocol` is called.
pub(crate) fn contract(protocol: Protocol) -> Contract {
    match protocol {
        Protocol::Spare => Contract::Run,
        Protocol::Http => Contract::Http02,
    }
}

/// An image that can be called.
pub(crate) struct ImageFunction {
    pub name: String,
    pub protocol: Protocol,
    pub limits: Arc<Limits>,
    pub grants: Arc<Grants>,
    pub machines: Arc<Machines>,
}

/// What an image is called with, whole.
enum Given {
    Payload(String),
    Request(http::Request<Full<Bytes>>),
}

impl ImageFunction {
    async fn given(&self, input: Input) -> Result<Given> {
        let limit = self.limits.request;
        match (input, self.protocol) {
            (Input::Run(args), Protocol::Spare) if args.len() as u64 > limit => {
                Err(Error::request_too_large(limit, args.len() as u64))
            }
            (Input::Run(args), Protocol::Spare) => Ok(Given::Payload(args)),
            (Input::Http(request), Protocol::Http) => {
                let (head, body) = request.into_parts();
                let body = body.collect(limit).await?;
                Ok(Given::Request(port::outgoing(head, body)))
            }
            (_, protocol) => {
                let takes = match protocol {
                    Protocol::Spare => "a string",
                    Protocol::Http => "an HTTP request",
                };
                let message = format!("the image `{}` is called with {takes}", self.name);
                Err(Error::new(ErrorKind::InvalidArgument, "invoke", message))
            }
        }
    }

    async fn call(
        &self,
        input: Input,
        watch: &Watch,
        deadline: Instant,
        timeout: Duration,
        said: &mut Option<Console>,
    ) -> Result<(Output, Machine)> {
        let given = until(watch, deadline, timeout, self.given(input)).await?;
        let phases = Phases(Some(watch.control.clone()));
        let taken = self.machines.take(&phases, &watch.control, deadline, said);
        let mut machine = until(watch, deadline, timeout, taken).await?;
        let mut timer = Timer::new(deadline, timeout, self.limits.cpu, &*machine.monitor);
        let begun = Instant::now();
        let limit = self.limits.response;
        let Machine { open, monitor, .. } = &mut machine;
        let answered = guard(&mut timer, watch, &**monitor, async {
            match given {
                Given::Payload(text) => {
                    spare::exchange(open, &**monitor, text.as_bytes(), limit).await.map(Output::Run)
                }
                Given::Request(request) => {
                    port::exchange(open, &**monitor, request, limit).await.map(Output::Http)
                }
            }
        });
        let answered = answered.await.flatten();
        watch.control.record(Phase::Execute, begun.elapsed());
        match answered {
            Ok(output) => Ok((output, machine)),
            Err(error) => Err(explain(error, &mut *machine.monitor)),
        }
    }
}

/// Tells the invocation's end whatever happens: a future that is dropped has been given up by its caller.
struct Ending(Option<Arc<Control>>);

impl Ending {
    fn tell(&mut self, outcome: Result<(), &Error>) {
        if let Some(control) = self.0.take() {
            control.finish(outcome);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(control) = self.0.take() {
            control.stop(StopReason::ClientGone);
            let reason = control.stop_reason().unwrap_or(StopReason::ClientGone);
            control.finish(Err(&Error::new(ErrorKind::Stopped, "run guest", reason.describe())));
        }
    }
}

/// Ends a machine, and waits until the log has what it said.
async fn end(machine: Option<Machine>, said: Option<Console>, control: &Control) {
    let begun = Instant::now();
    drop(machine);
    if let Some(said) = said {
        said.ended().await;
    }
    control.record(Phase::Teardown, begun.elapsed());
}

impl Function for ImageFunction {
    fn contract(&self) -> Contract {
        contract(self.protocol)
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let Invocation { input, control, deadline, timeout } = invocation;
        Box::pin(async move {
            let mut ending = Ending(Some(control.clone()));
            let watch = Watch::new(control.clone(), self.grants.clone());
            let mut said = None;
            match self.call(input, &watch, deadline, timeout, &mut said).await {
                Ok((output, machine)) => {
                    let machines = self.machines.clone();
                    tokio::spawn(async move {
                        if machines.isolation == Isolation::Reuse {
                            machines.put_back(machine, said);
                        } else {
                            end(Some(machine), said, &control).await;
                        }
                        ending.tell(Ok(()));
                    });
                    Ok(output)
                }
                Err(error) => {
                    end(None, said, &control).await;
                    ending.tell(Err(&error));
                    Err(error)
                }
            }
        })
    }
}

/// The error for a machine that is gone.
fn gone(what: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "run guest",
        format!("the image's machine ended before it answered ({what})"),
    )
}

/// With what is known of the end of a machine that is gone.
fn explain(error: Error, monitor: &mut dyn Monitor) -> Error {
    if error.kind() != ErrorKind::Unavailable {
        return error;
    }
    let message = format!("{}{}; try again", error.message(), monitor.why());
    Error::new(ErrorKind::Unavailable, "run guest", message).from_source(error)
}

/// The error for an image that does not keep to its protocol.
fn garbage(what: &str) -> Error {
    Error::new(ErrorKind::GuestFailure, "run guest", format!("the image {what}; its machine was ended"))
}
