//! The component: loaded once, called as often as the host asks.

use crate::body::Source;
use crate::host::{Exit, Host, Shared, shared};
use crate::http::{IncomingRequest, ResponseOutparam};
use crate::limiter::Limiter;
use crate::{ask, bindings, engine, forward};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ptr::NonNull;
use kernel::{Machine, channel, clock, random};
use limes_channel::{Contract, Input, Limits, Outcome, ToGuest, ToHost, Trap, VERSION};
use wasmtime::component::{Component, ComponentExportIndex, Instance, Linker, Resource, ResourceTableError};
use wasmtime::{Store, WasmBacktrace, bail, format_err};

/// A component that is instantiated.
pub(crate) struct Loaded {
    store: Store<Host>,
    instance: Instance,
    contract: Contract,
    export: ComponentExportIndex,
}

/// What the host wants loaded.
struct Order {
    contract: Contract,
    export: String,
    memories_move: bool,
    limits: Limits,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

/// What the host wants called.
enum Request {
    Run,
    Http { method: String, scheme: String, authority: String, path: String, headers: crate::body::Entries },
    Command(Vec<String>),
}

/// Why a load or a call ended without its answer.
pub(crate) struct Ended {
    text: String,
    backtrace: String,
    why: Why,
}

enum Why {
    Unfit,
    Limit(&'static str, u64),
    Exited(i32),
    Trapped(Trap),
}

impl Ended {
    /// A component that cannot be loaded.
    fn unfit(error: &wasmtime::Error) -> Self {
        Self { text: alloc::format!("{error:#}"), backtrace: String::new(), why: Why::Unfit }
    }

    /// What it means that the guest ended with `error`. A limit that was passed comes before the trap that it led to.
    fn of(error: &wasmtime::Error, host: &Host) -> Self {
        let root = error.root_cause().to_string();
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
        let trap = error.downcast_ref::<wasmtime::Trap>();
        let why = if let Some((limit, asked)) = host.limiter.breach() {
            Why::Limit(limit, asked)
        } else if let Some(ResourceTableError::Full) = error.downcast_ref() {
            Why::Limit("handles", 0)
        } else if let Some(Exit(code)) = error.downcast_ref() {
            Why::Exited(*code)
        } else if root.starts_with("resource limit exceeded") {
            Why::Limit("instances", root.rsplit(' ').next().and_then(|asked| asked.parse().ok()).unwrap_or(0))
        } else if trap == Some(&wasmtime::Trap::StackOverflow) {
            Why::Trapped(Trap::StackOverflow)
        } else {
            Why::Trapped(Trap::Wasm)
        };
        let text = trap.map_or(root, ToString::to_string);
        Self { text, backtrace: backtrace.trim_end().to_string(), why }
    }

    /// As the host is told.
    pub fn outcome(&self) -> Outcome<'_> {
        match self.why {
            Why::Unfit => Outcome::Unfit(&self.text),
            Why::Limit(limit, asked) => Outcome::Limit { limit, asked },
            Why::Exited(code) => Outcome::Exited(code),
            Why::Trapped(trap) => Outcome::Trapped { trap, message: &self.text, backtrace: &self.backtrace },
        }
    }
}

impl Loaded {
    /// Takes the host's order to load, and carries it out.
    pub fn load(machine: Machine) -> Result<Self, Ended> {
        let order = order().map_err(|error| Ended::unfit(&error))?;
        let begun = clock::cycles();
        let (mut store, component, linker) =
            prepare(machine, &order).map_err(|error| Ended::unfit(&error))?;
        let export = export(&component, &order).map_err(|error| Ended::unfit(&error))?;
        let pre = linker.instantiate_pre(&component).map_err(|error| Ended::unfit(&error))?;
        let instance = pre.instantiate(&mut store).map_err(|error| Ended::of(&error, store.data()))?;
        let instantiate = clock::cycles() - begun;
        channel::send(&ToHost::Ready { version: VERSION, instantiate });
        Ok(Self { store, instance, contract: order.contract, export })
    }

    /// Takes the next call and answers it.
    pub fn serve(&mut self) {
        let (request, source) = call();
        ask::open_window();
        let ended = self.answer(request, source);
        if let Some(body) = self.store.data_mut().response.take() {
            // What the guest holds on to at its end is never finished.
            let _ = body.get().give_up("the function ended before it finished it");
        }
        match ended {
            Ok(outcome) => channel::send(&ToHost::Done(outcome)),
            Err(error) => {
                let ended = Ended::of(&error, self.store.data());
                channel::send(&ToHost::Done(ended.outcome()));
            }
        }
    }

    fn answer(&mut self, request: Request, source: Source) -> wasmtime::Result<Outcome<'static>> {
        let source = shared(source);
        let outcome = self.perform(request, &source);
        // Who holds it longer must not ask the host of a later call for it.
        *source.get() = Source::default();
        outcome
    }

