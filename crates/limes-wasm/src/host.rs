//! What a store holds: the state behind the functions a guest can call.

use crate::engine::TICK;
use crate::function::Prepared;
use crate::grants::Outbound;
use crate::http02::Received;
use crate::limiter::Limiter;
use crate::session::Session;
use limes_core::Error;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::ResourceTable;
use wasmtime::{StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The data of one invocation's store.
pub(crate) struct Host {
    pub session: Arc<Session>,
    pub limiter: Limiter,
    table: ResourceTable,
    /// The request, until the guest lets go of it.
    pub received: Option<Box<Received>>,
    wasi: Option<Box<WasiCtx>>,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl Host {
    /// `wasi` is `None` for a component whose imports need no context of their own (no files,
    /// sockets, arguments or standard streams): an empty one is then made if ever it is asked for.
    pub fn new(session: Arc<Session>, function: Arc<Prepared>, wasi: Option<WasiCtx>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(function.limits.handles as usize);
        Self {
            limiter: Limiter::new(&function.limits),
            table,
            received: None,
            wasi: wasi.map(Box::new),
            http: WasiHttpCtx::new(),
            outbound: Outbound { function, session: session.clone() },
            session,
        }
    }

    /// The function this is a call of.
    pub fn function(&self) -> &Arc<Prepared> {
        &self.outbound.function
    }

    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Called when the guest computes and an epoch has ended: looks what it has computed, ends it when it must end, and lets other tasks of the
    /// thread go on.
    pub fn on_epoch(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let host = store.data_mut();
        let allowed = host.function().limits.cpu;
        if host.session.computed.look(TICK) > Duration::from_millis(allowed) {
            host.session.breach(Error::limit("run guest", "cpu", allowed, "more milliseconds of computing"));
        }
        let ended = host.session.is_breached() || host.session.control.stop_reason().is_some();
        Ok(if ended { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| Box::new(WasiCtxBuilder::new().build())),
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
