//! Machines whose function was damaged after it was compiled: what the processor makes of it is reported.

use super::*;
use limes_core::{Control, Function, Input, Invocation, LogStream, Observer};
use std::time::Duration;

struct Quiet;

impl Observer for Quiet {
    fn log(&self, _: &Control, _: LogStream, _: &[u8]) {}
    fn finished(&self, _: &Control, _: Result<(), &Error>) {}
}

/// A sandbox of the files that `make vm` builds, and the monitors that work with them; what does not is said.
fn sandbox() -> (MicroVmSandbox, Vec<Vmm>) {
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/limes/_vm").canonicalize();
    let parts = parts.unwrap_or_default();
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
    };
    let settings = Settings {
        unikernel: parts.join("unikernel"),
        builtin: parts.join("limes-vmm"),
        firecracker: std::env::var_os("LIMES_FIRECRACKER").map(PathBuf::from),
        qemu: on_path("qemu-system-x86_64"),
        ..Settings::default()
    };
    let wasm = limes_wasm::Settings { cache_dir: None, cache_bytes: 0, slots: 1 };
    let sandbox = MicroVmSandbox::new(Arc::new(WasmSandbox::new(wasm).unwrap()), settings);
    let works = |vmm: &Vmm| match sandbox.boot(*vmm, Accelerator::Tcg) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped on {vmm}: {error}");
            false
        }
    };
    let working = [Vmm::Builtin, Vmm::Firecracker, Vmm::Qemu].into_iter().filter(works).collect();
    (sandbox, working)
}

/// Where the code of an artifact is: the section that is marked executable.
fn text(artifact: &[u8]) -> std::ops::Range<usize> {
    let word = |at: usize| u64::from_le_bytes(artifact[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes(artifact[at..at + 2].try_into().unwrap()));
    let headers = (0..half(0x3c)).map(|section| word(0x28) + section * half(0x3a));
    let text = headers.into_iter().find(|header| word(header + 8) & 4 != 0).unwrap();
    word(text + 24)..word(text + 24) + word(text + 32)
}

/// How a call ends of a function whose code does nothing until its last bytes, which are what `last` makes of the offset in the artifact where they end.
fn damaged(sandbox: &MicroVmSandbox, vmm: Vmm, last: fn(usize) -> Vec<u8>) -> Error {
    let program = |processor| {
        let mut program = Program::of(PROBE.as_bytes(), &sandbox.wasm, processor)?;
        let artifact = program.artifact.as_mut().unwrap();
        let text = text(artifact);
        let last = last(text.end);
        artifact[text.clone()].fill(0x90);
        artifact[text.end - last.len()..text.end].copy_from_slice(&last);
        Ok(program)
    };
    let limits = Arc::new(Limits { memory: 8 << 20, ..Limits::default() });
    let settings = MicroVm {
        vmm,
        accelerator: Accelerator::Tcg,
        mode: limes_core::Mode::EndToEnd,
        ..MicroVm::default()
    };
    let Booted { pool, contract, .. } =
        sandbox.pool("damaged", program, &limits, &Grants::default(), &settings).unwrap();
    let function = MicroVmFunction { name: "damaged".into(), contract, limits, grants: Arc::default(), pool };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timeout = Duration::from_secs(30);
    let invocation = Invocation {
        input: Input::Run(String::new()),
        control: Control::new(1, Arc::new(Quiet)),
        deadline: Instant::now() + timeout,
        timeout,
    };
    runtime.block_on(function.invoke(invocation)).err().expect("it cannot have answered")
}

#[test]
fn an_invalid_instruction_is_reported_with_the_registers() {
    let (sandbox, working) = sandbox();
    for vmm in working {
        let error = damaged(&sandbox, vmm, |_| vec![0x0f, 0x0b]).to_string();
        assert!(error.contains("rip") && error.contains("rsp"), "{vmm}: {error}");
        if vmm != Vmm::Builtin {
            assert!(
                error.contains("faulted: invalid instruction in the function's code, 0x"),
                "{vmm}: {error}"
            );
        }
    }
}

#[test]
fn what_is_not_code_of_an_artifact_is_not_executed() {
    let (sandbox, working) = sandbox();
    for vmm in working {
        // A jump to the first byte of the artifact.
        let jump = |end: usize| {
            let distance = -i32::try_from(end).unwrap();
            [vec![0xe9], distance.to_le_bytes().to_vec()].concat()
        };
        let error = damaged(&sandbox, vmm, jump).to_string();
        match vmm {
            Vmm::Builtin => assert!(error.contains("Shutdown"), "{vmm}: {error}"),
            // Present, of ring 3, an instruction that was fetched.
            _ => assert!(error.contains("page fault") && error.contains("error code 0x15"), "{vmm}: {error}"),
        }
    }
}
