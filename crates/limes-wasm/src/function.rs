//! A prepared component and its calls: a fresh store and instance for each.

use crate::capture::Capture;
use crate::engine::Engine;
use crate::failure::translate;
use crate::grants::{Stdio, wasi_context};
use crate::guest::Guest;
use crate::host::Host;
use crate::session::Session;
use crate::{command, http02, http03};
use bytes::Bytes;
use limes_core::{
    Body, BoxFuture, Contract, Error, ErrorKind, Function, Grants, Input, Invocation, Limits, LogStream,
    Output, Phase, Result, Tier,
};
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre};
use wasmtime::{Module, Store};
use wasmtime_wasi::WasiCtx;

/// A function of the component sandbox.
pub(crate) struct WasmFunction(pub Arc<Prepared>);

/// A component, compiled and linked, with the limits and grants it runs under.
pub(crate) struct Prepared {
    pub name: String,
    pub engine: Arc<Engine>,
    /// Which compiler made the code.
    pub tier: Tier,
    pub pre: InstancePre<Host>,
    /// Code that other functions share: as long as one of them has it, it is not loaded again.
    pub _code: Option<Arc<Module>>,
    pub contract: Contract,
    /// The exported function that is called.
    pub export: ComponentExportIndex,
    pub limits: Limits,
    pub grants: Grants,
    /// Whether the imports need arguments, standard streams, files or sockets: a context is then made for each call.
    pub needs_context: bool,
}

/// When a call must be over, and how long it had from its start.
pub(crate) type Time = (Instant, Duration);

/// One call's store, with nothing running in it yet.
pub(crate) struct Call {
    pub store: Store<Host>,
    pub session: Arc<Session>,
}

/// What the guest of a command wrote.
struct Written {
    stdout: Capture,
    stderr: Capture,
}

impl WasmFunction {
    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// A store for one call.
    fn call(&self, session: &Arc<Session>, wasi: Option<WasiCtx>) -> Call {
        let host = Host::new(session.clone(), self.0.clone(), wasi);
        let mut store = Store::new(self.0.engine.wasmtime(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(Host::on_epoch);
        // Those that the guest makes of its own types are Wasmtime's to count, which counts the host's as well.
        store.set_max_component_handles(self.limits().handles as usize * 2);
        Call { store, session: session.clone() }
    }

    /// The context of a call: arguments, standard streams, files, sockets.
    fn context(&self, session: &Arc<Session>, args: Vec<String>, stdin: Bytes) -> Result<(WasiCtx, Written)> {
        let keep = self.0.contract.is_command();
        let output = |stream| Capture::new(session.clone(), stream, self.limits().output, keep);
        let (stdout, stderr) = (output(LogStream::Stdout), output(LogStream::Stderr));
        let stdio = Stdio { args, stdin, stdout: stdout.clone(), stderr: stderr.clone() };
        Ok((wasi_context(&self.0, session, stdio)?, Written { stdout, stderr }))
    }

    /// As [`context`](Self::context), for contracts without arguments, and only where the imports need one.
    fn context_if_needed(&self, session: &Arc<Session>) -> Result<Option<WasiCtx>> {
        if !self.0.needs_context {
            return Ok(None);
        }
        self.context(session, Vec::new(), Bytes::new()).map(|(wasi, _)| Some(wasi))
    }

    fn guest<T>(
        &self,
        code: impl Future<Output = Result<T>> + Send + 'static,
        session: &Arc<Session>,
        time: Time,
    ) -> Result<Guest<T>> {
        Guest::new(code, session.clone(), time, self.0.clone())
    }

    async fn run(&self, args: String, session: Arc<Session>, time: Time) -> Result<Output> {
        let allowed = self.limits().request;
        if args.len() as u64 > allowed {
            return Err(Error::request_too_large(allowed, args.len() as u64));
        }
        let call = self.call(&session, self.context_if_needed(&session)?);
        let limit = self.limits().response;
        let code = call.perform(async move |store, instance, export| {
            let run = instance.get_typed_func::<(&str,), (String,)>(&mut *store, export)?;
            let (answer,) = run.call_async(&mut *store, (&args,)).await?;
            Ok(answer)
        });
        let answer = self.guest(code, &session, time)?.await?;
        if answer.len() as u64 > limit {
            return Err(Error::limit("run guest", "response", limit, format!("{} bytes", answer.len())));
        }
        Ok(Output::Run(answer))
    }

    /// Not an async function: everything in its future would be moved with it, on the hottest path there is.
    fn http(
        &self,
        request: http::Request<Body>,
        session: Arc<Session>,
        time: Time,
    ) -> BoxFuture<'_, Result<Output>> {
        let limit = self.limits().response;
        let guest = self.http_guest(request, &session, time);
        Box::pin(async move {
            let control = session.control.clone();
            let outcome = match guest {
                Ok(guest) => crate::response::respond(guest, session, limit).await,
                Err(error) => Err(error),
            };
            // A success is reported with the end of the body.
            outcome.inspect_err(|error| control.finish(Err(error)))
        })
    }

    fn http_guest(
        &self,
        request: http::Request<Body>,
        session: &Arc<Session>,
        time: Time,
    ) -> Result<Guest<()>> {
        let request = crate::request::bounded(request, self.limits().request, session)?;
        let call = self.call(session, self.context_if_needed(session)?);
        match self.0.contract {
            Contract::Http03 => self.guest(http03::handle(call, request), session, time),
            _ => self.guest(http02::handle(call, request), session, time),
        }
    }

    async fn command(
        &self,
        args: Vec<String>,
        stdin: Body,
        session: Arc<Session>,
        time: Time,
    ) -> Result<Output> {
        let collected = tokio::time::timeout_at(time.0.into(), stdin.collect(self.limits().request)).await;
        let stdin = collected
            .map_err(|_| Error::new(ErrorKind::Timeout, "read stdin", "stdin did not end in time"))??;
        let (wasi, written) = self.context(&session, args, stdin)?;
        let call = self.call(&session, Some(wasi));
        let exit_code = match self.0.contract {
            Contract::Cli03 => self.guest(command::run03(call), &session, time)?.await?,
            _ => self.guest(command::run02(call), &session, time)?.await?,
        };
        Ok(Output::Command { exit_code, stdout: written.stdout.take(), stderr: written.stderr.take() })
    }

    fn wrong_input(&self, given: &str) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            "invoke",
            format!("`{}` exports {}, which is not called with {given}", self.0.name, self.0.contract),
        )
        .with("contract", self.0.contract)
    }
}

