//! A function in microVMs, and its calls: a machine for each.

use crate::answer::Answer;
use crate::conversation::{Conversation, Kept};
use crate::driver::{Machine, Phases};
use crate::input::Given;
use crate::pool::Pool;
use crate::services::Services;
use crate::timer::Timer;
use crate::watch::Watch;
use limes_core::{
    Body, BoxFuture, Contract, Error, ErrorKind, Function, Grants, Input, Invocation, Limits, Output, Result,
    StopReason,
};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::coop::unconstrained;

/// A function of the microVM sandbox.
pub(crate) struct MicroVmFunction {
    pub name: String,
    pub contract: Contract,
    pub limits: Arc<Limits>,
    pub grants: Arc<Grants>,
    pub pool: Arc<Pool>,
}

impl MicroVmFunction {
    fn given(&self, input: Input) -> Result<Given> {
        match (input, self.contract) {
            (Input::Run(args), Contract::Run) => Ok(Given::Run(args)),
            (Input::Http(request), Contract::Http02 | Contract::Http03) => {
                let (head, body) = request.into_parts();
                Ok(Given::Http(Box::new(head), body))
            }
            (Input::Command { args, stdin }, Contract::Cli02 | Contract::Cli03) => {
                let all = [self.name.clone()].into_iter().chain(self.grants.args.iter().cloned()).chain(args);
                Ok(Given::Command(all.collect(), stdin))
            }
            (Input::Run(_), _) => Err(self.wrong_input("a string")),
            (Input::Http(_), _) => Err(self.wrong_input("an HTTP request")),
            (Input::Command { .. }, _) => Err(self.wrong_input("arguments and stdin")),
        }
    }

    fn wrong_input(&self, given: &str) -> Error {
        let message = format!("`{}` exports {}, which is not called with {given}", self.name, self.contract);
        Error::new(ErrorKind::InvalidArgument, "invoke", message).with("contract", self.contract)
    }

    async fn call(
        &self,
        input: Input,
        watch: &Arc<Watch>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Output> {
        let mut given = self.given(input)?;
        given.check(self.limits.request)?;
        let mut services = Services::new(watch.clone(), &self.limits);
        let phases = Phases(Some(watch.control.clone()));
        let acquired = self.pool.acquire(&phases, &mut services, watch, deadline);
        let mut machine = until(watch, deadline, timeout, acquired).await?;
        let id = watch.control.id();
        given.write(id, self.limits.request, &mut services, watch, machine.channel.line())?;
        let answer = Answer::new(self.limits.response, !self.contract.is_http());
        let kept = Arc::new(Mutex::new(Kept::default()));
        let timer = Timer::new(deadline, timeout, self.limits.cpu, &*machine.monitor);
        let conversation = Conversation {
            machine,
            services,
            watch: watch.clone(),
            answer: answer.clone(),
            kept: kept.clone(),
            limits: self.limits.clone(),
            contract: self.contract,
            timer,
            held: None,
            written: [0; 2],
            broken: None,
        };
        let running = Running { code: Some(Box::pin(conversation.hold())), watch: watch.clone() };
        if self.contract.is_http() {
            return self.respond(running, answer, watch.clone()).await;
        }
        let (exit_code, machine) = running.await?;
        self.end(machine, watch.clone());
        if self.contract.is_command() {
            let Kept { stdout, stderr } = std::mem::take(&mut *kept.lock());
            return Ok(Output::Command { exit_code, stdout: stdout.into(), stderr: stderr.into() });
        }
        let text = String::from_utf8(answer.take_bytes().into())
            .map_err(|_| crate::outcome::garbage("an answer that is no text"))?;
        Ok(Output::Run(text))
    }

    /// Runs the guest until it has ended, or goes on with a response head that stands: then the body streams.
    async fn respond(&self, mut running: Running, answer: Arc<Answer>, watch: Arc<Watch>) -> Result<Output> {
        let mut early = None;
        let ended = poll_fn(|cx| match Pin::new(&mut running).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => {
                early = answer.take_early_head();
                if early.is_some() { Poll::Ready(None) } else { Poll::Pending }
            }
        })
        .await;
        if let Some(outcome) = ended {
            let (_, machine) = outcome?;
            let head = answer
                .take_head()
                .unwrap_or_else(|| Err(no_response()))
                .map_err(|error| watch.blame_denial(error))?;
            if !answer.is_complete() {
                return Err(watch.blame_denial(unfinished()));
            }
            let body = Body::from(answer.take_bytes());
            self.end(machine, watch);
            return Ok(Output::Http(http::Response::from_parts(head, body)));
        }
        let head = early
            .unwrap_or_else(|| Err(no_response()))
            .map_err(|error| watch.blame_denial(error))
            // Before the guest is dropped, which is taken for its caller's going.
            .inspect_err(|error| watch.control.finish(Err(error)))?;
        let (producing, watched, pool) = (Producing(answer.clone()), watch.clone(), self.pool.clone());
        tokio::spawn(async move {
            match running.await {
                Ok((_, machine)) => {
                    let complete = if producing.0.is_complete() { Ok(()) } else { Err(unfinished()) };
                    producing.0.end(complete);
                    pool.release(machine, &watched).await;
                    watched.end_half();
                }
                Err(error) => producing.0.end(Err(error)),
            }
        });
        let announced = head.headers.get(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Output::Http(http::Response::from_parts(head, answer.stream(watch, announced))))
    }

