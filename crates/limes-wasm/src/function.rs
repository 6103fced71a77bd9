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
    Body, BoxFuture, Contract, Error, ErrorKind, Function, Grants, Input, Invocation, Limits, LogStream, Output,
    Phase, Result,
};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre};

/// A component, compiled and linked, with the limits and grants it runs under.
pub(crate) struct WasmFunction {
    pub name: String,
    pub engine: Arc<Engine>,
    pub pre: InstancePre<Host>,
    pub contract: Contract,
    /// The exported function that is called.
    pub export: ComponentExportIndex,
    pub limits: Limits,
    pub grants: Arc<Grants>,
    /// Whether the imports need arguments, standard streams, files or sockets: a context is then made for each call.
    pub needs_context: bool,
}

/// One call's store and what to call in it.
pub(crate) struct Call {
    pub store: Store<Host>,
    pub session: Arc<Session>,
    pub stdout: Capture,
    pub stderr: Capture,
    pre: InstancePre<Host>,
    pub export: ComponentExportIndex,
    limits: Limits,
}

impl WasmFunction {
    /// A store for one call, with nothing running in it yet.
    fn call(&self, session: &Arc<Session>, args: Vec<String>, stdin: Bytes) -> Result<Call> {
        let keep = self.contract.is_command();
        let output = |stream| Capture::new(session.clone(), stream, self.limits.output, keep);
        let (stdout, stderr) = (output(LogStream::Stdout), output(LogStream::Stderr));
        let wasi = if self.needs_context {
            let stdio = Stdio { args, stdin, stdout: stdout.clone(), stderr: stderr.clone() };
            Some(wasi_context(&self.name, &self.grants, session, stdio)?)
        } else {
            None
        };
        let host = Host::new(session.clone(), &self.limits, self.grants.clone(), wasi);
        let mut store = Store::new(self.engine.wasmtime(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(Host::on_epoch);
        Ok(Call {
            store,
            session: session.clone(),
            stdout,
            stderr,
            pre: self.pre.clone(),
            export: self.export,
            limits: self.limits.clone(),
        })
    }

    fn guest<T>(
        &self,
        code: impl Future<Output = Result<T>> + Send + 'static,
        session: &Arc<Session>,
        deadline: Instant,
    ) -> Guest<T> {
        Guest::new(code, session.clone(), deadline, self.engine.running())
    }

    async fn run(&self, args: String, session: Arc<Session>, deadline: Instant) -> Result<Output> {
        let allowed = self.limits.request;
        if args.len() as u64 > allowed {
            return Body::from(Bytes::from(args)).collect(allowed).await.map(|_| Output::Run(String::new()));
        }
        let call = self.call(&session, Vec::new(), Bytes::new())?;
        let limit = self.limits.response;
        let code = call.perform(async move |store, instance, export| {
            let run = instance.get_typed_func::<(&str,), (String,)>(&mut *store, export)?;
            let (answer,) = run.call_async(&mut *store, (&args,)).await?;
            Ok(answer)
        });
        let answer = self.guest(code, &session, deadline).await?;
        if answer.len() as u64 > limit {
            return Err(Error::limit("run guest", "response", limit, format!("{} bytes", answer.len())));
        }
        Ok(Output::Run(answer))
    }

    async fn http(
        &self,
        request: http::Request<Body>,
        session: Arc<Session>,
        deadline: Instant,
    ) -> Result<Output> {
        let request = crate::request::bounded(request, self.limits.request, &session)?;
        let call = self.call(&session, Vec::new(), Bytes::new())?;
        let guest = match self.contract {
            Contract::Http03 => self.guest(http03::handle(call, request), &session, deadline),
            _ => self.guest(http02::handle(call, request), &session, deadline),
        };
        crate::response::respond(guest, session, self.limits.response).await
    }

    async fn command(
        &self,
        args: Vec<String>,
        stdin: Body,
        session: Arc<Session>,
        deadline: Instant,
    ) -> Result<Output> {
        let collected = tokio::time::timeout_at(deadline.into(), stdin.collect(self.limits.request)).await;
        let stdin = collected.map_err(|_| Error::new(ErrorKind::Timeout, "read stdin", "stdin did not end in time"))??;
        let call = self.call(&session, args, stdin)?;
        let (stdout, stderr) = (call.stdout.clone(), call.stderr.clone());
        let exit_code = match self.contract {
            Contract::Cli03 => self.guest(command::run03(call), &session, deadline).await?,
            _ => self.guest(command::run02(call), &session, deadline).await?,
        };
        Ok(Output::Command { exit_code, stdout: stdout.take(), stderr: stderr.take() })
    }

    fn wrong_input(&self, given: &str) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            "invoke",
            format!("`{}` exports {}, which is not called with {given}", self.name, self.contract),
        )
        .with("contract", self.contract)
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
        let outcome = match self.pre.instantiate_async(&mut self.store).await {
            Ok(instance) => {
                let ready = Instant::now();
                control.record(Phase::Instantiate, ready - begun);
                let outcome = body(&mut self.store, instance, self.export).await;
                control.record(Phase::Execute, ready.elapsed());
                outcome
            }
            Err(error) => Err(error),
        };
        let outcome = outcome.map_err(|error| {
            self.session.mark_failing();
            translate(error, self.store.data(), &self.limits)
        });
        let ended = Instant::now();
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
        self.contract
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let Invocation { input, control, deadline } = invocation;
        Box::pin(async move {
            let session = Session::new(control.clone());
            let outcome = match (input, self.contract) {
                (Input::Run(args), Contract::Run) => self.run(args, session, deadline).await,
                (Input::Http(request), Contract::Http02 | Contract::Http03) => {
                    self.http(request, session, deadline).await
                }
                (Input::Command { args, stdin }, Contract::Cli02 | Contract::Cli03) => {
                    self.command(args, stdin, session, deadline).await
                }
                (Input::Run(_), _) => Err(self.wrong_input("a string")),
                (Input::Http(_), _) => Err(self.wrong_input("an HTTP request")),
                (Input::Command { .. }, _) => Err(self.wrong_input("arguments and stdin")),
            };
            if let Err(error) = &outcome {
                // Counts only where no guest was started that could have said so.
                control.finish(Err(error));
            }
            outcome
        })
    }
}
