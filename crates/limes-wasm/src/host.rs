//! What a store holds: the state behind the functions a guest can call.

use crate::grants::Outbound;
use crate::limiter::Limiter;
use crate::session::Session;
use limes_core::{Error, Grants, Limits};
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime::{StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The data of one invocation's store.
pub(crate) struct Host {
    pub session: Arc<Session>,
    pub limiter: Limiter,
    table: ResourceTable,
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    outbound: Outbound,
    cpu_allowed: u64,
    cpu_used: u64,
}

impl Host {
    /// `wasi` is `None` for a component whose imports need no context of their own (no files,
    /// sockets, arguments or standard streams): an empty one is then made if ever it is asked for.
    pub fn new(session: Arc<Session>, limits: &Limits, grants: Arc<Grants>, wasi: Option<WasiCtx>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            limiter: Limiter::new(limits),
            table,
            wasi,
            http: WasiHttpCtx::new(),
            outbound: Outbound { grants, session: session.clone() },
            cpu_allowed: limits.cpu,
            cpu_used: 0,
            session,
        }
    }

    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Called once an epoch while the guest computes: counts its time, ends it when it must end,
    /// and lets other tasks of the thread go on.
    pub fn on_epoch(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let host = store.data_mut();
        host.cpu_used += crate::engine::TICK.as_millis() as u64;
        if host.cpu_used > host.cpu_allowed {
            let asked = format!("more than {} ms of computing", host.cpu_allowed);
            host.session.breach(Error::limit("run guest", "cpu", host.cpu_allowed, asked));
        }
        let ended = host.session.is_breached() || host.session.control.stop_reason().is_some();
        Ok(if ended { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| WasiCtxBuilder::new().build()),
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
