//! `wasi:cli/run`: commands with arguments, standard streams and an exit code.

use crate::function::Call;
use limes_core::Result;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::Command as Command02;
use wasmtime_wasi::p3::bindings::Command as Command03;

/// Runs a 0.2 command to its exit code.
pub(crate) async fn run02(call: Call) -> Result<i32> {
    call.perform(async move |store, instance, _| {
        let command = Command02::new(&mut *store, &instance)?;
        exit_code(command.wasi_cli_run().call_run(&mut *store).await)
    })
    .await
}

/// Runs a 0.3 command to its exit code.
pub(crate) async fn run03(call: Call) -> Result<i32> {
    call.perform(async move |store, instance, _| {
        let command = Command03::new(&mut *store, &instance)?;
        let ended =
            store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await;
        exit_code(ended.and_then(|ended| ended))
    })
    .await
}

/// The exit code by what `run` returned, or by the `exit` that ended it.
fn exit_code(ended: wasmtime::Result<Result<(), ()>>) -> wasmtime::Result<i32> {
    match ended {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code),
            None => Err(error),
        },
    }
}
