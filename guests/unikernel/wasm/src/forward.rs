//! Interfaces whose functions the host answers: files, sockets and name look-ups.

use crate::ask;
use crate::host::Host;
use crate::wit::{Reader, Remote, encode_as};
use alloc::vec::Vec;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Resource, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut, bail};

/// Resources of these interfaces that are the guest's own kinds.
const OWN: [&str; 4] = ["pollable", "input-stream", "output-stream", "error"];

/// Defines each function that `component` imports and that the host answers.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<Host>,
) -> wasmtime::Result<()> {
    for (import, item) in component.component_type().imports(engine) {
        let interface = import.split('@').next().unwrap_or(import);
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        if !["wasi:filesystem/", "wasi:sockets/"].iter().any(|package| interface.starts_with(package)) {
            continue;
        }
        let mut linked = linker.instance(import)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) if !OWN.contains(&name) => {
                    linked.resource(name, ResourceType::host::<Remote>(), |mut store, resource| {
                        let remote = store.data_mut().table.delete(Resource::<Remote>::new_own(resource))?;
                        ask::drop_handle(remote.0)
                    })?;
                }
                ComponentItem::ComponentFunc(_) => {
                    let Some(function) = limes_channel::forwarded(interface, name) else { continue };
                    linked.func_new(name, move |store, ty, arguments, results| {
                        call(store, function, &ty, arguments, results)
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn call(
    mut store: StoreContextMut<'_, Host>,
    function: u16,
    ty: &wasmtime::component::types::ComponentFunc,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let mut bytes = Vec::new();
    for ((_, ty), argument) in ty.params().zip(arguments) {
        encode_as(&mut store, &ty, argument, &mut bytes)?;
    }
    let values = ask::forward(function, &bytes)?;
    let mut reader = Reader::new(&values);
    for (ty, result) in ty.results().zip(results) {
        *result = reader.value(&mut store, &ty)?;
    }
    if !reader.is_empty() {
        bail!("the host's answer is longer than the function's result");
    }
    Ok(())
}