    /// Gives the machine back, and says so when that is done: nobody waits for it.
    fn end(&self, machine: Machine, watch: Arc<Watch>) {
        let pool = self.pool.clone();
        tokio::spawn(async move {
            pool.release(machine, &watch).await;
            watch.control.finish(Ok(()));
        });
    }
}

/// An answer whose body streams. Dropped, it has ended: nobody waits for a task that is no more.
struct Producing(Arc<Answer>);

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.end(Err(Error::new(
            ErrorKind::Internal,
            "run guest",
            "the task of the guest ended before it",
        )));
    }
}

fn no_response() -> Error {
    Error::new(ErrorKind::GuestFailure, "run guest", "the function ended without setting a response")
}

fn unfinished() -> Error {
    Error::new(
        ErrorKind::GuestFailure,
        "run guest",
        "the function did not finish its response body as it announced: it ended before",
    )
}

impl Function for MicroVmFunction {
    fn contract(&self) -> Contract {
        self.contract
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let Invocation { input, control, deadline, timeout } = invocation;
        Box::pin(async move {
            let watch = Watch::new(control.clone(), self.grants.clone());
            let outcome = self.call(input, &watch, deadline, timeout).await;
            if let Err(error) = &outcome {
                control.finish(Err(error));
            }
            outcome
        })
    }
}

type Code = Pin<Box<dyn Future<Output = Result<(i32, Machine)>> + Send>>;

/// A guest on its way. Dropped, it ends with its machine.
struct Running {
    code: Option<Code>,
    watch: Arc<Watch>,
}

impl Future for Running {
    type Output = Result<(i32, Machine)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(code) = &mut this.code else {
            return Poll::Ready(Err(Error::new(
                ErrorKind::Internal,
                "run guest",
                "the guest has ended already",
            )));
        };
        let Poll::Ready(outcome) = code.as_mut().poll(cx) else { return Poll::Pending };
        this.code = None;
        if let Err(error) = &outcome {
            this.watch.control.finish(Err(error));
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.code.take().is_some() {
            self.watch.control.stop(StopReason::ClientGone);
            let reason = self.watch.control.stop_reason().unwrap_or(StopReason::ClientGone);
            self.watch.control.finish(Err(&Error::new(ErrorKind::Stopped, "run guest", reason.describe())));
        }
    }
}

/// Waits for a machine, unless the call has to end first.
pub(crate) async fn until<T>(
    watch: &Watch,
    deadline: Instant,
    timeout: Duration,
    what: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut what = std::pin::pin!(what);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        watch.control.register(cx.waker());
        if let Some(error) = watch.interruption() {
            return Poll::Ready(Err(error));
        }
        // It is looked at also where the guest's messages have used up what the task may do at a time.
        let timer =
            timer.get_or_insert_with(|| Box::pin(unconstrained(tokio::time::sleep_until(deadline.into()))));
        timer.as_mut().poll(cx).map(|()| Err(Error::timed_out(timeout)))
    })
    .await
}