    fn perform(&mut self, request: Request, source: &Shared<Source>) -> wasmtime::Result<Outcome<'static>> {
        let (store, instance) = (&mut self.store, self.instance);
        match (request, self.contract) {
            (Request::Run, Contract::Run) => {
                // Copied out of the guest's memory before the call ends: by then the guest has freed it.
                let run = instance.get_typed_func::<(&str,), (String,)>(&mut *store, self.export)?;
                let argument = String::from_utf8(source.get().read_all()?)?;
                let (answer,) = run.call(&mut *store, (&argument,))?;
                ask::queue_chunk(answer.as_bytes());
                Ok(Outcome::Returned)
            }
            (Request::Http { method, scheme, authority, path, headers }, Contract::Http) => {
                let body = Some(source.clone());
                let request = IncomingRequest { method, scheme, authority, path, headers, body };
                let request = store.data_mut().table.push(request)?;
                let outparam = store.data_mut().table.push(ResponseOutparam)?;
                type Handle = (Resource<IncomingRequest>, Resource<ResponseOutparam>);
                let handle = instance.get_typed_func::<Handle, ()>(&mut *store, self.export)?;
                handle.call(&mut *store, (request, outparam))?;
                Ok(Outcome::Returned)
            }
            (Request::Command(args), Contract::Command) => {
                let host = store.data_mut();
                (host.args, host.stdin) = (args, source.clone());
                let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, self.export)?;
                let (status,) = run.call(&mut *store, ())?;
                Ok(Outcome::Exited(i32::from(status.is_err())))
            }
            _ => bail!("the call is not one of the component's contract"),
        }
    }
}

fn prepare(machine: Machine, order: &Order) -> wasmtime::Result<(Store<Host>, Component, Linker<Host>)> {
    let engine = engine::new(usize::try_from(order.limits.stack)?, order.memories_move)?;
    // SAFETY: the host has compiled the artifact and checked that it is what it compiled; it stays where it is and is never written.
    let component = unsafe { Component::deserialize_raw(&engine, NonNull::from(machine.artifact))? };
    let mut linker = Linker::<Host>::new(&engine);
    bindings::link(&engine, &component, &mut linker)?;
    forward::link(&engine, &component, &mut linker)?;
    let mut host = Host::new(Limiter::new(&order.limits), order.env.clone(), order.limits.handles);
    host.args.clone_from(&order.args);
    let mut store = Store::new(&engine, host);
    store.limiter(|host| &mut host.limiter);
    Ok((store, component, linker))
}

fn export(component: &Component, order: &Order) -> wasmtime::Result<ComponentExportIndex> {
    let function = if order.contract == Contract::Http { "handle" } else { "run" };
    component
        .get_export_index(None, &order.export)
        .and_then(|interface| component.get_export_index(Some(&interface), function))
        .ok_or_else(|| format_err!("the component has no `{function}` in `{}`", order.export))
}

fn order() -> wasmtime::Result<Order> {
    channel::receive(|message| match message {
        ToGuest::Load { version, .. } if version != VERSION => {
            bail!(
                "the host speaks version {version} of the channel, the guest {VERSION}: they are not of one release"
            )
        }
        ToGuest::Load {
            contract,
            export,
            memories_move,
            limits,
            env,
            args,
            tsc_hz,
            seed,
            wall_clock,
            ..
        } => {
            clock::set_frequency(tsc_hz);
            clock::set_wall(wall_clock);
            random::seed(seed);
            let env = env.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let args = args.into_iter().map(ToString::to_string).collect();
            Ok(Order { contract, export: export.to_string(), memories_move, limits, env, args })
        }
        _ => bail!("a load was due"),
    })
}

/// Waits for a call. Clock and random numbers are those of the call from here on.
fn call() -> (Request, Source) {
    loop {
        let call = channel::receive(|message| match message {
            ToGuest::Call { seed, wall_clock, input, first, rest, .. } => {
                clock::set_wall(wall_clock);
                random::seed(seed);
                let request = match input {
                    Input::Run(_) => Request::Run,
                    Input::Http { method, scheme, authority, path, headers } => Request::Http {
                        method: method.to_string(),
                        scheme: scheme.to_string(),
                        authority: authority.to_string(),
                        path: path.to_string(),
                        headers: crate::body::owned(&headers),
                    },
                    Input::Command(args) => {
                        Request::Command(args.into_iter().map(ToString::to_string).collect())
                    }
                };
                Some((request, Source::new(first, rest)))
            }
            // For bytes of the call before.
            ToGuest::Credit(_) => None,
            other => panic!("a call was due, and {other:?} came"),
        });
        if let Some(call) = call {
            return call;
        }
    }
}