impl Call {
    /// Instantiates, runs `body`, and gives the instance back; times each phase, and translates what went wrong.
    pub async fn perform<T>(
        mut self,
        body: impl AsyncFnOnce(&mut Store<Host>, Instance, ComponentExportIndex) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let control = self.session.control.clone();
        let begun = Instant::now();
        let function = self.store.data().function().clone();
        let (outcome, ended) = match function.pre.instantiate_async(&mut self.store).await {
            Ok(instance) => {
                let ready = Instant::now();
                control.record(Phase::Instantiate, ready - begun);
                self.session.begin(ready);
                let outcome = body(&mut self.store, instance, function.export).await;
                let ended = Instant::now();
                control.record(Phase::Execute, ended - ready);
                (outcome, ended)
            }
            Err(error) => (Err(error), Instant::now()),
        };
        let outcome = outcome.map_err(|error| {
            self.session.mark_failing();
            translate(error, self.store.data())
        });
        drop(self.store);
        control.record(Phase::Reset, ended.elapsed());
        // A guest that swallowed the error of a passed limit has passed it all the same.
        match self.session.take_breach() {
            Some(breach) => Err(breach),
            None => outcome,
        }
    }
}

impl Function for WasmFunction {
    fn contract(&self) -> Contract {
        self.0.contract
    }

    fn tier(&self) -> Tier {
        self.0.tier
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let Invocation { input, control, deadline, timeout } = invocation;
        control.record_tier(self.0.tier);
        let time = (deadline, timeout);
        let session = Session::new(control);
        let called = session.clone();
        match (input, self.0.contract) {
            (Input::Http(request), Contract::Http02 | Contract::Http03) => self.http(request, session, time),
            (Input::Run(args), Contract::Run) => concluded(called, self.run(args, session, time)),
            (Input::Command { args, stdin }, Contract::Cli02 | Contract::Cli03) => {
                concluded(called, self.command(args, stdin, session, time))
            }
            (Input::Run(_), _) => concluded(called, ready(Err(self.wrong_input("a string")))),
            (Input::Http(_), _) => concluded(called, ready(Err(self.wrong_input("an HTTP request")))),
            (Input::Command { .. }, _) => {
                concluded(called, ready(Err(self.wrong_input("arguments and stdin"))))
            }
        }
    }
}

/// Reports how a call ended whose answer is whole when it ends. A guest that failed has said so already; this counts where none was
/// started, or its answer was refused.
fn concluded<'a>(
    session: Arc<Session>,
    outcome: impl Future<Output = Result<Output>> + Send + 'a,
) -> BoxFuture<'a, Result<Output>> {
    Box::pin(async move {
        let outcome = outcome.await;
        session.control.finish(outcome.as_ref().map(|_| ()));
        outcome
    })
}
